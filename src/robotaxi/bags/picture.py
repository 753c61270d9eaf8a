"""A bird's-eye-view picture of lidar points and tracked objects."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from robotaxi.types import ObjectClass, Pose2, RecordArray

Image = NDArray[np.uint8]
Color = tuple[int, int, int]

_BACKGROUND: Color = (24, 20, 16)
_RING: Color = (62, 54, 46)
_TEXT: Color = (190, 182, 172)
_EGO: Color = (255, 255, 255)
_CLASS_COLOR: dict[int, Color] = {  # BGR
    ObjectClass.UNKNOWN: (150, 150, 150),
    ObjectClass.CAR: (255, 190, 60),
    ObjectClass.TRUCK: (230, 110, 220),
    ObjectClass.BICYCLE: (80, 220, 120),
    ObjectClass.PEDESTRIAN: (60, 170, 255),
}
_SUPERSAMPLE_BITS = 4  # sub-pixel precision of OpenCV's drawing functions
_LOW, _HIGH = -0.3, 2.8  # heights at the two ends of the colour scale, m


@dataclass(frozen=True)
class View:
    """What the picture shows: ``ahead``, ``behind`` and ``side`` metres from base_link."""

    ahead: float = 50.0
    behind: float = 25.0
    side: float = 32.0
    pixels_per_m: float = 14.0
    ring_step: float = 10.0
    arrow_s: float = 1.0  # a velocity arrow is as long as the way of this many seconds

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return round(2 * self.side * self.pixels_per_m), round((self.ahead + self.behind) * self.pixels_per_m)


def draw_objects(
    points: NDArray[np.floating],
    objects: RecordArray,
    ego: Pose2 | None = None,
    ego_box: tuple[float, float, float] = (3.7, 0.9, 1.85),
    title: str = "",
    view: View | None = None,
) -> Image:
    """Draw points and boxes as seen from above, driving direction up. Returns a BGR image.

    ``points``: (N, 3) in base_link, coloured by height. ``objects``: OBJECT_DTYPE in map; ``ego``
    is base_link in map (None: the objects are in base_link). ``ego_box``: front and rear overhang
    from the rear axle and width, m. Boxes carry their id and speed, arrows show the velocity.
    """
    view = view or View()
    width, height = view.size
    image: Image = np.full((height, width, 3), _BACKGROUND, np.uint8)
    _draw_rings(image, view)
    _draw_points(image, np.asarray(points, dtype=np.float64).reshape(-1, 3), view)
    front, rear, ego_width = ego_box
    _draw_ego(image, front, rear, ego_width, view)
    for record in objects:
        _draw_box(image, record, ego or Pose2(0.0, 0.0, 0.0), view)
    _draw_legend(image, objects, title)
    return image


def _to_pixels(xy: NDArray[np.float64], view: View) -> NDArray[np.float64]:
    """base_link x forward, y left to pixel columns and rows."""
    columns = (view.side - xy[:, 1]) * view.pixels_per_m
    rows = (view.ahead - xy[:, 0]) * view.pixels_per_m
    return np.column_stack([columns, rows])


def _fixed(pixels: NDArray[np.float64]) -> NDArray[np.int32]:
    # far outside the image the shift would overflow 32 bits
    return np.round(np.clip(pixels, -1e5, 1e5) * (1 << _SUPERSAMPLE_BITS)).astype(np.int32)


def _draw_rings(image: Image, view: View) -> None:
    center = _fixed(_to_pixels(np.zeros((1, 2)), view))[0]
    reach = float(np.hypot(max(view.ahead, view.behind), view.side))
    for radius in np.arange(view.ring_step, reach, view.ring_step):
        size = int(radius * view.pixels_per_m * (1 << _SUPERSAMPLE_BITS))
        cv2.circle(image, tuple(map(int, center)), size, _RING, 1, cv2.LINE_AA, _SUPERSAMPLE_BITS)
        column, row = _to_pixels(np.array([[radius, 0.0]]), view)[0]
        _text(image, f"{radius:.0f} m", (int(column) + 4, int(row) - 4), 0.4, _RING)


def _draw_points(image: Image, xyz: NDArray[np.float64], view: View) -> None:
    xyz = xyz[np.isfinite(xyz).all(axis=1)]
    inside = (xyz[:, 0] < view.ahead) & (xyz[:, 0] > -view.behind) & (np.abs(xyz[:, 1]) < view.side)
    xyz = xyz[inside]
    if len(xyz) == 0:
        return
    xyz = xyz[np.argsort(xyz[:, 2], kind="stable")]  # high points over low ones
    share = np.clip((xyz[:, 2] - _LOW) / (_HIGH - _LOW), 0.0, 1.0)
    colors = cv2.applyColorMap(np.round(60 + 195 * share).astype(np.uint8)[:, None], cv2.COLORMAP_TURBO)[:, 0]
    # the ground is the background of the scene: dim it
    dim = np.where(xyz[:, 2] < 0.25, 0.35, 0.85)[:, None]
    pixels = np.floor(_to_pixels(xyz[:, :2], view)).astype(np.intp)
    pixels[:, 0] = np.clip(pixels[:, 0], 0, image.shape[1] - 1)
    pixels[:, 1] = np.clip(pixels[:, 1], 0, image.shape[0] - 1)
    image[pixels[:, 1], pixels[:, 0]] = (colors * dim).astype(np.uint8)


def _draw_ego(image: Image, front: float, rear: float, width: float, view: View) -> None:
    half = width / 2.0
    corners = np.array([[front, half], [front, -half], [-rear, -half], [-rear, half]])
    outline = _fixed(_to_pixels(corners, view))
    cv2.fillPoly(image, [outline], (90, 80, 70), cv2.LINE_AA, _SUPERSAMPLE_BITS)
    cv2.polylines(image, [outline], True, _EGO, 2, cv2.LINE_AA, _SUPERSAMPLE_BITS)
    nose = np.array([[front - 0.2, 0.0], [front - 1.3, half * 0.6], [front - 1.3, -half * 0.6]])
    cv2.fillPoly(image, [_fixed(_to_pixels(nose, view))], _EGO, cv2.LINE_AA, _SUPERSAMPLE_BITS)


def _draw_box(image: Image, record: np.void, ego: Pose2, view: View) -> None:
    values = [float(record[k]) for k in ("x", "y", "yaw", "length", "width", "vx", "vy")]
    if not np.isfinite(values).all():
        return
    x, y, yaw, length, width, vx, vy = values
    cos, sin = np.cos(ego.yaw), np.sin(ego.yaw)
    center = np.array([cos * (x - ego.x) + sin * (y - ego.y), -sin * (x - ego.x) + cos * (y - ego.y)])
    velocity = np.array([cos * vx + sin * vy, -sin * vx + cos * vy])
    forward = np.array([np.cos(yaw - ego.yaw), np.sin(yaw - ego.yaw)])
    left = np.array([-forward[1], forward[0]])
    half = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * [length / 2, width / 2]
    corners = center + half[:, :1] * forward + half[:, 1:] * left
    color = _CLASS_COLOR.get(int(record["label"]), _CLASS_COLOR[ObjectClass.UNKNOWN])
    outline = _fixed(_to_pixels(corners, view))
    thick = 1 if int(record["label"]) == ObjectClass.UNKNOWN else 2
    cv2.polylines(image, [outline], True, color, thick, cv2.LINE_AA, _SUPERSAMPLE_BITS)
    speed = float(np.hypot(*velocity))
    if speed > 0.3:
        ends = _fixed(_to_pixels(np.stack([center, center + velocity * view.arrow_s]), view)) >> _SUPERSAMPLE_BITS
        cv2.arrowedLine(image, tuple(map(int, ends[0])), tuple(map(int, ends[1])), color, 2, cv2.LINE_AA, 0, 0.25)
    column, row = _to_pixels(corners, view).max(axis=0)
    if thick == 1 or not (-100 < column < image.shape[1] and -100 < row < image.shape[0] + 100):
        return  # names for road users only: unknown clutter would bury them
    label = f"{int(record['id'])}" + (f"  {speed:.1f} m/s" if speed > 0.3 else "")
    _text(image, label, (int(column) + 4, int(row) + 4), 0.45, color)


def _draw_legend(image: Image, objects: RecordArray, title: str) -> None:
    if title:
        _text(image, title, (14, 28), 0.6, _TEXT)
    counts = np.bincount(objects["label"], minlength=len(ObjectClass)) if len(objects) else np.zeros(len(ObjectClass))
    for i, kind in enumerate(ObjectClass):
        row = 54 + 20 * i
        cv2.rectangle(image, (14, row - 10), (24, row), _CLASS_COLOR[kind], -1)
        _text(image, f"{kind.name.lower()}  {int(counts[kind])}", (32, row), 0.45, _TEXT)


def _text(image: Image, text: str, origin: tuple[int, int], scale: float, color: Color) -> None:
    cv2.putText(image, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, _BACKGROUND, 3, cv2.LINE_AA)
    cv2.putText(image, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, color, 1, cv2.LINE_AA)

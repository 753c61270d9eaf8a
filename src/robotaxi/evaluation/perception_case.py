"""What perception is measured on: a recording, frame by frame, with what its annotators saw.

The loaders are in `robotaxi.bags.recordings`; nothing here assumes one sensor, vehicle or country.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robotaxi.hdmap.drivable import DrivableArea
from robotaxi.types import CameraModel, EgoState, FloatArray, LidarSweep, ObjectClass, RecordArray, VehicleParams

TRUTH_DTYPE = np.dtype(
    [
        ("frame", "<i4"),
        ("id", "<i4"),
        ("label", "u1"),  # ObjectClass; UNKNOWN: neither wanted nor wrong
        ("x", "<f8"),  # box centre on the ground, base_link, m
        ("y", "<f8"),
        ("z", "<f8"),
        ("yaw", "<f8"),
        ("length", "<f8"),
        ("width", "<f8"),
        ("height", "<f8"),
        ("points", "<i4"),  # returns inside the box
        ("counted", "?"),  # False: may be found, need not be
    ]
)

CLASS_NAMES = {
    ObjectClass.CAR: "car",
    ObjectClass.TRUCK: "truck",
    ObjectClass.BICYCLE: "cyclist",
    ObjectClass.PEDESTRIAN: "pedestrian",
}
GROUPS: dict[str, tuple[ObjectClass, ...]] = {
    "vehicle": (ObjectClass.CAR, ObjectClass.TRUCK),
    "car": (ObjectClass.CAR,),
    "truck": (ObjectClass.TRUCK,),
    "cyclist": (ObjectClass.BICYCLE,),
    "pedestrian": (ObjectClass.PEDESTRIAN,),
}
"""What is measured together: "vehicle" is right whether it is called a car or a truck."""

_AGENT_RANGE, _PATH_RANGE = 100.0, 60.0  # m

Seen = Callable[[FloatArray], NDArray[np.bool_]]


@dataclass(frozen=True)
class Frame:
    """One sweep. ``state`` is None where the recording has no poses. ``truth``: TRUTH_DTYPE, base_link.

    ``annotated``: mask of points (N, 3) in base_link that lie where annotators looked (None: everywhere).
    ``path`` (N, 2): the line that base_link takes from here, in base_link, where it is known. ``picture``: stamp and
    image of a picture that counts from this sweep on.
    """

    index: int
    sweep: LidarSweep
    state: EgoState | None
    truth: RecordArray
    evaluated: bool
    annotated: Seen | None = None
    path: FloatArray | None = None
    picture: tuple[int, NDArray[np.uint8]] | None = None


@dataclass(frozen=True)
class Recording:
    """``frames()`` starts anew with each call. ``vehicle``: whose returns are its own body. ``notes``: what
    was assumed where the recording does not say. ``tracked``: truth ids last from frame to frame.
    ``area``: the road, in the frame of the states, where a map of it is known. ``period``: usual time between two
    sweeps, s. ``camera``: of the pictures, where there are any."""

    name: str
    count: int
    vehicle: VehicleParams
    frames: Callable[[], Iterator[Frame]]
    notes: dict[str, Any]
    tracked: bool = True
    area: DrivableArea | None = None
    period: float = 0.1
    camera: CameraModel | None = None


def points_in_boxes(xyz: NDArray[np.floating], boxes: RecordArray) -> NDArray[np.int32]:
    """Number of points (N, 3) inside each box (x, y, z on the ground, yaw, length, width, height)."""
    out = np.zeros(len(boxes), np.int32)
    for k, box in enumerate(boxes):
        reach = 0.5 * float(np.hypot(box["length"], box["width"]))
        near = (np.abs(xyz[:, 0] - box["x"]) < reach) & (np.abs(xyz[:, 1] - box["y"]) < reach)
        part = xyz[near].astype(np.float64) - [box["x"], box["y"], box["z"]]
        cos, sin = np.cos(box["yaw"]), np.sin(box["yaw"])
        along, across = cos * part[:, 0] + sin * part[:, 1], -sin * part[:, 0] + cos * part[:, 1]
        inside = (np.abs(along) <= 0.5 * box["length"]) & (np.abs(across) <= 0.5 * box["width"])
        inside &= (part[:, 2] >= 0.0) & (part[:, 2] <= box["height"])
        out[k] = inside.sum()
    return out


def truth_of_agents(agents: RecordArray, ego: EgoState, sweep: LidarSweep, index: int) -> RecordArray:
    """TRUTH_DTYPE of road users (fields of sim.view.AGENT_DTYPE, map) nearer than 100 m around the true ``ego``."""
    out = np.zeros(len(agents), TRUTH_DTYPE)
    for name in ("id", "label", "length", "width", "height"):
        out[name] = agents[name]
    dx, dy = agents["x"] - ego.x, agents["y"] - ego.y
    cos, sin = np.cos(ego.yaw), np.sin(ego.yaw)
    out["x"], out["y"], out["z"] = cos * dx + sin * dy, -sin * dx + cos * dy, agents["z"] - ego.z
    out["yaw"], out["frame"] = agents["yaw"] - ego.yaw, index
    out = out[np.hypot(out["x"], out["y"]) < _AGENT_RANGE]
    T: FloatArray = np.asarray(sweep.T_base_lidar)
    xyz = np.stack([sweep.points["x"], sweep.points["y"], sweep.points["z"]], axis=-1) @ T[:3, :3].T + T[:3, 3]
    out["points"] = points_in_boxes(xyz, out)
    out["counted"] = (out["points"] > 0) & (out["label"] != ObjectClass.UNKNOWN)
    return out


def in_base(line: FloatArray, state: EgoState) -> FloatArray:
    """Those of the points (N, 2) in map that are near, in base_link."""
    dx, dy = line[:, 0] - state.x, line[:, 1] - state.y
    near = np.hypot(dx, dy) < _PATH_RANGE
    cos, sin = np.cos(state.yaw), np.sin(state.yaw)
    return np.column_stack([cos * dx + sin * dy, -sin * dx + cos * dy])[near]


def on_road(truth: RecordArray, state: EgoState, area: DrivableArea, margin: float) -> NDArray[np.bool_]:
    """Which boxes (TRUTH_DTYPE, base_link) stand on the road or within ``margin`` m beside it."""
    cos, sin = np.cos(state.yaw), np.sin(state.yaw)
    places = np.column_stack(
        [state.x + cos * truth["x"] - sin * truth["y"], state.y + sin * truth["x"] + cos * truth["y"]]
    )
    result: NDArray[np.bool_] = area.contains(places, margin)
    return result

"""Traffic light states from camera crops at the places where the map expects lights.

For each signal in view the head is projected into the image, and lit pixels of each lamp colour are
weighed by how near they lie to where that lamp must be: red above, amber in the middle, green below.
Near heads tell whether their lamps are discs or arrows, and whether all are dark. A filter over time believes what
restricts at once, green only when it is seen again, and that a light is off once it has been dark for a while.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from robotaxi.hdmap.lane_map import LaneMap, Signal
from robotaxi.hdmap.light_records import light_record
from robotaxi.params import param
from robotaxi.perception.camera.dark_head import dark_head
from robotaxi.perception.camera.lamp_shape import lamp_shape
from robotaxi.perception.camera.light_filter import LightFilter, ShapeMemory
from robotaxi.perception.camera_pose import camera_pose
from robotaxi.types import LIGHT_DTYPE, CameraModel, EgoState, FloatArray, LightShape, LightState, RecordArray

_LAMPS = (LightState.RED, LightState.AMBER, LightState.GREEN)  # from the top of the head
_ARROW_AREA = 0.4  # of its lamp's disc
_NO_STATE = np.zeros(0, LIGHT_DTYPE)


class ImageError(ValueError):
    """An image that does not fit the camera; the message names shape and type."""


@dataclass(frozen=True)
class TrafficLightConfig:
    """Traffic light recognition. Hues are OpenCV's: 0 to 180, red at 0, green at 60."""

    max_range: float = param(120.0, lo=10.0, hi=250.0, unit="m", doc="heads farther away are not looked at")
    min_range: float = param(2.0, lo=0.5, hi=20.0, unit="m", doc="nor nearer ones")
    max_facing_deg: float = param(60.0, lo=5.0, hi=89.0, unit="deg", doc="heads turned farther away are not ours")
    max_extrapolation: float = param(0.3, lo=0.0, hi=2.0, unit="s", doc="the pose is carried this far to the image")
    pointing_error_deg: float = param(0.5, lo=0.05, hi=5.0, unit="deg", doc="heading and pitch error, one deviation")
    position_error: float = param(0.2, lo=0.01, hi=3.0, unit="m", doc="pose and map error, one deviation")
    lamp_diameter: float = param(0.3, lo=0.1, hi=0.5, unit="m", doc="usual lamp: 200 or 300 mm (EN 12368)")
    min_value: int = param(130, lo=1, hi=255, doc="lit lamps are as bright as this (HSV value)")
    min_chroma: int = param(
        100, lo=1, hi=255, doc="and as colourful (largest less smallest of B, G, R); walls and leaves are not"
    )
    red_hue: int = param(9, lo=1, hi=20, doc="red: within this of hue 0")
    amber_hue_lo: int = param(10, lo=5, hi=25, doc="amber from this hue")
    amber_hue_hi: int = param(34, lo=20, hi=40, doc="amber to this hue")
    green_hue_lo: int = param(58, lo=35, hi=80, doc="green from this hue; signal green is bluish, leaves are not")
    green_hue_hi: int = param(98, lo=70, hi=120, doc="green to this hue")
    lit_share: float = param(0.35, lo=0.05, hi=1.0, doc="share of a lamp's disc that must be lit to be sure of it")
    max_area: float = param(5.0, lo=1.0, hi=50.0, doc="colour covering more lamp discs than this is no lamp")
    min_score: float = param(0.3, lo=0.01, hi=1.0, doc="a weaker best colour leaves the state unknown")
    min_ratio: float = param(2.0, lo=1.0, hi=10.0, doc="the best colour must beat the second by this")
    green_frames: int = param(2, lo=1, hi=10, doc="frames in a row until green is believed")
    hold_green: float = param(0.5, lo=0.0, hi=5.0, unit="s", doc="an unseen green is kept this long")
    dark_time: float = param(2.0, lo=0.2, hi=30.0, unit="s", doc="a light seen dark for so long is off")
    hold_restrictive: float = param(2.0, lo=0.0, hi=10.0, unit="s", doc="an unseen red or amber is kept this long")


class TrafficLightRecognition:
    """Call `step` once an image, in order of time."""

    def __init__(self, config: TrafficLightConfig, lane_map: LaneMap, camera: CameraModel) -> None:
        self._config, self._camera = config, camera
        signals = [signal for _, signal in sorted(lane_map.signals.items())]
        self._ids = np.array([s.id for s in signals], np.uint32)
        self._position = np.array([s.position for s in signals], np.float64).reshape(-1, 3)
        self._yaw = np.array([s.yaw for s in signals], np.float64)
        self._height = np.array([s.height for s in signals], np.float64)
        self._width = np.array([s.width for s in signals], np.float64)
        self._stop_line = np.array([s.stop_line_id for s in signals], np.int64)
        self._base_from_optical = np.asarray(camera.T_base_optical, np.float64)
        self._signals = signals
        self._filter = LightFilter(config.green_frames, config.hold_green, config.hold_restrictive, config.dark_time)
        self._shapes = ShapeMemory()

    def step(self, image_bgr: NDArray[np.uint8], stamp_ns: int, state: EgoState | None) -> RecordArray:
        """State of each signal that the map expects in view: LIGHT_DTYPE, ordered by id.

        Without a finite ``state`` nothing is expected. Raises ImageError when the image is not
        (height, width, 3) uint8 of the camera's size.
        """
        shape = (self._camera.height, self._camera.width, 3)
        if image_bgr.shape != shape or image_bgr.dtype != np.uint8:
            raise ImageError(f"expected a uint8 image of shape {shape}, got {image_bgr.dtype} {image_bgr.shape}")
        if state is None or not np.isfinite([state.x, state.y, state.z, state.yaw]).all():
            return _NO_STATE
        position, optical_from_map = camera_pose(
            state, stamp_ns, self._base_from_optical, self._config.max_extrapolation
        )
        offset = (self._position - position) @ optical_from_map.T
        index, pixels, depth = self._expected(position, offset)
        out = np.zeros(len(index), LIGHT_DTYPE)
        for k, i in enumerate(index):
            signal, hidden = self._signals[i], self._hidden_by(int(i), offset)
            scores, lit = self._score(image_bgr, pixels[k], depth[k], signal, hidden)
            seen, confidence = self._decide(scores)
            looks = LightShape.UNKNOWN
            if seen != LightState.UNKNOWN:
                looks = lamp_shape(lit[_LAMPS.index(seen)], self._config.lamp_diameter * self._camera.fx / depth[k])
            elif not lit.any() and not len(hidden):
                sigma, size = self._sigma(depth[k]), (signal.width, signal.height)
                per_m = self._camera.fx / depth[k]
                confidence = dark_head(image_bgr, pixels[k], sigma, per_m, size, self._config.lamp_diameter)
                seen = LightState.OFF if confidence > 0.0 else seen
            lamp, confidence = self._filter.update(signal.id, seen, confidence, stamp_ns)
            out[k] = light_record(signal, lamp, confidence, self._shapes.update(signal, looks))
        return out

    def _sigma(self, depth: float) -> float:
        """How far a head may lie from where it is expected, px."""
        config = self._config
        return float(self._camera.fx * np.hypot(np.radians(config.pointing_error_deg), config.position_error / depth))

    def _expected(self, position: FloatArray, offset: FloatArray) -> tuple[NDArray[np.intp], FloatArray, FloatArray]:
        """Signals that should be in the image: index, pixel of the head's centre (K, 2), depth (K,).

        ``position`` (3,) of the camera in map; ``offset`` (N, 3) of the heads from it in the optical frame.
        """
        config, camera = self._config, self._camera
        in_map = self._position - position
        distance = np.hypot(in_map[:, 0], in_map[:, 1])
        x, y, z = offset.T
        facing = -(np.cos(self._yaw) * in_map[:, 0] + np.sin(self._yaw) * in_map[:, 1])
        ours = facing > np.cos(np.radians(config.max_facing_deg)) * distance
        index = np.flatnonzero(ours & (distance < config.max_range) & (z > config.min_range))
        u = camera.fx * x[index] / z[index] + camera.cx
        v = camera.fy * y[index] / z[index] + camera.cy
        inside = (u >= 0.0) & (u <= camera.width - 1.0) & (v >= 0.0) & (v <= camera.height - 1.0)
        index = index[inside]
        return index, np.column_stack([u[inside], v[inside]]), z[index]

    def _hidden_by(self, i: int, offset: FloatArray) -> NDArray[np.int64]:
        """Pixels (M, 4) left, right, top, bottom of nearer heads for other ways: what shows there is theirs."""
        config, camera = self._config, self._camera
        x, y, z = offset.T
        near = (z > config.min_range) & (z < z[i]) & (self._stop_line != self._stop_line[i])
        x, y, z = x[near], y[near], z[near]
        u, v = camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy
        beside = camera.fx * (0.5 * self._width[near] + 0.5 * config.position_error) / z + 1.0
        above = camera.fy * (0.5 * self._height[near] + 0.5 * config.position_error) / z + 1.0
        return np.stack([u - beside, u + beside + 1.0, v - above, v + above + 1.0], axis=1).astype(np.int64)

    def _score(
        self, image: NDArray[np.uint8], pixel: FloatArray, depth: float, signal: Signal, hidden: NDArray[np.int64]
    ) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Evidence (3,) in 0..1 that the red, amber and green lamp is lit, and what is lit in that colour (3, h, w);
        none from ``hidden`` pixels."""
        config, camera = self._config, self._camera
        sigma = self._sigma(depth)
        spacing = camera.fy * signal.height / len(_LAMPS) / depth
        radius = 0.5 * config.lamp_diameter * camera.fx / depth
        side, rise = 2.5 * sigma + radius, 2.5 * sigma + spacing + radius
        left, right = max(int(pixel[0] - side), 0), min(int(pixel[0] + side) + 2, camera.width)
        top, bottom = max(int(pixel[1] - rise), 0), min(int(pixel[1] + rise) + 2, camera.height)
        crop = image[top:bottom, left:right]
        value = crop.max(axis=2)
        lit = (value >= config.min_value) & (value - crop.min(axis=2) >= config.min_chroma)
        for a, b, c, d in hidden.tolist():
            lit[max(c - top, 0) : max(d - top, 0), max(a - left, 0) : max(b - left, 0)] = False
        if not lit.any():
            return np.zeros(len(_LAMPS)), np.zeros((len(_LAMPS), 1, 1), bool)
        hue = cv2.cvtColor(crop, cv2.COLOR_BGR2HSV)[:, :, 0]
        colors = (
            (hue <= config.red_hue) | (hue >= 180 - config.red_hue),
            (hue >= config.amber_hue_lo) & (hue <= config.amber_hue_hi),
            (hue >= config.green_hue_lo) & (hue <= config.green_hue_hi),
        )
        area = max(np.pi * radius**2 * (_ARROW_AREA if signal.shape > LightShape.CIRCLE else 1.0), 2.0)
        shown = np.stack([lit & color for color in colors])
        across = np.square((np.arange(left, right) - pixel[0]) / sigma)[None, :]
        scores, drowned = np.zeros(len(_LAMPS)), np.zeros(len(_LAMPS), bool)
        for k, mask in enumerate(shown):
            count = int(mask.sum())
            if count > config.max_area * area + 4.0:
                drowned[k] = True
            if count == 0 or drowned[k]:
                continue
            along = np.square((np.arange(top, bottom) - pixel[1] - (k - 1) * spacing) / sigma)[:, None]
            # a heavy tail: pitch while braking is not in the pose
            weight = 1.0 / (1.0 + 0.25 * (across + along))
            scores[k] = min(1.0, float(weight[mask].sum()) / (config.lit_share * area))
        if drowned[:2].any():
            scores[2] = 0.0  # where red or amber is all around, a lit one could not be told: no green then
        return scores, shown

    def _decide(self, scores: FloatArray) -> tuple[LightState, float]:
        order = np.argsort(-scores, kind="stable")
        best, second = scores[order[0]], scores[order[1]]
        if best < self._config.min_score or best < self._config.min_ratio * second:
            return LightState.UNKNOWN, 0.0
        return _LAMPS[order[0]], float(best - 0.5 * second)

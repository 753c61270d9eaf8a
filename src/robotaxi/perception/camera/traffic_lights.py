"""Traffic light states from the places in the image where the map expects signal heads.

For every head that faces the car: project its three lamps, cut the region around it, and weigh the
pixels by how much they look like a lit lamp of each colour and by how near they are to that lamp's
place. Colour alone confuses a red lamp with a brick wall, place alone two heads one above the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from robotaxi.geometry.se3 import inverse
from robotaxi.hdmap.lane_map import LaneMap, Signal
from robotaxi.params import param
from robotaxi.types import LIGHT_DTYPE, CameraModel, EgoState, FloatArray, LightState, RecordArray

_LAMPS = (LightState.RED, LightState.AMBER, LightState.GREEN)  # from top to bottom, as mounted everywhere
_HUE_DEG = {LightState.RED: 0.0, LightState.AMBER: 38.0, LightState.GREEN: 150.0}
_HUE_WIDTH_DEG = {LightState.RED: 14.0, LightState.AMBER: 16.0, LightState.GREEN: 32.0}
_NS_PER_S = 1e9


@dataclass(frozen=True)
class TrafficLightConfig:
    range_max: float = param(75.0, lo=5.0, hi=300.0, unit="m", doc="heads farther away are not looked at")
    range_min: float = param(3.0, lo=0.5, hi=50.0, unit="m", doc="nor nearer ones")
    facing_max: float = param(1.05, lo=0.1, hi=1.57, unit="rad", doc="largest angle between a head's axis and the car")
    margin: float = param(0.45, lo=0.0, hi=3.0, unit="m", doc="around the head, for errors of pose and calibration")
    place_sigma: float = param(0.22, lo=0.05, hi=2.0, unit="m", doc="how far a lamp may be from its place")
    min_saturation: float = param(0.55, lo=0.0, hi=1.0, doc="below it a pixel is no lit lamp")
    min_value: float = param(0.62, lo=0.0, hi=1.0, doc="brightness below which a pixel is no lit lamp")
    min_evidence: float = param(0.25, lo=0.0, hi=100.0, doc="share of a lamp's area that must look lit")
    min_ratio: float = param(2.0, lo=1.0, hi=100.0, doc="evidence of the best colour over that of the next")
    confirm: int = param(2, lo=1, hi=10, doc="equal frames before amber or green is believed; red is believed at once")
    hold: float = param(0.7, lo=0.0, hi=5.0, unit="s", doc="a believed state is kept that long without evidence")


@dataclass
class _Belief:
    state: LightState = LightState.UNKNOWN
    confidence: float = 0.0
    seen_ns: int = 0
    candidate: LightState = LightState.UNKNOWN
    count: int = 0


class TrafficLightRecognition:
    """Call `step` for every image. Same inputs, same outputs."""

    def __init__(self, config: TrafficLightConfig, lane_map: LaneMap, camera: CameraModel) -> None:
        self._config, self._camera = config, camera
        self._signals: list[Signal] = [lane_map.signals[key] for key in sorted(lane_map.signals)]
        self._position = np.array([s.position for s in self._signals], float).reshape(-1, 3)
        yaw = np.array([s.yaw for s in self._signals], float)
        self._axis = np.stack([np.cos(yaw), np.sin(yaw)], axis=1).reshape(-1, 2)
        self._beliefs: dict[int, _Belief] = {}

    def step(self, image_bgr: np.ndarray, stamp_ns: int, state: EgoState | None) -> RecordArray:
        """One record (LIGHT_DTYPE) for each head that the map expects in view; UNKNOWN where unsure.

        ``image_bgr``: (H, W, 3) uint8 of the camera model's size; another size, or no pose, gives no
        records: nothing is claimed about heads that cannot be placed in the image.
        """
        camera = self._camera
        if state is None or image_bgr.shape != (camera.height, camera.width, 3) or not self._signals:
            return np.zeros(0, LIGHT_DTYPE)
        T_optical_map = inverse(_map_from_base(state) @ camera.T_base_optical)
        records = []
        for index in self._in_view(T_optical_map, state):
            signal = self._signals[index]
            seen, confidence = self._look(image_bgr, signal, T_optical_map)
            belief = self._believe(signal.id, seen, confidence, stamp_ns)
            records.append((*signal.position, signal.id, int(belief.state), belief.confidence))
        return np.array(records, LIGHT_DTYPE) if records else np.zeros(0, LIGHT_DTYPE)

    def _in_view(self, T_optical_map: FloatArray, state: EgoState) -> list[int]:
        """Indices of the heads in range that face the car and whose centre is in the image."""
        config, camera = self._config, self._camera
        to_car = np.array([state.x, state.y]) - self._position[:, :2]
        distance = np.hypot(to_car[:, 0], to_car[:, 1])
        facing = np.einsum("ij,ij->i", to_car, self._axis) > np.cos(config.facing_max) * distance
        optical = self._position @ T_optical_map[:3, :3].T + T_optical_map[:3, 3]
        depth = np.maximum(optical[:, 2], 1e-3)
        u = camera.fx * optical[:, 0] / depth + camera.cx
        v = camera.fy * optical[:, 1] / depth + camera.cy
        inside = (u >= 0.0) & (u < camera.width) & (v >= 0.0) & (v < camera.height)
        near = (optical[:, 2] > config.range_min) & (distance < config.range_max)
        return [int(i) for i in np.flatnonzero(facing & near & inside)]

    def _look(self, image: np.ndarray, signal: Signal, T_optical_map: FloatArray) -> tuple[LightState, float]:
        """What one image says of one head."""
        config, camera = self._config, self._camera
        x, y, z = T_optical_map[:3, :3] @ signal.position + T_optical_map[:3, 3]
        scale = camera.fx / z  # pixels a metre
        u, v = camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy
        half_width = (signal.width / 2.0 + config.margin) * scale + 1.0
        half_height = (signal.height / 2.0 + config.margin) * scale + 1.0
        left, right = max(int(u - half_width), 0), min(int(u + half_width) + 1, camera.width)
        top, bottom = max(int(v - half_height), 0), min(int(v + half_height) + 1, camera.height)
        if right - left < 2 or bottom - top < 3:
            return LightState.UNKNOWN, 0.0
        lit = _lit_weights(image[top:bottom, left:right], config)
        columns = (np.arange(left, right) - u) / scale
        rows = (np.arange(top, bottom) - v) / scale
        sigma = config.place_sigma + 0.5 / scale
        lamp_area = math.pi / 4.0 * (signal.height / 3.0 * 0.9 * scale) ** 2  # pixels
        across = np.exp(-0.5 * (columns / sigma) ** 2)
        evidence = np.zeros(3)
        for lamp, color in enumerate(_LAMPS):
            along = np.exp(-0.5 * ((rows - (lamp - 1) * signal.height / 3.0) / sigma) ** 2)
            evidence[lamp] = float(along @ lit[color] @ across) / max(lamp_area, 1.0)
        best = int(np.argmax(evidence))
        others = float(np.max(np.delete(evidence, best)))
        if evidence[best] < config.min_evidence or evidence[best] < config.min_ratio * others:
            return LightState.UNKNOWN, 0.0
        return _LAMPS[best], float(evidence[best] / (evidence.sum() + 1e-9))

    def _believe(self, signal_id: int, seen: LightState, confidence: float, stamp_ns: int) -> _Belief:
        """Temporal filter: red at once, anything else after equal frames, the last belief held for a while."""
        config = self._config
        belief = self._beliefs.setdefault(signal_id, _Belief())
        if stamp_ns < belief.seen_ns or (stamp_ns - belief.seen_ns) / _NS_PER_S > config.hold:
            belief.state, belief.confidence = LightState.UNKNOWN, 0.0
        if seen is LightState.UNKNOWN:
            belief.count = 0
            return belief
        belief.count = belief.count + 1 if seen is belief.candidate else 1
        belief.candidate = seen
        if seen is LightState.RED or seen is belief.state or belief.count >= config.confirm:
            belief.state, belief.confidence, belief.seen_ns = seen, confidence, stamp_ns
        return belief


def _lit_weights(patch_bgr: np.ndarray, config: TrafficLightConfig) -> dict[LightState, FloatArray]:
    """For each colour how much every pixel of the patch looks like a lit lamp, 0..1."""
    hsv = cv2.cvtColor(patch_bgr.astype(np.float32) / 255.0, cv2.COLOR_BGR2HSV)
    hue, saturation, value = hsv[..., 0], hsv[..., 1], hsv[..., 2]
    strength = np.clip((saturation - config.min_saturation) / 0.2, 0.0, 1.0)
    strength = strength * np.clip((value - config.min_value) / 0.15, 0.0, 1.0)
    out = {}
    for color, center in _HUE_DEG.items():
        off = np.abs((hue - center + 180.0) % 360.0 - 180.0)
        out[color] = (strength * np.clip(2.0 - off / _HUE_WIDTH_DEG[color], 0.0, 1.0)).astype(np.float64)
    return out


def _map_from_base(state: EgoState) -> FloatArray:
    c, s = math.cos(state.yaw), math.sin(state.yaw)
    return np.array([[c, -s, 0.0, state.x], [s, c, 0.0, state.y], [0.0, 0.0, 1.0, state.z], [0.0, 0.0, 0.0, 1.0]])

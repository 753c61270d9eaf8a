"""Ways round standing obstacles: offset profiles over the path, and what each of them touches.

A profile shifts out before the obstacle, holds beside it and shifts back behind it. It counts only
where the whole body stays on drivable ground, clears everything that stands there, bends no more
than the car can steer, and where the ground beyond the own lane may be borrowed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.planning.config import PlannerConfig
from robotaxi.planning.motion.lateral_shift import bearable, blend, shifted_points, state_at
from robotaxi.planning.path_math import project, swept_gap
from robotaxi.planning.reference import CURVATURE_SMOOTHING, SPACING, Reference
from robotaxi.planning.route_features import RouteFeatures
from robotaxi.planning.tight_bends import tightest_bend
from robotaxi.prediction import LaneGraph
from robotaxi.types import RecordArray, VehicleParams

FloatArray = NDArray[np.floating[Any]]

PEAK_BEND = 5.77  # of the quintic unit step: largest second derivative
BEFORE, BEHIND = 0.5, 0.5  # m between bumper and obstacle where the car is fully beside it
MIN_SHIFT = 9.0  # m, shortest shift over
TURN_SHARE = 0.7  # of the largest steering rate that a detour may need
SLOWEST = 2.0  # m/s
EDGE = 0.05  # m beside the body that must be drivable too
KEEP_LANE = 0.15  # m over the lane's edge that does not count as borrowing
CROSSWALK_BEFORE, CROSSWALK_AFTER = 5.0, 2.0  # m around a crosswalk where no other lane is borrowed
JUNCTION_MARGIN = 3.0  # m around a junction where no other lane is borrowed
MAX_GROUP = 5  # obstacles passed in one go
MIN_CLEARANCE_SHARE = 0.9  # of the wanted clearance that the finished profile must keep
MORE_TRIES = 2  # times that the offset is made larger where the body cuts a bend
SPARE = 0.02  # m beyond what was missing


@dataclass(frozen=True)
class Extent:
    """What an object covers, seen from the path: arc lengths and offsets (left positive)."""

    s_lo: float
    s_hi: float
    d_lo: float
    d_hi: float


@dataclass(frozen=True)
class Detour:
    """One way round. Arc lengths on the unshifted path; ``borrowed``: where the body is beyond the
    own lanes, and ``oncoming``: whether that lane is driven the other way; ``clearance``: to obstacles; ``speed``:
    fastest in it (m/s)."""

    profile: FloatArray
    start_s: float
    end_s: float
    offset: float
    subjects: tuple[int, ...]  # object ids
    borrowed: tuple[float, float] | None
    oncoming: bool
    clearance: float
    speed: float


def extent_of(base: Reference, record: np.void, near: float) -> Extent | None:
    """Extent of a box (OBJECT_DTYPE record) along ``base`` within 80 m beyond arc length ``near``."""
    lo, hi = base.index(near - 10.0), base.index(near + 80.0) + 1
    c, s = math.cos(record["yaw"]), math.sin(record["yaw"])
    out = []
    for u, v in ((1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1)):
        along, aside = 0.5 * u * float(record["length"]), 0.5 * v * float(record["width"])
        x, y = float(record["x"]) + c * along - s * aside, float(record["y"]) + s * along + c * aside
        k, beyond, d = project(base.x, base.y, base.yaw, lo, hi, x, y)
        if (k == hi - 1 and beyond > 1.0) or (k == lo and beyond < -1.0):
            return None
        out.append((float(base.s[k] + beyond), float(d)))
    arc, offset = [item[0] for item in out], [item[1] for item in out]
    return Extent(min(arc), max(arc), min(offset), max(offset))


class DetourSearch:
    """Builds and checks detours on one map for one vehicle."""

    def __init__(self, lane_map: LaneMap, graph: LaneGraph, vehicle: VehicleParams, config: PlannerConfig) -> None:
        self._map, self._graph, self._vehicle, self._config = lane_map, graph, vehicle, config
        self._max_bend = tightest_bend(vehicle)
        self._half = vehicle.width / 2.0

    def find(
        self,
        base: Reference,
        features: RouteFeatures,
        profile: FloatArray,
        s: float,
        speed: float,
        standing: RecordArray,
        first: int,
        clearances: tuple[float, ...] = (),
    ) -> Detour | None:
        """The least detour round ``standing[first]`` and what stands behind it; None where there is none.

        ``profile``: the offset driven now, kept for the next moment; ``s``: base_link on ``base``; ``clearances``:
        beside the obstacle, the wanted one first (default: those of the configuration).
        """
        extents = [extent_of(base, record, s) for record in standing]
        found = []
        for side in (1, -1):
            for clearance in clearances or (self._config.detour_clearance, self._config.detour_clearance_min):
                detour = self._on_side(base, features, profile, s, speed, standing, extents, first, side, clearance)
                if detour is not None:
                    found.append(detour)
                    break
        return min(found, key=self._cost) if found else None

    def fastest(self, base: Reference, detour: Detour, a: float, b: float) -> float:
        """Speed (m/s) that the wheels allow between arc lengths ``a`` and ``b`` of ``base``."""
        _, _, _, arc, bend = shifted_points(base, detour.profile, base.index(a), base.index(b) + 1)
        return self._speed(arc, bend, np.ones(arc.size, np.bool_))

    def _cost(self, detour: Detour) -> float:
        length = detour.borrowed[1] - detour.borrowed[0] if detour.borrowed else 0.0
        tight = self._config.detour_clearance - min(detour.clearance, self._config.detour_clearance)
        return abs(detour.offset) + 4.0 * tight + (0.3 * length + 3.0 if detour.oncoming else 0.05 * length)

    def _on_side(
        self,
        base: Reference,
        features: RouteFeatures,
        profile: FloatArray,
        s: float,
        speed: float,
        standing: RecordArray,
        extents: list[Extent | None],
        first: int,
        side: int,
        clearance: float,
    ) -> Detour | None:
        group = [first]
        more, tries = 0.0, 0  # m that the body needs in bends beyond what its middle keeps
        while len(group) <= MAX_GROUP:
            built = self._build(base, profile, s, speed, [extents[i] for i in group], side, clearance + more)
            if built is None:
                return None
            candidate, start, end, offset = built
            lo, hi = base.index(s), base.index(end + 5.0) + 1
            x, y, yaw, arc, bend = shifted_points(base, candidate, lo, hi)
            config = self._config
            if np.abs(bend).max() > self._max_bend or not bearable(
                arc, bend, speed, config.detour_lateral_most, config.detour_deceleration
            ):
                return None
            clear = self._clearances(x, y, yaw, standing)
            tight = np.flatnonzero(clear < MIN_CLEARANCE_SHARE * clearance)
            new = [int(i) for i in tight if i not in group and extents[int(i)] is not None]
            if tight.size and not new:
                if tries == MORE_TRIES:
                    return None
                tries += 1
                more += clearance - float(clear[tight].min()) + SPARE
                continue
            if new:
                group.append(min(new, key=lambda i: extents[i].s_lo))  # type: ignore[union-attr]
                continue
            moved = np.abs(candidate[lo:hi]) > 0.05
            if not self._drivable(x[moved], y[moved], yaw[moved]):
                return None
            allowed, borrowed, oncoming = self._borrowed(base, features, lo, x, y, yaw, moved)
            if not allowed:
                return None
            least = float(np.nanmin(clear)) if np.isfinite(clear).any() else math.inf
            subjects = tuple(int(standing["id"][i]) for i in group)
            speed = self._speed(arc, bend, moved)
            return Detour(candidate, start, end, offset, subjects, borrowed, oncoming, least, speed)
        return None

    def _build(
        self,
        base: Reference,
        profile: FloatArray,
        s: float,
        speed: float,
        group: list[Extent | None],
        side: int,
        clearance: float,
    ) -> tuple[FloatArray, float, float, float] | None:
        """Profile, its beginning and end, and its offset beside the obstacles."""
        config, vehicle = self._config, self._vehicle
        members = [item for item in group if item is not None]
        if len(members) != len(group):
            return None
        if side > 0:
            offset = max(item.d_hi for item in members) + self._half + clearance
        else:
            offset = min(item.d_lo for item in members) - self._half - clearance
        if offset * side <= 0.05 or abs(offset) > config.detour_offset_max:
            return None
        full = min(item.s_lo for item in members) - vehicle.front - BEFORE
        hold = max(item.s_hi for item in members) + vehicle.rear_overhang + BEHIND
        free_from = s + 0.5 + 0.25 * speed
        at = base.index(full)
        pass_speed = min(config.detour_speed, float(base.speed_limit[at]))
        comfort = pass_speed * math.sqrt(PEAK_BEND * abs(offset) / config.detour_lateral_acceleration)
        length = max(min(comfort, full - free_from), MIN_SHIFT)
        start = max(full - length, free_from)
        full = start + length
        back = max(comfort, 1.5 * MIN_SHIFT)
        room = base.goal_s - 1.0 - hold
        if room < back:
            back = room
        if back < MIN_SHIFT or full > hold:
            return None
        samples = base.s
        out = blend(samples, start, full, state_at(profile, start), offset)
        out = np.where(samples < start, profile, out)
        out = np.where(samples >= hold, blend(samples, hold, hold + back, (offset, 0.0, 0.0), 0.0), out)
        return out, start, hold + back, offset

    def _speed(self, arc: FloatArray, bend: FloatArray, moved: NDArray[np.bool_]) -> float:
        """How fast the wheels can be turned along: the path is only as wide as it is kept to."""
        vehicle = self._vehicle
        turning = np.abs(np.gradient(gaussian_filter1d(bend, CURVATURE_SMOOTHING / SPACING, mode="nearest"), arc))
        fastest = (
            TURN_SHARE
            * vehicle.max_steering_rate
            / (vehicle.wheelbase * max(float(turning[moved].max(initial=0.0)), 1e-6))
        )
        return min(self._config.detour_speed, max(fastest, SLOWEST))

    def _clearances(self, x: FloatArray, y: FloatArray, yaw: FloatArray, standing: RecordArray) -> FloatArray:
        """Metres (N,) between the swept body and each box, inf for those far away."""
        box = {name: standing[name].astype(np.float64) for name in ("x", "y", "yaw", "length", "width")}
        gap = swept_gap(
            x, y, yaw, self._vehicle.rear_overhang, self._vehicle.front, self._half,
            box["x"], box["y"], box["yaw"], box["length"], box["width"],
        )  # fmt: skip
        return np.asarray(gap)

    def _corners(self, x: FloatArray, y: FloatArray, yaw: FloatArray, edge: float) -> tuple[FloatArray, FloatArray]:
        """Points (n, 4) on both sides of the rear axle and at both front corners."""
        out_x, out_y = [], []
        for along in (0.0, self._vehicle.front):
            for aside in (self._half + edge, -self._half - edge):
                out_x.append(x + np.cos(yaw) * along - np.sin(yaw) * aside)
                out_y.append(y + np.sin(yaw) * along + np.cos(yaw) * aside)
        return np.stack(out_x, axis=1), np.stack(out_y, axis=1)

    def _drivable(self, x: FloatArray, y: FloatArray, yaw: FloatArray) -> bool:
        px, py = self._corners(x, y, yaw, EDGE)
        return bool(self._map.drivable(np.stack([px.ravel(), py.ravel()], axis=1)).all())

    def _borrowed(
        self,
        base: Reference,
        features: RouteFeatures,
        lo: int,
        x: FloatArray,
        y: FloatArray,
        yaw: FloatArray,
        moved: NDArray[np.bool_],
    ) -> tuple[bool, tuple[float, float] | None, bool]:
        """Whether it is allowed, the stretch beyond the own lanes, and whether it is oncoming traffic's."""
        graph = self._graph
        px, py = self._corners(x, y, yaw, -KEEP_LANE)
        n = x.size
        heading = np.repeat(yaw, 4)
        lanes, arcs, _, _ = graph.match(px.ravel(), py.ravel(), heading, np.ones(4 * n, bool), 0.8, 0.0)
        own_ids = np.array(sorted(graph.index[i] for i in base.route.lane_ids), np.int64)
        matched = lanes >= 0
        own = (np.isin(lanes, own_ids) & matched).any(axis=1)
        safe_lane = np.where(matched, lanes, 0)
        cell = np.clip(np.round(arcs / graph.spacing[safe_lane]).astype(np.int64), 0, graph.count[safe_lane] - 1)
        lane_yaw = graph.yaw[graph.start[safe_lane] + cell]
        against = (np.cos(lane_yaw - heading[:, None]) < 0.0) & matched
        beyond = matched.any(axis=1) & ~own
        beyond_at = beyond.reshape(n, 4).any(axis=1) & moved
        if not beyond_at.any():
            return True, None, False
        where = np.flatnonzero(beyond_at)
        oncoming = bool((against.any(axis=1) & beyond).reshape(n, 4)[where].any())
        s_in, s_out = float(base.s[lo + where[0]]), float(base.s[lo + where[-1]])
        span = (s_in, s_out + self._vehicle.front)
        for item in features.crosswalks:
            if item.s_in < span[1] + CROSSWALK_BEFORE and item.s_out > span[0] - CROSSWALK_AFTER:
                return False, None, False
        a, b = base.index(span[0] - JUNCTION_MARGIN), base.index(span[1] + JUNCTION_MARGIN) + 1
        for index in np.unique(base.lane[a:b]):
            if self._map.lanes[base.route.lane_ids[int(index)]].junction_id is not None:
                return False, None, False
        for line in features.lines:
            if span[0] < line.s < span[1] + JUNCTION_MARGIN:
                return False, None, False
        return True, (s_in, s_out), oncoming

"""Did the car end safely, was the fault noticed in time, and was the right part named?"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from robotaxi.faults.catalog import Fault, named_in
from robotaxi.geometry.polyline import points_in_polygon
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.sim.infractions import Infraction
from robotaxi.types import FloatArray, SystemMode, VehicleParams

_ROOT_S = 1.0  # s after the first word until which the health monitor may find the root
_LANE_TOLERANCE = 0.3  # m the body may reach over the edge of its lanes, as when passing a parked car


@dataclass(frozen=True)
class Word:
    """What the car said at one moment: the gate's mode and sentence, the health monitor's part and sentence."""

    time: float
    mode: str
    reason: str
    part: str
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """``noticed``: seconds from the injection that must be noticed first, None if never. ``named``: who was blamed."""

    safe: bool
    why_not: str
    noticed: float | None
    in_time: bool
    must_notice: bool
    named: str
    named_right: bool
    recovered: bool

    @property
    def good(self) -> bool:
        return self.safe and self.in_time and (self.named_right or not self.must_notice)


def judge(faults: tuple[Fault, ...], said: list[Word], infractions: list[Infraction], place: str, moving_on: bool,
          standing: bool) -> Verdict:  # fmt: skip
    """``said``: from the first injection on. ``place``: why the car's place is not legal, "" if it is.
    ``moving_on``: it drives by itself again at the end."""
    guilty = [item for item in infractions if item.at_fault]
    last = {item.kind: item for item in guilty}.values()  # each tells how far it has come
    why_not = "; ".join(
        f"{item.kind} at {item.stamp_ns * 1e-9:.2f} s, ({item.x:.1f}, {item.y:.1f}): {item.detail}" for item in last
    )
    if not why_not and not moving_on and not standing:
        why_not = "neither standing nor driving by itself at the end"
    if not why_not and place:
        why_not = place
    start = min(fault.from_ns for fault in faults) * 1e-9
    pressing = min(faults, key=lambda fault: (fault.from_ns * 1e-9 + fault.bound, fault.from_ns))
    found = [word for word in said if word.time >= start and speaks(word)]
    noticed = max(found[0].time - pressing.from_ns * 1e-9, 0.0) if found else None
    must = math.isfinite(pressing.bound)
    allowed = {part for fault in faults for part in fault.parts}
    named = _named(found)
    return Verdict(
        safe=not why_not,
        why_not=why_not,
        noticed=None if noticed is None else round(noticed, 3),
        in_time=not must or (noticed is not None and noticed <= pressing.bound + 1e-6),
        must_notice=must,
        named=named,
        named_right=named in allowed,
        recovered=moving_on,
    )


def speaks(word: Word) -> bool:
    """Whether it says that something is wrong."""
    return bool(word.part) or word.mode not in (SystemMode.AUTONOMOUS.name, SystemMode.STOP.name) or (
        word.mode == SystemMode.STOP.name and bool(named_in(word.reason))
    )  # fmt: skip


def _named(found: list[Word]) -> str:
    """What rider and cloud were told within a second of the first word: the mode's reason, which takes up what the
    health monitor has found; while the car drives on, the health monitor's word."""
    if not found:
        return ""
    window = [word for word in found if word.time <= found[0].time + _ROOT_S]
    told = [named for word in window if word.mode != SystemMode.AUTONOMOUS.name and (named := named_in(word.reason))]
    parts = [word.part for word in window if word.part]
    return (told or parts or [""])[-1]


def illegal_place(lane_map: LaneMap, vehicle: VehicleParams, x: float, y: float, yaw: float) -> str:
    """Why the car does not stand (or drive) within the lanes; "" if it does."""
    corners = body_corners(vehicle, x, y, yaw, _LANE_TOLERANCE)
    if lane_map.drivable(corners).all():
        polygons = (np.concatenate([lane.left, lane.right[::-1]])[:, :2] for lane in lane_map.lanes.values())
        center = np.array([[x, y]])
        if any(points_in_polygon(center, polygon).all() for polygon in polygons):
            return ""
        bays = [place.pose for place in lane_map.stopping_places.values()]
        if any(math.hypot(pose[0] - x, pose[1] - y) < 15.0 for pose in bays):
            return ""
        return "the car is in no lane"
    return "the car stands beside the road"


def body_corners(vehicle: VehicleParams, x: float, y: float, yaw: float, less: float) -> FloatArray:
    """Corners (4, 2) of the body, drawn in by ``less`` metres."""
    c, s = math.cos(yaw), math.sin(yaw)
    front, rear, half = vehicle.front - less, -vehicle.rear_overhang + less, 0.5 * vehicle.width - less
    local = np.array([[front, half], [front, -half], [rear, -half], [rear, half]])
    return np.column_stack([x + c * local[:, 0] - s * local[:, 1], y + s * local[:, 0] + c * local[:, 1]])


def row(faults: tuple[Fault, ...], verdict: Verdict, scene: str, seed: int, **more: Any) -> dict[str, Any]:
    """One injection for the JSON file."""
    return {
        "seed": seed,
        "scene": scene,
        "faults": [
            {"kind": fault.kind, "target": fault.target, "at_s": fault.from_ns * 1e-9,
             "lasts_s": round((fault.until_ns - fault.from_ns) * 1e-9, 2),
             "bound_s": round(fault.bound, 2) if math.isfinite(fault.bound) else None, "parts": list(fault.parts)}
            for fault in faults
        ],
        **asdict(verdict),
        "good": verdict.good,
        **more,
    }  # fmt: skip

"""Solid outlines of the scenery, for contact."""

from __future__ import annotations

import numpy as np

from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.sim.scenery.objects import GABLE_RISE, LAMP_POST_HEIGHT, PLINTH, SIGN_HEIGHT, STOREY
from robotaxi.sim.scenery.placement import Placement
from robotaxi.types import RecordArray

OBSTACLE_BOX_DTYPE = np.dtype(
    [
        ("x", "<f8"),  # box centre on the ground, map
        ("y", "<f8"),
        ("z", "<f8"),
        ("yaw", "<f8"),
        ("length", "<f8"),  # along yaw
        ("width", "<f8"),
        ("height", "<f8"),
        ("kind", "U8"),  # building | tree | lamp | stop | yield | limit | mast | parked
    ]
)
"""One solid thing per record, as an oriented box from the ground up."""

_TRUNK_DIAMETER_SHARE = 0.26  # of the crown's radius
_POST_WIDTH = {"lamp": 0.18, "stop": 0.08, "yield": 0.08, "limit": 0.08}
_MAST_WIDTH = 0.2


def obstacle_boxes(lane_map: LaneMap, placement: Placement, parked: RecordArray) -> RecordArray:
    """Everything one can run into, OBSTACLE_BOX_DTYPE."""
    rows: list[tuple[object, ...]] = []
    for b in placement.buildings:
        height = PLINTH + STOREY * int(b["storeys"]) + (GABLE_RISE if b["gable"] else 0.0)
        rows.append((b["x"], b["y"], b["z"], b["yaw"], b["width"], b["length"], height, "building"))
    for t in placement.trees:
        size = _TRUNK_DIAMETER_SHARE * float(t["crown_radius"])
        rows.append((t["x"], t["y"], t["z"], t["yaw"], size, size, t["height"], "tree"))
    for p in placement.posts:
        kind = str(p["kind"])
        height = LAMP_POST_HEIGHT if kind == "lamp" else SIGN_HEIGHT + 0.4
        rows.append((p["x"], p["y"], p["z"], p["yaw"], _POST_WIDTH[kind], _POST_WIDTH[kind], height, kind))
    for m in placement.masts:
        top = float(lane_map.signals[int(m["signal_id"])].position[2]) - float(m["z"]) + 0.5
        rows.append((m["x"], m["y"], m["z"], 0.0, _MAST_WIDTH, _MAST_WIDTH, top, "mast"))
    for c in parked:
        rows.append((c["x"], c["y"], c["z"], c["yaw"], c["length"], c["width"], c["height"], "parked"))
    return np.array(rows, OBSTACLE_BOX_DTYPE)

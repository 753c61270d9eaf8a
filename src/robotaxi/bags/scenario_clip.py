"""A stretch of a recorded drive read as a `Clip`: from there on the stack drives anew, and the others as they did."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from robotaxi.bags.quick_read import CloudReader
from robotaxi.bags.reader import bag_info, known_types, open_bag, ordered, parts_of, table_topic
from robotaxi.bags.writer import BagError
from robotaxi.evaluation.scenarios.recorded import Clip, lights_of, others_of
from robotaxi.interfaces import INTERFACES
from robotaxi.pointcloud2 import CloudError, require
from robotaxi.types import LIGHT_DTYPE, OBJECT_DTYPE, Pose2, VehicleParams

STATE, OBJECTS, LIGHTS = "localization/kinematic_state", "perception/objects", "perception/traffic_lights"
GOAL_BEYOND = 50.0  # m driven after the moment; there is the goal
NO_GOAL = 5.0  # m; who got no farther was going nowhere
PATIENCE = 30.0  # s more than the recorded car took


def read_clip(bag: Path, start_s: float, end_s: float, vehicle: VehicleParams) -> Clip:
    """What happened from ``start_s`` to ``end_s`` (stamps), and on until the car was `GOAL_BEYOND` farther.

    Raises BagError where the bag does not say how the car moved, or on which map.
    """
    info = bag_info(bag)
    map_name = info.custom.get("map", "")
    if not map_name:
        raise BagError(f"{bag}: does not say on which map it was recorded")
    states, objects, lights = _messages(bag, start_s, end_s)
    if len(states) < 2:
        raise BagError(f"{bag}: has no '{STATE}' from {start_s:.1f} to {end_s:.1f} s")
    rows = np.array(states)
    t0, last = rows[0, 0], rows[-1]
    driven = float(np.hypot(*np.diff(rows[:, 1:3], axis=0).T).sum())
    goal = Pose2(float(last[1]), float(last[2]), float(last[3])) if driven >= NO_GOAL else None
    size = vehicle.length, vehicle.width, vehicle.height, vehicle.center_offset
    return Clip(
        f"recorded in {bag}, {start_s:.1f} to {end_s:.1f} s", map_name,
        Pose2(*(float(v) for v in rows[0, 1:4])), max(float(rows[0, 4]), 0.0), goal, size,
        others_of([(t - t0, r) for t, r in objects if t >= t0]), lights_of([(t - t0, r) for t, r in lights if t >= t0]),
        float(last[0] - t0) + PATIENCE,
    )  # fmt: skip


def _messages(bag: Path, start_s: float, end_s: float) -> tuple[list[Any], list[Any], list[Any]]:
    """Rows (t, x, y, yaw, speed) of the car, and (t, records) of objects and lights, until it is where the goal is."""
    states: list[tuple[float, float, float, float, float]] = []
    clouds: dict[str, list[Any]] = {OBJECTS: [], LIGHTS: []}
    beyond = 0.0
    for part in parts_of(bag):
        with open_bag(part) as reader:
            store, _ = known_types(reader)
            names = {c.topic: table_topic(c.topic) for c in reader.connections}
            chosen = [c for c in reader.connections if names[c.topic] in (STATE, *clouds)
                      and c.msgtype == INTERFACES[names[c.topic]].type]  # fmt: skip
            kinds = {c.topic: c.msgtype for c in chosen}
            read = CloudReader(partial(_cloud, store)).read
            for stamp_ns, topic, raw in ordered(reader, chosen):
                t, name = stamp_ns * 1e-9, names[topic]
                if t < start_s:
                    continue
                if name != STATE:
                    records = _records(read(raw), name)
                    if records is not None:
                        clouds[name].append((t, records))
                    continue
                message = store.deserialize_cdr(raw, kinds[topic])
                if not message.pose.covariance[0] >= 0.0:  # not known where
                    continue
                place, turn = message.pose.pose.position, message.pose.pose.orientation
                yaw = 2.0 * math.atan2(turn.z, turn.w)
                if t > end_s:
                    beyond += math.hypot(place.x - states[-1][1], place.y - states[-1][2]) if states else 0.0
                states.append((t, place.x, place.y, yaw, message.twist.twist.linear.x))
                if beyond >= GOAL_BEYOND:
                    return states, clouds[OBJECTS], clouds[LIGHTS]
    return states, clouds[OBJECTS], clouds[LIGHTS]


def _cloud(store: Any, raw: bytes) -> Any:
    return store.deserialize_cdr(raw, INTERFACES[OBJECTS].type)


def _records(points: Any, name: str) -> Any:
    """Those of another stack, which say other things, are as if there were none."""
    try:
        require(points.dtype, (OBJECT_DTYPE if name == OBJECTS else LIGHT_DTYPE).names or ())
    except CloudError:
        return None
    return points

"""From a recorded ride to the `RideLog` that metrics and report work on."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from robotaxi.bags.messages import messages
from robotaxi.evaluation.ride_log import (
    CommandSeries,
    EgoSeries,
    ExplanationEntry,
    InfractionEntry,
    ModeEntry,
    RideLog,
    TripEntry,
    no_motion,
)
from robotaxi.interfaces import INTERFACES, TRUTH_PREFIX
from robotaxi.types import TRAJECTORY_DTYPE, Trajectory

_NS = 1_000_000_000
SENSOR_TO_COMMAND = "sensor_to_command_ms"


def read_ride(bag: Path, **known: Any) -> RideLog:
    """Read a bag of profile 'drive' or 'all'. ``known``: fields of RideLog that are not in a bag.

    Raises what rosbags raises for a bag that cannot be read, and RideLogError for one without a ride.
    """
    messages = _by_topic(bag)
    truth = messages[TRUTH_PREFIX + "ego"]
    start_ns = _stamp(truth[0]) if truth else 0

    def seconds(message: Any) -> float:
        return (_stamp(message) - start_ns) / _NS

    latency, sensor_to_command = _latencies(messages["diagnostics"])
    return RideLog(
        start_ns=start_ns,
        truth=_ego_series(truth, seconds),
        estimate=_ego_series(
            [m for m in messages["localization/kinematic_state"] if m.pose.covariance[0] >= 0], seconds
        ),
        commands=_commands(messages["vehicle/command"], seconds),
        trajectories=tuple(_trajectories(messages["planning/trajectory"])),
        trajectory_let_ns=INTERFACES["planning/trajectory"].let_ns,
        explanations=tuple(
            ExplanationEntry(
                seconds(m),
                values["cause"],
                sentence,
                values["slowing"] == "1",
                int(values["subject_id"]),
                float(values["distance"]),
            )
            for m, sentence, values in _records(messages["planning/explanation"])
        ),
        trip=tuple(
            TripEntry(seconds(m), values["state"], reason, values["order_id"])
            for m, reason, values in _records(messages["dispatch/trip"])
        ),
        infractions=_infractions(messages[TRUTH_PREFIX + "infraction"]),
        modes=tuple(_changes(ModeEntry(seconds(m), v["mode"], why) for m, why, v in _records(messages["system/mode"]))),
        localization_status=tuple(_localization_status(messages["diagnostics"], seconds)),
        latency_ms=latency,
        sensor_to_command_ms=sensor_to_command,
        **known,
    )


def _by_topic(bag: Path) -> dict[str, list[Any]]:
    """Every message of the topics in the interface table, in the order of their stamps."""
    types = get_typestore(Stores.ROS2_KILTED)
    out: dict[str, list[Any]] = defaultdict(list)
    with Reader(bag) as reader:
        wanted = {c.id: name for c in reader.connections for name in INTERFACES
                  if c.topic == "/" + name or c.topic.endswith("/" + name)}  # fmt: skip
        skipped = ("sensing/", TRUTH_PREFIX + "agents", "perception/")
        connections = [c for c in reader.connections if c.id in wanted and not wanted[c.id].startswith(skipped)]
        for connection, _, raw in messages(reader, connections) if connections else ():
            out[wanted[connection.id]].append(types.deserialize_cdr(raw, connection.msgtype))
    for rows in out.values():
        rows.sort(key=_stamp)
    return out


def _stamp(message: Any) -> int:
    return int(message.header.stamp.sec) * _NS + int(message.header.stamp.nanosec)


def _records(messages: list[Any]) -> Iterator[tuple[Any, str, dict[str, str]]]:
    for message in messages:
        status = message.status[0]
        yield message, status.message, {pair.key: pair.value for pair in status.values}


def _ego_series(messages: list[Any], seconds: Any) -> EgoSeries:
    if not messages:
        return no_motion()
    rows = np.array(
        [
            (
                seconds(m),
                m.pose.pose.position.x,
                m.pose.pose.position.y,
                2.0 * math.atan2(m.pose.pose.orientation.z, m.pose.pose.orientation.w),
                m.twist.twist.linear.x,
                m.twist.twist.angular.z,
            )
            for m in messages
        ]
    )
    t, x, y, yaw, speed, yaw_rate = rows.T
    return EgoSeries.make(t, x, y, yaw, speed, yaw_rate=yaw_rate)


def _commands(messages: list[Any], seconds: Any) -> CommandSeries | None:
    if not messages:
        return None
    rows = np.array(
        [
            (seconds(m), m.points[0].positions[0], m.points[0].accelerations[1], m.points[0].velocities[1])
            for m in messages
        ]
    )
    return CommandSeries(*rows.T)


def _trajectories(messages: list[Any]) -> Iterator[Trajectory]:
    for message in messages:
        if message.width:
            yield Trajectory(_stamp(message), np.frombuffer(bytes(message.data), TRAJECTORY_DTYPE))


def _infractions(messages: list[Any]) -> tuple[InfractionEntry, ...]:
    """One entry an infraction; of one that went on (metres off the road) the last word."""
    last = {}
    for message, detail, values in _records(messages):
        entry = InfractionEntry(
            _stamp(message),
            values["kind"],
            values["at_fault"] == "1",
            detail,
            float(values["value"]),
            float(values["x"]),
            float(values["y"]),
        )
        last[entry.stamp_ns, entry.kind, values["subject_id"]] = entry
    return tuple(last.values())


def _changes(entries: Iterator[ModeEntry]) -> Iterator[ModeEntry]:
    """Without repetitions of the same mode."""
    last = None
    for entry in entries:
        if entry.mode != last:
            last = entry.mode
            yield entry


def _localization_status(messages: list[Any], seconds: Any) -> Iterator[ModeEntry]:
    levels = {0: "good", 1: "degraded", 2: "lost"}
    rows = (m for m in messages if m.status[0].name == "localization")
    return _changes(ModeEntry(seconds(m), levels.get(m.status[0].level, "lost"), m.status[0].message) for m in rows)


def _latencies(messages: list[Any]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    by_node: dict[str, list[float]] = defaultdict(list)
    chain: list[float] = []
    for message, _, values in _records(messages):
        samples = [float(part) for part in values.get("latency_ms", "").split(",") if part]
        by_node[message.status[0].name].extend(samples)
        chain.extend(float(part) for part in values.get(SENSOR_TO_COMMAND, "").split(",") if part)
    return {name: np.array(samples) for name, samples in by_node.items() if samples}, np.array(chain)

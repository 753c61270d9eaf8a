"""What the sensors of a recorded drive measured, as the nouns of the stack; and the truth where there is one."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from robotaxi.bags.messages import messages
from robotaxi.bags.reader import custom_data
from robotaxi.bags.transforms import TF_TYPE
from robotaxi.evaluation.drive_log import SensorLog, Sweeps, Truth
from robotaxi.geometry.se3 import rotation
from robotaxi.interfaces import INTERFACES
from robotaxi.pointcloud2 import CloudError, from_cloud, require
from robotaxi.types import FloatArray, GnssFix, ImuSample, RecordArray, VehicleReport

_NS = 1_000_000_000
_IMU, _STATUS, _GNSS, _CLOUD = "sensing/imu/data", "vehicle/status", "sensing/gnss/fix", "sensing/lidar/top/pointcloud"
_TRUTH, _STATIC = "sim/ego", "tf_static"
_TYPES = {**{t: INTERFACES[t].type for t in (_IMU, _STATUS, _GNSS, _CLOUD, _TRUTH)}, _STATIC: TF_TYPE}


class SensorLogError(ValueError):
    """A bag that cannot be used; the message names it and what is wrong."""


def read_sensor_log(bag: str | Path, sweeps: bool = True) -> SensorLog:
    """Everything the localizer needs of a bag; sweeps are read when they are iterated over. SensorLogError for one
    that cannot be read."""
    bag = Path(bag)
    log = SensorLog(label_of(bag))
    truth: list[tuple[float, ...]] = []
    frame = ""
    if sweeps:
        log.sweeps = Sweeps([_raw_stamp(bag, raw) for raw in _raw(bag, (_CLOUD,))], lambda: _sweeps(bag))
        frame = next((m.header.frame_id for _, m in _messages(bag, (_CLOUD,))), "")
    for topic, message in _messages(bag, (_IMU, _STATUS, _GNSS, _TRUTH, _STATIC)):
        if topic == _IMU:
            log.imu.append(_imu(message))
        elif topic == _STATUS:
            report = _report(message)
            if report is not None:
                log.reports.append(report)
        elif topic == _GNSS:
            log.fixes.append(_fix(message))
        elif topic == _TRUTH:
            p, q = message.pose.pose.position, message.pose.pose.orientation
            truth.append((_stamp(message), p.x, p.y, p.z, 2.0 * math.atan2(q.z, q.w), message.twist.twist.linear.x))
        else:
            log.T_base_lidar = _mounting(message, log.T_base_lidar)
    if frame.rsplit("/", 1)[-1] == "base_link":
        log.T_base_lidar = np.eye(4)
    elif log.T_base_lidar is None and truth:
        from robotaxi.sensor_rig import load_rig

        log.T_base_lidar = load_rig("robotaxi").T_base_lidar
    for rows in (log.imu, log.reports, log.fixes):
        rows.sort(key=lambda r: r.stamp_ns)
    truth = list({row[0]: row for row in sorted(row for row in truth if np.isfinite(row).all())}.values())
    if truth:
        table = np.array([row[1:] for row in truth])
        log.truth = Truth(np.array([row[0] for row in truth], np.int64), table[:, :4], table[:, 4])
    return log


def sweep_stamps(bag: str | Path) -> tuple[list[int], Callable[[int], RecordArray]]:
    """Stamps of the bag's sweeps, and a function that gives one by its index (cheapest in order)."""
    bag = Path(bag)
    stamps = [_raw_stamp(bag, raw) for raw in _raw(bag, (_CLOUD,))]
    state: dict[str, Any] = {"next": 0, "rows": iter(())}

    def load(index: int) -> RecordArray:
        if index < state["next"] or state["next"] == 0:
            state["rows"], state["next"] = _messages(bag, (_CLOUD,)), 0
        while True:
            _, message = next(state["rows"])
            state["next"] += 1
            if state["next"] == index + 1:
                return _records(message)

    return stamps, load


def setting_of(bags: Sequence[Path], key: str, default: str = "robotaxi") -> str:
    """What the bags' recorder noted under ``key`` ("map", "sensors"). SensorLogError where they differ."""
    said = {name: bag for bag in bags if (name := custom_data(bag).get(key, ""))}
    if len(said) > 1:
        (first, a), (second, b), *_ = said.items()
        raise SensorLogError(f"{a} has {key} '{first}' and {b} has '{second}': they make no common map")
    return next(iter(said), default)


def label_of(bag: Path) -> str:
    """A name that tells bags apart: rides keep theirs in a folder of the same name."""
    bag = bag.resolve()
    return f"{bag.parent.name}/{bag.name}"


def _sweeps(bag: Path) -> Iterator[tuple[int, RecordArray]]:
    for _, message in _messages(bag, (_CLOUD,)):
        yield _stamp(message), _records(message)


def _raw_stamp(bag: Path, raw: tuple[str, str, bytes]) -> int:
    """Stamp of a message that begins with a header, without decoding the rest."""
    data = raw[2]
    if len(data) < 12:
        raise SensorLogError(f"{bag}: holds a sweep of {len(data)} bytes")
    order = "<" if data[1] & 1 else ">"
    sec, nanosec = struct.unpack_from(order + "iI", data, 4)
    return int(sec) * _NS + int(nanosec)


def _messages(bag: Path, topics: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    types = get_typestore(Stores.ROS2_KILTED)
    for topic, kind, raw in _raw(bag, topics):
        try:
            message = types.deserialize_cdr(raw, kind)
        except Exception as error:
            raise SensorLogError(f"{bag}: '{topic}' holds a message that cannot be read: {error}") from error
        yield topic, message


def _raw(bag: Path, topics: tuple[str, ...]) -> Iterator[tuple[str, str, bytes]]:
    """(topic of the table, type, message) in the order of the bag."""
    try:
        with Reader(bag) as reader:
            names = {
                c.id: t
                for c in reader.connections
                for t in topics
                if c.msgtype == _TYPES[t] and (c.topic == "/" + t or c.topic.endswith("/" + t))
            }
            connections = [c for c in reader.connections if c.id in names]
            for connection, _, raw in messages(reader, connections) if connections else ():
                yield names[connection.id], connection.msgtype, raw
    except Exception as error:
        raise SensorLogError(f"{bag}: is no bag that can be read: {error}") from error


def _stamp(message: Any) -> int:
    return int(message.header.stamp.sec) * _NS + int(message.header.stamp.nanosec)


def _imu(message: Any) -> ImuSample:
    a, w, q = message.linear_acceleration, message.angular_velocity, message.orientation
    known = message.orientation_covariance[0] >= 0.0
    yaw = math.atan2(2.0 * (q.w * q.z + q.x * q.y), 1.0 - 2.0 * (q.y * q.y + q.z * q.z))
    return ImuSample(
        _stamp(message),
        np.array([a.x, a.y, a.z]),
        np.array([w.x, w.y, w.z]),
        yaw if known else math.nan,
        math.sqrt(max(message.orientation_covariance[8], 0.0)) if known else math.nan,
    )


def _report(message: Any) -> VehicleReport | None:
    at = {name: i for i, name in enumerate(message.name)}
    if "drive" not in at or len(message.velocity) <= at["drive"]:
        return None
    steering = message.position[at["steering"]] if "steering" in at and len(message.position) > at["steering"] else 0.0
    return VehicleReport(_stamp(message), float(message.velocity[at["drive"]]), float(steering))


def _fix(message: Any) -> GnssFix:
    variance = np.asarray(message.position_covariance, np.float64)[[0, 4, 8]]
    return GnssFix(
        _stamp(message), message.latitude, message.longitude, message.altitude, np.sqrt(np.maximum(variance, 0.0)),
        message.status.status >= 0,
    )  # fmt: skip


def _records(message: Any) -> RecordArray:
    try:
        points = from_cloud(message)
        require(points.dtype, ("x", "y", "z"))
    except CloudError as error:
        raise SensorLogError(str(error)) from error
    return points


def _mounting(message: Any, known: FloatArray | None) -> FloatArray | None:
    for item in message.transforms:
        if item.header.frame_id.endswith("base_link") and "lidar" in item.child_frame_id:
            t, q = item.transform.translation, item.transform.rotation
            out = np.eye(4)
            out[:3, :3] = rotation(q.x, q.y, q.z, q.w)
            out[:3, 3] = t.x, t.y, t.z
            return out
    return known

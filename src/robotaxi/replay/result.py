"""What a replay saw: figures and bird's-eye pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from robotaxi.bags.picture import draw_objects
from robotaxi.bags.writer import header_stamp_ns
from robotaxi.geometry.se3 import apply
from robotaxi.pointcloud2 import from_cloud
from robotaxi.sensor_rig import load_rig
from robotaxi.types import OBJECT_DTYPE, ObjectClass, Pose2, VehicleParams

_TYPES = get_typestore(Stores.ROS2_KILTED)


def messages(bag: Path, topic: str) -> Iterator[tuple[int, Any]]:
    """(stamp_ns, message) of one topic, whatever namespace it is under."""
    with Reader(bag) as reader:
        connections = [c for c in reader.connections if c.topic == "/" + topic or c.topic.endswith("/" + topic)]
        for connection, _, raw in reader.messages(connections) if connections else ():
            yield header_stamp_ns(raw), _TYPES.deserialize_cdr(raw, connection.msgtype)


def summarise(source: Path, out: Path) -> dict[str, Any]:
    """Sweeps in, objects out, and the perception node's milliseconds."""
    sweeps = sum(1 for _ in messages(source, "sensing/lidar/top/pointcloud"))
    objects = [from_cloud(message) for _, message in messages(out, "perception/objects")]
    samples = [
        float(part)
        for _, message in messages(out, "diagnostics")
        if message.status[0].name == "lidar_perception"
        for pair in message.status[0].values
        if pair.key == "latency_ms"
        for part in pair.value.split(",")
        if part
    ]
    labels = np.concatenate([item["label"] for item in objects]) if objects else np.zeros(0, np.uint8)
    counts = [len(item) for item in objects]
    return {
        "sweeps": sweeps,
        "answered": len(objects),
        "objects_mean": float(np.mean(counts)) if counts else 0.0,
        "objects_max": max(counts, default=0),
        "objects_by_class": {kind.name.lower(): int(np.sum(labels == kind)) for kind in ObjectClass},
        "lidar_ms_p50": float(np.percentile(samples, 50)) if samples else None,
        "lidar_ms_p99": float(np.percentile(samples, 99)) if samples else None,
    }


def draw(source: Path, out: Path, sensors: str, vehicle: VehicleParams, folder: Path, count: int) -> list[Path]:
    """``count`` pictures, evenly spread over the bag, of points with the objects that were found in them."""
    T_base_lidar = load_rig(sensors).T_base_lidar
    objects = {stamp: from_cloud(message, OBJECT_DTYPE) for stamp, message in messages(out, "perception/objects")}
    poses = {
        stamp: Pose2(
            m.pose.pose.position.x,
            m.pose.pose.position.y,
            2.0 * float(np.arctan2(m.pose.pose.orientation.z, m.pose.pose.orientation.w)),
        )
        for stamp, m in messages(out, "localization/kinematic_state")
    }
    stamps = sorted(objects)
    wanted = (
        {stamps[int(i)] for i in np.linspace(len(stamps) // (count + 1), len(stamps) - 1, count)} if stamps else set()
    )
    box = (vehicle.front, vehicle.rear_overhang, vehicle.width)
    paths = []
    for stamp, message in messages(source, "sensing/lidar/top/pointcloud"):
        if stamp not in wanted:
            continue
        cloud = from_cloud(message)
        points = apply(T_base_lidar, np.column_stack([cloud["x"], cloud["y"], cloud["z"]]).astype(float))
        title = f"{source.parent.name if source.name == 'bag' else source.name}  t={stamp / 1e9:.1f} s"
        image = draw_objects(points, objects[stamp], poses.get(stamp), box, title)
        path = folder / f"objects_{stamp // 1_000_000:06d}ms.png"
        cv2.imwrite(str(path), image)
        paths.append(path)
    return paths

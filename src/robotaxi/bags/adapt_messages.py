"""Messages of others as messages of this stack, in rosbags' types."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from transforms3d.quaternions import quat2mat

from robotaxi.pointcloud2 import POINT_DTYPE, from_cloud, to_cloud
from robotaxi.types import CameraModel, FloatArray

_NS = 1_000_000_000
_INTENSITY = ("intensity", "intensities", "i", "reflectivity", "remission")


class ConversionError(ValueError):
    """A message that cannot be turned into one of the stack's."""


def header(types: Any, stamp_ns: int, frame: str) -> Any:
    sec, nanosec = divmod(stamp_ns, _NS)
    stamp = types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame)


def matrix(transform: Any) -> FloatArray:
    """4x4 of a geometry_msgs/Transform or Pose."""
    place = transform.translation if hasattr(transform, "translation") else transform.position
    turn = transform.rotation if hasattr(transform, "rotation") else transform.orientation
    T = np.eye(4)
    T[:3, :3] = quat2mat([turn.w, turn.x, turn.y, turn.z])
    T[:3, 3] = place.x, place.y, place.z
    return T


def sweep(types: Any, message: Any, T: FloatArray, stamp_ns: int, frame: str) -> Any:
    """A PointCloud2 or LaserScan as a sweep in the rig's frame; points that are not finite are dropped."""
    if hasattr(message, "ranges"):
        xyz, intensity = _scan(message)
    else:
        xyz, intensity = _points(message)
    keep = np.isfinite(xyz).all(axis=1)
    xyz = xyz[keep] @ T[:3, :3].T + T[:3, 3]
    points = np.zeros(len(xyz), POINT_DTYPE)
    points["x"], points["y"], points["z"] = xyz.T
    points["intensity"] = np.nan_to_num(intensity[keep])
    return to_cloud(types, header(types, stamp_ns, frame), points)


def _points(message: Any) -> tuple[FloatArray, FloatArray]:
    try:
        records = from_cloud(message)
    except (ValueError, AttributeError) as error:
        raise ConversionError(f"its clouds cannot be read: {error}") from error
    names = records.dtype.names or ()
    if not {"x", "y", "z"} <= set(names):
        raise ConversionError(f"its clouds lack x, y or z; fields: {', '.join(names) or 'none'}")
    xyz = np.column_stack([records[k].astype(np.float64) for k in "xyz"])
    strength = next((records[n].astype(np.float64) for n in _INTENSITY if n in names), np.zeros(len(records)))
    if len(strength) and np.nanmax(strength) > 1.0:
        strength = strength / 255.0
    return xyz, strength


def _scan(message: Any) -> tuple[FloatArray, FloatArray]:
    ranges = np.asarray(message.ranges, np.float64)
    angles = message.angle_min + np.arange(len(ranges)) * message.angle_increment
    ranges = np.where((ranges >= message.range_min) & (ranges <= message.range_max), ranges, np.nan)
    return np.column_stack([ranges * np.cos(angles), ranges * np.sin(angles), 0.0 * ranges]), np.zeros(len(ranges))


def image(types: Any, message: Any, stamp_ns: int, frame: str) -> Any:
    """An Image or CompressedImage as bgr8."""
    if hasattr(message, "format"):
        pixels = cv2.imdecode(np.frombuffer(bytes(message.data), np.uint8), cv2.IMREAD_COLOR)
        if pixels is None:
            raise ConversionError(f"an image of format '{message.format}' cannot be decoded")
    else:
        pixels = _pixels(message)
    return bgr_image(types, pixels, stamp_ns, frame)


def bgr_image(types: Any, pixels: Any, stamp_ns: int, frame: str) -> Any:
    """(H, W, 3) uint8 BGR as an Image."""
    height, width = pixels.shape[:2]
    return types["sensor_msgs/msg/Image"](
        header=header(types, stamp_ns, frame), height=height, width=width, encoding="bgr8", is_bigendian=0,
        step=3 * width, data=np.ascontiguousarray(pixels).reshape(-1),
    )  # fmt: skip


def camera_info(types: Any, camera: CameraModel, stamp_ns: int, frame: str) -> Any:
    """Of a pinhole without distortion."""
    K = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    P = [camera.fx, 0.0, camera.cx, 0.0, 0.0, camera.fy, camera.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    nowhere = {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0, "do_rectify": False}
    return types["sensor_msgs/msg/CameraInfo"](
        header=header(types, stamp_ns, frame), height=camera.height, width=camera.width,
        distortion_model="plumb_bob", d=np.zeros(5), k=np.array(K), r=np.eye(3).reshape(-1), p=np.array(P),
        binning_x=0, binning_y=0, roi=types["sensor_msgs/msg/RegionOfInterest"](**nowhere),
    )  # fmt: skip


def _pixels(message: Any) -> Any:
    channels = {"bgr8": 3, "rgb8": 3, "bgra8": 4, "rgba8": 4, "mono8": 1}.get(message.encoding)
    if channels is None:
        raise ConversionError(f"images are {message.encoding}; known are bgr8, rgb8, bgra8, rgba8, mono8")
    data = np.frombuffer(bytes(message.data), np.uint8)
    if len(data) < message.height * message.step or message.step < message.width * channels:
        raise ConversionError("an image has fewer bytes than its size says")
    rows = data[: message.height * message.step].reshape(message.height, message.step)
    pixels = rows[:, : message.width * channels].reshape(message.height, message.width, channels)
    code = {"rgb8": cv2.COLOR_RGB2BGR, "bgra8": cv2.COLOR_BGRA2BGR, "rgba8": cv2.COLOR_RGBA2BGR,
            "mono8": cv2.COLOR_GRAY2BGR}.get(message.encoding)  # fmt: skip
    return pixels if code is None else cv2.cvtColor(pixels, code)


def restamped(types: Any, message: Any, stamp_ns: int, frame: str) -> Any:
    message.header = header(types, stamp_ns, frame)
    return message


def imu_row(message: Any, R_base_imu: FloatArray) -> tuple[float, ...]:
    """ax ay az wx wy wz in base_link, orientation, and whether it is known."""
    a, w, q = message.linear_acceleration, message.angular_velocity, message.orientation
    acceleration = R_base_imu @ np.array([a.x, a.y, a.z])
    rate = R_base_imu @ np.array([w.x, w.y, w.z])
    known = float(message.orientation_covariance[0] >= 0.0 and abs(q.w) + abs(q.z) > 0.0)
    return (*acceleration, *rate, q.x, q.y, q.z, q.w, known)


def imu(types: Any, row: list[float], stamp_ns: int) -> Any:
    vector = types["geometry_msgs/msg/Vector3"]
    covariance = np.zeros(9)
    covariance[0 if not row[10] else 8] = -1.0 if not row[10] else math.radians(0.5) ** 2
    return types["sensor_msgs/msg/Imu"](
        header=header(types, stamp_ns, "base_link"),
        orientation=types["geometry_msgs/msg/Quaternion"](x=row[6], y=row[7], z=row[8], w=row[9]),
        orientation_covariance=covariance,
        angular_velocity=vector(x=row[3], y=row[4], z=row[5]), angular_velocity_covariance=np.zeros(9),
        linear_acceleration=vector(x=row[0], y=row[1], z=row[2]), linear_acceleration_covariance=np.zeros(9),
    )  # fmt: skip


def pose_rows(message: Any, spec: Any, own_ns: int) -> list[tuple[int, tuple[float, ...]]]:
    """(stamp, (x, y, z, yaw)) of an Odometry, a PoseStamped or the wanted transform of a TFMessage."""
    if hasattr(message, "transforms"):
        rows = []
        for item in message.transforms:
            names = item.header.frame_id.lstrip("/"), item.child_frame_id.lstrip("/")
            if names == (spec.tf_parent, spec.tf_child):
                stamp = item.header.stamp.sec * _NS + item.header.stamp.nanosec
                rows.append((stamp, _planar(item.transform.translation, item.transform.rotation)))
        return rows
    pose = getattr(message, "pose", None)
    pose = getattr(pose, "pose", pose)
    if pose is None or not hasattr(pose, "orientation"):
        raise ConversionError("holds no pose; known are Odometry, PoseStamped and tf")
    row = _planar(pose.position, pose.orientation)
    return [(own_ns, row)] if all(map(math.isfinite, row)) else []


def _planar(place: Any, q: Any) -> tuple[float, ...]:
    yaw = math.atan2(2.0 * (q.w * q.z + q.x * q.y), 1.0 - 2.0 * (q.y * q.y + q.z * q.z))
    return place.x, place.y, place.z, yaw


def state(types: Any, row: list[float], stamp_ns: int) -> Any:
    """Odometry of x y z yaw speed yaw_rate."""
    x, y, z, yaw, speed, yaw_rate = row
    vector = types["geometry_msgs/msg/Vector3"]
    pose = types["geometry_msgs/msg/Pose"](
        position=types["geometry_msgs/msg/Point"](x=x, y=y, z=z),
        orientation=types["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=math.sin(yaw / 2), w=math.cos(yaw / 2)),
    )
    twist = types["geometry_msgs/msg/Twist"](
        linear=vector(x=speed, y=0.0, z=0.0), angular=vector(x=0.0, y=0.0, z=yaw_rate)
    )
    return types["nav_msgs/msg/Odometry"](
        header=header(types, stamp_ns, "map"), child_frame_id="base_link",
        pose=types["geometry_msgs/msg/PoseWithCovariance"](pose=pose, covariance=np.zeros(36)),
        twist=types["geometry_msgs/msg/TwistWithCovariance"](twist=twist, covariance=np.zeros(36)),
    )  # fmt: skip


def status(types: Any, row: list[float], stamp_ns: int) -> Any:
    """vehicle/status with the speed; the tyre angle is not known and set to 0."""
    return types["sensor_msgs/msg/JointState"](
        header=header(types, stamp_ns, "base_link"), name=["steering", "drive"], position=np.zeros(2),
        velocity=np.array([0.0, row[4]]), effort=np.zeros(2),
    )  # fmt: skip

"""Between messages and the nouns of `robotaxi.types`. One pair of functions a noun.

Messages are rclpy's or rosbags' (see `cdr`): the same fields, but sequences of numbers are arrays of one or
the other kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import CameraInfo, Imu, JointState, NavSatFix, NavSatStatus

from robotaxi.geometry.se3 import quaternion, rotation
from robotaxi.localization.map_match import UNKNOWN_VARIANCE as _UNKNOWN_VARIANCE
from robotaxi.localization.map_match import PoseFix
from robotaxi.localization.odometry_fix import FRAME
from robotaxi.localization.relocalizer import RoughPose
from robotaxi.nodes.records import TYPES, from_record, header, to_cloud, to_ns, to_record, to_time
from robotaxi.pointcloud2 import from_cloud
from robotaxi.types import (
    CAMERA_OBJECT_DTYPE,
    LIGHT_DTYPE,
    MINIMAL_RISK,
    OBJECT_DTYPE,
    TRAJECTORY_DTYPE,
    CameraModel,
    CameraObjects,
    CameraView,
    Cause,
    Command,
    EgoState,
    Explanation,
    GnssFix,
    Goal,
    Health,
    ImuSample,
    MissionState,
    MissionStatus,
    Permit,
    RecordArray,
    Request,
    Sight,
    SystemMode,
    Trajectory,
    TripEvent,
    TripState,
    VehicleReport,
)

_VEHICLE_JOINTS = ["steering", "drive", "door", "seat", "belt", "battery"]
_COMMAND_JOINTS = ["steering", "drive"]
_REVERSING_JOINTS = [*_COMMAND_JOINTS, "gear"]  # its position is -1; without it the gear is forward
_JOINT_TRAJECTORY, _JOINT_POINT, _DURATION = (
    TYPES.types[kind]
    for kind in (
        "trajectory_msgs/msg/JointTrajectory",
        "trajectory_msgs/msg/JointTrajectoryPoint",
        "builtin_interfaces/msg/Duration",
    )
)
_XY_YAW = (0, 1, 5)  # rows of x, y, yaw in a ROS 6x6 covariance
_PLANAR = np.array([[6 * row + column for column in _XY_YAW] for row in _XY_YAW])  # those and their columns


def _quaternion_of_yaw(yaw: float) -> tuple[float, float]:
    return math.sin(yaw / 2.0), math.cos(yaw / 2.0)


def _yaw_of(orientation: Any) -> float:
    return _yaw_of_turn(orientation.x, orientation.y, orientation.z, orientation.w)


def _yaw_of_turn(x: float, y: float, z: float, w: float) -> float:
    return math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


# ---------------------------------------------------------------------------- state


def odometry(state: EgoState | None, stamp_ns: int) -> Any:
    """Odometry of base_link in map. None (not known yet) becomes a negative covariance[0], as in sensor_msgs."""
    covariance = np.zeros((6, 6))
    x = y = z = speed = yaw_rate = 0.0
    turn = (0.0, 1.0)
    if state is None:
        covariance[0, 0] = -1.0
    else:
        x, y, z, turn = float(state.x), float(state.y), float(state.z), _quaternion_of_yaw(state.yaw)
        speed, yaw_rate = float(state.speed), float(state.yaw_rate)
        covariance[np.ix_(_XY_YAW, _XY_YAW)] = state.covariance
    orientation = _geometry("Quaternion")(x=0.0, y=0.0, z=turn[0], w=turn[1])
    pose = _geometry("Pose")(position=_geometry("Point")(x=x, y=y, z=z), orientation=orientation)
    vector = _geometry("Vector3")
    twist = _geometry("Twist")(linear=vector(x=speed, y=0.0, z=0.0), angular=vector(x=0.0, y=0.0, z=yaw_rate))
    return TYPES.types["nav_msgs/msg/Odometry"](
        header=header(stamp_ns, "map"),
        child_frame_id="base_link",
        pose=_geometry("PoseWithCovariance")(pose=pose, covariance=covariance.ravel()),
        twist=_geometry("TwistWithCovariance")(twist=twist, covariance=np.zeros(36)),
    )


def scan_match(fix: PoseFix) -> Any:
    """Pose and covariance of a scan match; directions that it leaves open get `_UNKNOWN_VARIANCE`."""
    covariance = np.zeros((6, 6))
    x, y, z, w = quaternion(fix.T_map_base)
    if not fix.accepted:
        covariance[0, 0] = -1.0
    else:
        information = np.eye(6) / _UNKNOWN_VARIANCE
        information += (fix.directions.T / fix.sigmas**2) @ fix.directions
        covariance[:] = np.linalg.inv(information)
    position = _geometry("Point")(**dict(zip("xyz", map(float, fix.T_map_base[:3, 3]), strict=True)))
    pose = _geometry("Pose")(position=position, orientation=_geometry("Quaternion")(x=x, y=y, z=z, w=w))
    return _geometry("PoseWithCovarianceStamped")(
        header=header(fix.stamp_ns, fix.frame),
        pose=_geometry("PoseWithCovariance")(pose=pose, covariance=covariance.ravel()),
    )


def pose_fix(message: Any) -> PoseFix | None:
    """Inverse of `scan_match`; None for another frame or what is no pose."""
    frame = message.header.frame_id
    if frame != "map" and not frame.startswith(FRAME):
        return None
    p, q = message.pose.pose.position, message.pose.pose.orientation
    norm = math.sqrt(q.x**2 + q.y**2 + q.z**2 + q.w**2)
    covariance = np.asarray(message.pose.covariance, float).reshape(6, 6)
    if not math.isfinite(norm) or abs(norm - 1.0) > 1e-3 or not np.isfinite([p.x, p.y, p.z, *covariance.ravel()]).all():
        return None
    T = np.eye(4)
    T[:3, :3] = rotation(q.x / norm, q.y / norm, q.z / norm, q.w / norm)
    T[:3, 3] = p.x, p.y, p.z
    accepted = bool(covariance[0, 0] >= 0.0)
    return PoseFix.from_covariance(to_ns(message.header.stamp), T, covariance, accepted, frame)


def rough_pose(message: Any) -> RoughPose | None:
    """A pose given by hand, as RViz sends it; None for another frame or what is no pose."""
    fix = pose_fix(message) if message.header.frame_id == "map" else None
    covariance = np.asarray(message.pose.covariance, float).reshape(6, 6)
    if fix is None or min(covariance[0, 0], covariance[1, 1], covariance[5, 5]) < 0.0:
        return None
    T = fix.T_map_base
    sigma = math.sqrt(max(covariance[0, 0], covariance[1, 1]))
    yaw = math.atan2(T[1, 0], T[0, 0])
    return RoughPose(fix.stamp_ns, float(T[0, 3]), float(T[1, 3]), yaw, sigma, math.sqrt(covariance[5, 5]))


def _geometry(name: str) -> Any:
    return TYPES.types[f"geometry_msgs/msg/{name}"]


def ego_state(message: Any) -> EgoState | None:
    """Inverse of `odometry`; None while the pose is unknown or not finite.

    Odometry has no place for acceleration and tyre angle: `with_report` adds them.
    """
    pose, twist = message.pose.pose, message.twist.twist
    place, q = pose.position, pose.orientation
    return state_of(
        to_ns(message.header.stamp), place.x, place.y, place.z, (q.x, q.y, q.z, q.w),
        np.asarray(message.pose.covariance, float), twist.linear.x, twist.angular.z,
    )  # fmt: skip


def state_of(
    stamp_ns: int, x: float, y: float, z: float, turn: Sequence[float], covariance: np.ndarray, speed: float,
    yaw_rate: float,
) -> EgoState | None:  # fmt: skip
    """`ego_state` from an odometry's numbers: orientation ``turn`` (x, y, z, w), ``covariance`` (36,) of the pose."""
    yaw = _yaw_of_turn(*turn)
    if covariance[0] < 0.0 or not all(map(math.isfinite, (x, y, yaw, speed))):
        return None
    return EgoState(stamp_ns, x, y, yaw, speed, yaw_rate=yaw_rate, z=z, covariance=covariance[_PLANAR])


def with_report(state: EgoState | None, report: VehicleReport | None) -> EgoState | None:
    """The state with the acceleration and tyre angle that the vehicle reports."""
    if state is None or report is None:
        return state
    return EgoState(
        state.stamp_ns, state.x, state.y, state.yaw, state.speed, report.acceleration, state.yaw_rate, report.steering,
        state.z, state.covariance,
    )  # fmt: skip


# ---------------------------------------------------------------------------- sensors


def imu(sample: ImuSample) -> Imu:
    message = Imu()
    message.header.stamp = to_time(sample.stamp_ns)
    message.header.frame_id = "base_link"
    a, w = message.linear_acceleration, message.angular_velocity
    a.x, a.y, a.z = (float(v) for v in sample.acceleration)
    w.x, w.y, w.z = (float(v) for v in sample.angular_rate)
    if math.isfinite(sample.heading):
        message.orientation.z, message.orientation.w = _quaternion_of_yaw(sample.heading)
        message.orientation_covariance = [0.0] * 8 + [sample.heading_sigma**2]
    else:
        message.orientation_covariance = [-1.0] + [0.0] * 8
    return message


def imu_sample(message: Imu) -> ImuSample:
    a, w = message.linear_acceleration, message.angular_velocity
    known = message.orientation_covariance[0] >= 0.0
    return ImuSample(
        to_ns(message.header.stamp),
        np.array([a.x, a.y, a.z]),
        np.array([w.x, w.y, w.z]),
        _yaw_of(message.orientation) if known else math.nan,
        math.sqrt(max(message.orientation_covariance[8], 0.0)) if known else math.nan,
    )


def nav_sat_fix(fix: GnssFix) -> NavSatFix:
    message = NavSatFix()
    message.header.stamp = to_time(fix.stamp_ns)
    message.header.frame_id = "gnss"
    message.status.status = NavSatStatus.STATUS_GBAS_FIX if fix.valid else NavSatStatus.STATUS_NO_FIX
    message.latitude, message.longitude, message.altitude = fix.latitude_deg, fix.longitude_deg, fix.altitude
    message.position_covariance = np.diag(np.asarray(fix.sigma, float) ** 2).ravel()
    message.position_covariance_type = NavSatFix.COVARIANCE_TYPE_DIAGONAL_KNOWN
    return message


def gnss_fix(message: NavSatFix) -> GnssFix:
    variance = np.asarray(message.position_covariance, float)[[0, 4, 8]]
    return GnssFix(
        to_ns(message.header.stamp),
        message.latitude,
        message.longitude,
        message.altitude,
        np.sqrt(np.maximum(variance, 0.0)),
        message.status.status >= 0,
    )


def joint_state(report: VehicleReport) -> JointState:
    message = JointState()
    message.header.stamp = to_time(report.stamp_ns)
    message.header.frame_id = "base_link"
    message.name = _VEHICLE_JOINTS
    cabin = [float(report.door_open), float(report.seat_occupied), float(report.belt_fastened)]
    message.position = [report.steering, 0.0, *cabin, float(report.energy)]
    message.velocity = [0.0, report.speed, 0.0, 0.0, 0.0, 0.0]
    message.effort = [0.0, report.acceleration, 0.0, 0.0, 0.0, 0.0]
    return message


def vehicle_report(message: JointState) -> VehicleReport | None:
    """None when a joint is missing or a value is not finite."""
    effort = message.effort
    return report_of(to_ns(message.header.stamp), message.name, message.position, message.velocity, effort)


def report_of(
    stamp_ns: int, names: Sequence[str], position: Sequence[float], velocity: Sequence[float], effort: Sequence[float]
) -> VehicleReport | None:
    """`vehicle_report` from the columns of a joint state."""
    at = {name: i for i, name in enumerate(names)}
    if "steering" not in at or "drive" not in at or min(len(position), len(velocity)) < len(at):
        return None
    drive = at["drive"]
    speed, steering = float(velocity[drive]), float(position[at["steering"]])
    acceleration = float(effort[drive]) if len(effort) > drive else 0.0
    if not (math.isfinite(speed) and math.isfinite(steering) and math.isfinite(acceleration)):
        return None
    door, seat, belt = (name in at and bool(position[at[name]] > 0.5) for name in ("door", "seat", "belt"))
    energy = float(position[at["battery"]]) if "battery" in at else -1.0
    return VehicleReport(
        stamp_ns, speed, steering, acceleration, door, seat, belt, energy if 0.0 <= energy <= 1.0 else -1.0
    )


def image(pixels: np.ndarray, stamp_ns: int, frame: str) -> Any:
    """(H, W, 3) uint8 BGR."""
    height, width = pixels.shape[:2]
    return TYPES.types["sensor_msgs/msg/Image"](
        header=header(stamp_ns, frame),
        height=height,
        width=width,
        encoding="bgr8",
        is_bigendian=0,
        step=3 * width,
        data=np.ascontiguousarray(pixels).reshape(-1),
    )


def mask(pixels: np.ndarray, stamp_ns: int, frame: str) -> Any:
    """(H, W) uint8."""
    height, width = pixels.shape
    return TYPES.types["sensor_msgs/msg/Image"](
        header=header(stamp_ns, frame),
        height=height,
        width=width,
        encoding="mono8",
        is_bigendian=0,
        step=width,
        data=np.ascontiguousarray(pixels).reshape(-1),
    )


def pixels(message: Any) -> np.ndarray | None:
    """(H, W, 3) uint8 BGR, read only; None for another encoding or a half image."""
    height, width = message.height, message.width
    if message.encoding not in ("bgr8", "rgb8") or message.step < width * 3:
        return None
    if height * width == 0 or len(message.data) < height * message.step:
        return None
    rows = np.frombuffer(message.data, np.uint8, height * message.step).reshape(height, message.step)
    bgr = rows[:, : width * 3].reshape(height, width, 3)
    return bgr if message.encoding == "bgr8" else bgr[:, :, ::-1]


def camera_info(camera: CameraModel, stamp_ns: int, frame: str) -> CameraInfo:
    message = CameraInfo()
    message.header.stamp = to_time(stamp_ns)
    message.header.frame_id = frame
    message.width, message.height = camera.width, camera.height
    message.distortion_model, message.d = "plumb_bob", [0.0] * 5
    message.k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [camera.fx, 0.0, camera.cx, 0.0, 0.0, camera.fy, camera.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


# ---------------------------------------------------------------------------- planning and control


def trajectory_cloud(trajectory: Trajectory | None, stamp_ns: int) -> Any:
    points = np.zeros(0, TRAJECTORY_DTYPE) if trajectory is None else trajectory.points
    return to_cloud(points, stamp_ns, "map")


def trajectory(message: Any) -> Trajectory | None:
    """None for an empty one."""
    points = from_cloud(message, TRAJECTORY_DTYPE)
    return Trajectory(to_ns(message.header.stamp), points) if len(points) else None


def joint_trajectory(command: Command) -> Any:
    """Of rosbags' types: rmw_serialize gives such a message a byte too many, which strict readers refuse."""
    names, gear = (_REVERSING_JOINTS, [-1.0]) if command.reverse else (_COMMAND_JOINTS, [])
    rest = [0.0] * len(gear)
    point = _JOINT_POINT(
        positions=np.array([command.steering, 0.0, *gear], np.float64),
        velocities=np.array([0.0, command.speed, *rest], np.float64),
        accelerations=np.array([0.0, command.acceleration, *rest], np.float64),
        effort=np.zeros(0),
        time_from_start=_DURATION(sec=0, nanosec=0),
    )
    return _JOINT_TRAJECTORY(header=header(command.stamp_ns, "base_link"), joint_names=list(names), points=[point])


def command(message: Any) -> Command | None:
    """None when joints or a point are missing; values are passed on as they are, finite or not."""
    names = list(message.joint_names)
    if names not in (_COMMAND_JOINTS, _REVERSING_JOINTS) or not message.points:
        return None
    point = message.points[0]
    if min(len(point.positions), len(point.velocities), len(point.accelerations)) < len(names):
        return None
    values = (float(point.positions[0]), float(point.accelerations[1]), float(point.velocities[1]))
    reverse = names == _REVERSING_JOINTS and bool(point.positions[2] < 0.0)
    return Command(to_ns(message.header.stamp), *values, reverse)


# ---------------------------------------------------------------------------- single records


def explanation_record(item: Explanation, stamp_ns: int) -> DiagnosticArray:
    values = {
        "cause": item.cause.name,
        "slowing": int(item.slowing),
        "subject_id": item.subject_id,
        "distance": float(item.distance),
    }
    return to_record("explanation", item.sentence, values, stamp_ns, frame="map")


def explanation(message: DiagnosticArray) -> Explanation:
    sentence, values = from_record(message)
    return Explanation(
        Cause[values["cause"]],
        sentence,
        values["slowing"] == "1",
        int(values["subject_id"]),
        float(values["distance"]),
    )


def mission_record(item: MissionStatus, stamp_ns: int) -> DiagnosticArray:
    values: dict[str, str | int | float] = {
        "state": item.state.name,
        "goal_id": item.goal_id,
        "distance_to_go": float(item.distance_to_go),
        "time_to_go": float(item.time_to_go),
    }
    if item.blocked_by:
        values |= {"blocked_by": item.blocked_by, "ways_out": ",".join(item.ways_out)}
    return to_record("mission", item.reason, values, stamp_ns, frame="map")


def mission_status(message: DiagnosticArray) -> MissionStatus:
    reason, values = from_record(message)
    return MissionStatus(
        MissionState[values["state"]],
        values["goal_id"],
        float(values["distance_to_go"]),
        reason,
        float(values.get("time_to_go", "-1")),
        values.get("blocked_by", ""),
        tuple(way for way in values.get("ways_out", "").split(",") if way),
    )


def goal_record(item: Goal | None, stamp_ns: int) -> DiagnosticArray:
    if item is None:
        return to_record("goal", "no goal", {}, stamp_ns, frame="map")
    values = {
        "goal_id": item.goal_id,
        "x": float(item.x),
        "y": float(item.y),
        "yaw": float(item.yaw),
        "hold": int(item.hold),
    }
    if item.avoid:
        values["avoid"] = ";".join(",".join(repr(float(number)) for number in circle) for circle in item.avoid)
    if item.permission_id:
        values |= {"permission": item.permission, "permission_id": item.permission_id}
    return to_record("goal", f"goal {item.goal_id}", values, stamp_ns, frame="map")


def goal(message: DiagnosticArray) -> Goal | None:
    _, values = from_record(message)
    if not values:
        return None
    x, y, yaw = (float(values[name]) for name in ("x", "y", "yaw"))
    circles = [part.split(",") for part in values.get("avoid", "").split(";") if part]
    avoid = tuple((float(part[0]), float(part[1]), float(part[2])) for part in circles)
    permission, permission_id = values.get("permission", ""), values.get("permission_id", "")
    return Goal(values["goal_id"], x, y, yaw, values["hold"] == "1", avoid, permission, permission_id)


def doors_record(wanted: str, stamp_ns: int) -> DiagnosticArray:
    """``wanted``: "open" or "close"."""
    return to_record("doors", f"{wanted} the doors", {"wanted": wanted}, stamp_ns)


def doors(message: DiagnosticArray) -> tuple[int, str]:
    """(stamp, "open" or "close"): a vehicle obeys at standstill, and only what was asked for just now."""
    _, values = from_record(message)
    return to_ns(message.header.stamp), values["wanted"]


def rider_code_record(code: str, stamp_ns: int) -> DiagnosticArray:
    return to_record("rider_code", "shown at the door", {"code": code}, stamp_ns)


def rider_code(message: DiagnosticArray) -> str:
    """What the rider showed, "" for nothing yet."""
    _, values = from_record(message)
    return values["code"]


def mode_record(mode: SystemMode, reason: str, stamp_ns: int, source: str = "gate") -> DiagnosticArray:
    """``source``: whose command reached the actuators."""
    values = {"mode": mode.name, "source": source, "hazard_lights": int(mode in MINIMAL_RISK)}
    return to_record("mode", reason, values, stamp_ns)


def system_mode(message: DiagnosticArray) -> tuple[SystemMode, str]:
    reason, values = from_record(message)
    return SystemMode[values["mode"]], reason


def sight_record(item: Sight, stamp_ns: int) -> DiagnosticArray:
    values: dict[str, str | int | float] = {
        "points": item.points,
        "road_range": float(item.road_range),
        "blind_deg": ",".join(map(str, item.blind_deg)),
        "drops": item.drops,
    }
    return to_record("sight", item.reason, values, stamp_ns, b"\0" if item.clear else b"\1")


def sight(message: DiagnosticArray) -> Sight:
    reason, values = from_record(message)
    blind = tuple(int(part) for part in values["blind_deg"].split(",") if part)
    return Sight(int(values["points"]), float(values["road_range"]), blind, reason, int(values["drops"]))


def camera_view_record(item: CameraView, stamp_ns: int) -> DiagnosticArray:
    values: dict[str, str | int | float] = {
        "brightness": float(item.brightness), "road_range": float(item.road_range), "dirt": float(item.dirt)
    }  # fmt: skip
    return to_record("camera_view", item.reason, values, stamp_ns, b"\1" if item.reason else b"\0")


def camera_view(message: DiagnosticArray) -> CameraView:
    reason, values = from_record(message)
    return CameraView(float(values["brightness"]), reason, float(values.get("road_range", "-1")),
                      float(values.get("dirt", "0")))  # fmt: skip


def health_record(item: Health) -> DiagnosticArray:
    values = {
        "permit": item.permit.name,
        "part": item.part,
        "lost": "; ".join(item.lost),
        "speed_cap": float(item.speed_cap),
    }
    level = b"\0" if item.permit is Permit.DRIVE else b"\2"
    return to_record("health", item.sentence, values, item.stamp_ns, level)


def health(message: DiagnosticArray) -> Health:
    sentence, values = from_record(message)
    lost = tuple(name for name in values["lost"].split("; ") if name)
    stamp_ns = to_ns(message.header.stamp)
    return Health(stamp_ns, Permit[values["permit"]], values["part"], sentence, lost, float(values["speed_cap"]))


def request_record(request: Request, reason: str, stamp_ns: int) -> DiagnosticArray:
    return to_record("request", reason, {"request": request.name}, stamp_ns)


def request(message: DiagnosticArray) -> tuple[Request, str]:
    reason, values = from_record(message)
    return Request[values["request"]], reason


def trip_record(event: TripEvent) -> DiagnosticArray:
    return to_record("trip", event.reason, {"order_id": event.order_id, "state": event.state.name}, event.stamp_ns)


def trip_event(message: DiagnosticArray) -> TripEvent:
    reason, values = from_record(message)
    return TripEvent(to_ns(message.header.stamp), values["order_id"], TripState[values["state"]], reason)


# ---------------------------------------------------------------------------- decoders by topic


def _objects(message: Any) -> RecordArray:
    return from_cloud(message, OBJECT_DTYPE)


def _camera_objects(message: Any) -> CameraObjects:
    return CameraObjects(to_ns(message.header.stamp), from_cloud(message, CAMERA_OBJECT_DTYPE))


def _lights(message: Any) -> RecordArray:
    return from_cloud(message, LIGHT_DTYPE)


DECODERS: dict[str, Callable[[Any], Any]] = {
    "sensing/lidar/top/pointcloud": from_cloud,
    "sensing/camera/front/image_raw": pixels,
    "sensing/gnss/fix": gnss_fix,
    "sensing/imu/data": imu_sample,
    "vehicle/status": vehicle_report,
    "localization/kinematic_state": ego_state,
    "localization/scan_match": pose_fix,
    "initialpose": rough_pose,
    "perception/objects": _objects,
    "perception/sight": sight,
    "perception/camera_view": camera_view,
    "perception/camera_objects": _camera_objects,
    "perception/traffic_lights": _lights,
    "dispatch/goal": goal,
    "dispatch/trip": trip_event,
    "dispatch/doors": doors,
    "vehicle/rider_code": rider_code,
    "planning/trajectory": trajectory,
    "planning/explanation": explanation,
    "planning/mission": mission_status,
    "control/command_raw": command,
    "vehicle/command": command,
    "system/mode": system_mode,
    "system/health": health,
    "system/request": request,
    "control/manual_command": command,
}

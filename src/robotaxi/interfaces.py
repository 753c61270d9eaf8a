"""ONE table: every topic of the stack with its type, QoS, period, logical execution time and age.

Topic names are relative, as in Autoware, so that a namespace isolates each vehicle. Ground truth
is published under ``sim/`` and is not in this table's driving path: `TRUTH_PREFIX` names it, and a
test proves that no node of the stack subscribes to it.

**Logical execution time (LET).** A message stamped ``t`` counts for its consumers from ``t + let``
on, whenever it really arrived. A consumer that runs at its own time ``u`` uses the newest message
with ``stamp + let <= u``. Because periods and phases are known, every consumer knows exactly which
stamp that is, so results do not depend on scheduling. See docs/determinism.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

MS = 1_000_000
TICK_NS = 20 * MS  # the clock owner's step; every period and phase is a multiple of it
TRUTH_PREFIX = "sim/"


class Qos(Enum):
    SENSOR = "sensor"  # best effort on a car, keep last 5
    STATE = "state"  # reliable, keep last 50
    COMMAND = "command"  # reliable, depth 1 on a car
    LATCHED = "latched"  # reliable, transient local, keep last 1
    EVENT = "event"  # reliable, transient local, keep last 200


@dataclass(frozen=True, slots=True)
class Interface:
    """One topic.

    ``period_ns`` 0 means aperiodic. ``phase_ns``: the first stamp. ``let_ns``: see above.
    ``max_age_ns``: older than this, a consumer must treat it as lost.
    """

    topic: str
    type: str  # e.g. "sensor_msgs/msg/PointCloud2"
    qos: Qos
    frame: str = ""
    period_ns: int = 0
    phase_ns: int = 0
    let_ns: int = 0
    max_age_ns: int = 0
    doc: str = ""


_ALL = (
    # sensors and vehicle: counts at once
    Interface("sensing/lidar/top/pointcloud", "sensor_msgs/msg/PointCloud2", Qos.SENSOR, "lidar_top",
              100 * MS, 0, 0, 300 * MS, "lidar sweep; x y z intensity ring time"),
    Interface("sensing/camera/front/image_raw", "sensor_msgs/msg/Image", Qos.SENSOR, "camera_front_optical",
              200 * MS, 40 * MS, 0, 600 * MS, "bgr8"),
    Interface("sensing/camera/front/camera_info", "sensor_msgs/msg/CameraInfo", Qos.LATCHED,
              "camera_front_optical", doc="pinhole intrinsics"),
    Interface("sensing/gnss/fix", "sensor_msgs/msg/NavSatFix", Qos.SENSOR, "gnss",
              100 * MS, 0, 0, 2000 * MS, "WGS 84 position of the antenna"),
    Interface("sensing/imu/data", "sensor_msgs/msg/Imu", Qos.STATE, "base_link",
              20 * MS, 0, 0, 100 * MS, "specific force and angular rate"),
    Interface("vehicle/status", "sensor_msgs/msg/JointState", Qos.STATE, "base_link",
              20 * MS, 0, 0, 100 * MS, "joints: steering (rad), drive (m/s, effort = m/s^2), door, seat, belt"),
    # localization
    Interface("localization/kinematic_state", "nav_msgs/msg/Odometry", Qos.STATE, "map",
              20 * MS, 0, 0, 100 * MS, "pose of base_link in map, twist in base_link"),
    # perception
    Interface("perception/objects", "sensor_msgs/msg/PointCloud2", Qos.STATE, "map",
              100 * MS, 0, 60 * MS, 400 * MS, "tracked objects, types.OBJECT_DTYPE"),
    Interface("perception/obstacle_points", "sensor_msgs/msg/PointCloud2", Qos.STATE, "base_link",
              100 * MS, 0, 60 * MS, 400 * MS, "what stands on the road, types.OBSTACLE_DTYPE"),
    Interface("perception/traffic_lights", "sensor_msgs/msg/PointCloud2", Qos.STATE, "map",
              200 * MS, 40 * MS, 60 * MS, 800 * MS, "light states, types.LIGHT_DTYPE"),
    # dispatch
    Interface("dispatch/goal", "diagnostic_msgs/msg/DiagnosticArray", Qos.STATE, "map",
              100 * MS, 0, 40 * MS, 1000 * MS, "types.Goal: where to stop next, or to hold"),
    Interface("dispatch/trip", "diagnostic_msgs/msg/DiagnosticArray", Qos.EVENT,
              doc="one message a transition of the trip"),
    # planning
    Interface("planning/route", "sensor_msgs/msg/PointCloud2", Qos.LATCHED, "map", doc="lane ids in driving order"),
    Interface("planning/trajectory", "sensor_msgs/msg/PointCloud2", Qos.STATE, "map",
              100 * MS, 60 * MS, 40 * MS, 400 * MS, "types.TRAJECTORY_DTYPE"),
    Interface("planning/explanation", "diagnostic_msgs/msg/DiagnosticArray", Qos.STATE, "map",
              100 * MS, 60 * MS, 40 * MS, 400 * MS, "one cause, one sentence, its numbers"),
    Interface("planning/mission", "diagnostic_msgs/msg/DiagnosticArray", Qos.STATE, "map",
              100 * MS, 60 * MS, 40 * MS, 400 * MS, "mission state, distance to go"),
    # control and safety
    Interface("control/command_raw", "trajectory_msgs/msg/JointTrajectory", Qos.COMMAND, "base_link",
              20 * MS, 0, 0, 60 * MS, "joints steering (rad), drive (m/s, m/s^2)"),
    Interface("vehicle/command", "trajectory_msgs/msg/JointTrajectory", Qos.COMMAND, "base_link",
              20 * MS, 0, 20 * MS, 60 * MS, "what the actuators get, after the safety gate"),
    Interface("system/mode", "diagnostic_msgs/msg/DiagnosticArray", Qos.LATCHED, doc="SystemMode with its reason"),
    Interface("diagnostics", "diagnostic_msgs/msg/DiagnosticArray", Qos.STATE, doc="health of each node, 1 Hz"),
)

INTERFACES: dict[str, Interface] = {item.topic: item for item in _ALL}

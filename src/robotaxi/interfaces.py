"""ONE table: every topic of the stack with its ends, type, QoS, period, logical execution time and age.

Topic names are relative, as in Autoware, so that a namespace isolates each vehicle. Ground truth
is published under `TRUTH_PREFIX` and is read by nothing that drives: a test proves it.

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
VEHICLE = "vehicle_interface"  # whoever stands for the vehicle: simulator, CARLA bridge, bag player, drive-by-wire


class Qos(Enum):
    SENSOR = "sensor"  # best effort on a car, keep last 5
    STATE = "state"  # reliable, keep last 50
    COMMAND = "command"  # reliable, depth 1 on a car
    LATCHED = "latched"  # reliable, transient local, keep last 1
    EVENT = "event"  # reliable, transient local, keep last 200


@dataclass(frozen=True, slots=True)
class Interface:
    """One topic.

    ``period_ms`` 0 means aperiodic. ``phase_ms``: the first stamp. ``let_ms``: see above.
    ``max_age_ms``: older than this, a consumer must treat it as lost.
    """

    topic: str
    type: str
    qos: Qos
    producer: str
    consumers: tuple[str, ...] = ()
    frame: str = ""
    period_ms: int = 0
    phase_ms: int = 0
    let_ms: int = 0
    max_age_ms: int = 0
    doc: str = ""

    @property
    def period_ns(self) -> int:
        return self.period_ms * MS

    @property
    def phase_ns(self) -> int:
        return self.phase_ms * MS

    @property
    def let_ns(self) -> int:
        return self.let_ms * MS

    @property
    def max_age_ns(self) -> int:
        return self.max_age_ms * MS


_CLOUD = "sensor_msgs/msg/PointCloud2"
_RECORD = "diagnostic_msgs/msg/DiagnosticArray"
_JOINTS = "trajectory_msgs/msg/JointTrajectory"

# fmt: off
_ALL = (
    # ---- sensors and vehicle: small ones count at once
    Interface("sensing/lidar/top/pointcloud", _CLOUD, Qos.SENSOR, VEHICLE,
              ("map_matcher", "lidar_perception", "command_gate"),
              "lidar_top", 100, 0, 20, 300, "lidar sweep: x y z intensity ring time (s since the stamp)"),
    Interface("sensing/camera/front/image_raw", "sensor_msgs/msg/Image", Qos.SENSOR, VEHICLE, ("camera_perception",),
              "camera_front_optical", 200, 40, 0, 600, "bgr8"),
    Interface("sensing/camera/front/camera_info", "sensor_msgs/msg/CameraInfo", Qos.LATCHED, VEHICLE, (),
              "camera_front_optical", doc="pinhole intrinsics"),
    Interface("sensing/gnss/fix", "sensor_msgs/msg/NavSatFix", Qos.SENSOR, VEHICLE, ("localization", "health_monitor"),
              "gnss", 100, 0, 0, 2000, "WGS 84 position of the antenna"),
    Interface("sensing/imu/data", "sensor_msgs/msg/Imu", Qos.STATE, VEHICLE, ("localization", "health_monitor"),
              "base_link", 20, 0, 0, 100, "specific force, angular rate, heading"),
    Interface("vehicle/status", "sensor_msgs/msg/JointState", Qos.STATE, VEHICLE,
              ("localization", "planner", "controller", "command_gate", "dispatch_bridge", "health_monitor"),
              "base_link", 20, 0, 0, 100, "joints steering (rad), drive (m/s, effort m/s^2), door, seat, belt, charge"),
    # ---- localization
    Interface("localization/kinematic_state", "nav_msgs/msg/Odometry", Qos.STATE, "localization",
              ("map_matcher", "lidar_perception", "camera_perception", "planner", "controller", "command_gate",
               "dispatch_bridge", "health_monitor"),
              "map", 20, 0, 0, 100, "pose of base_link in map, twist in base_link; covariance[0] < 0: unknown"),
    Interface("localization/scan_match", "geometry_msgs/msg/PoseWithCovarianceStamped", Qos.STATE, "map_matcher",
              ("localization",), "map", 100, 0, 80, 500,
              "base_link in the localization map; covariance[0] < 0: none; a variance of 1e6 or more: not known"),
    Interface("initialpose", "geometry_msgs/msg/PoseWithCovarianceStamped", Qos.STATE, "",
              ("localization", "map_matcher"), "map", doc="where a person says the car is (RViz: 2D Pose Estimate)"),
    # ---- perception
    Interface("perception/objects", _CLOUD, Qos.STATE, "lidar_perception", ("planner", "health_monitor"),
              "map", 100, 0, 60, 400, "tracked objects, types.OBJECT_DTYPE"),
    Interface("perception/obstacle_points", _CLOUD, Qos.STATE, "lidar_perception", (),
              "base_link", 100, 0, 60, 400, "what stands on the road, types.OBSTACLE_DTYPE"),
    Interface("perception/occupancy_grid_map/map", "nav_msgs/msg/OccupancyGrid", Qos.STATE, "lidar_perception", (),
              "base_link", 100, 0, 60, 400, "what one sweep shows to be free (0), occupied (100) or neither (-1)"),
    Interface("perception/sight", _RECORD, Qos.STATE, "lidar_perception", ("health_monitor",),
              "base_link", 100, 0, 60, 400, "types.Sight: how far the lidar sees, and where it is blind"),
    Interface("perception/camera_view", _RECORD, Qos.STATE, "camera_perception", ("health_monitor",),
              "base_link", 200, 40, 60, 800, "types.CameraView: how bright the picture is, and what is wrong with it"),
    Interface("perception/camera_objects", _CLOUD, Qos.STATE, "camera_perception", ("lidar_perception",),
              "camera_front_optical", 200, 40, 60, 600, "what a picture shows, types.CAMERA_OBJECT_DTYPE"),
    Interface("perception/road_mask", "sensor_msgs/msg/Image", Qos.STATE, "camera_perception", (),
              "camera_front_optical", let_ms=60, doc="mono8, only with `street`: probability of road, 255 sure"),
    Interface("perception/traffic_lights", _CLOUD, Qos.STATE, "camera_perception", ("planner", "health_monitor"),
              "map", 200, 40, 60, 800, "light states, types.LIGHT_DTYPE"),
    # ---- dispatch
    Interface("dispatch/goal", _RECORD, Qos.STATE, "dispatch_bridge", ("planner", "health_monitor"),
              "map", 100, 0, 40, 1000, "types.Goal: where to stop next, or to hold"),
    Interface("dispatch/trip", _RECORD, Qos.EVENT, "dispatch_bridge", (VEHICLE,),
              doc="types.TripEvent: one message a transition"),
    Interface("dispatch/doors", _RECORD, Qos.EVENT, "dispatch_bridge", (VEHICLE,),
              doc="open or close the doors: asked for by the dispatcher, obeyed at standstill only"),
    Interface("vehicle/rider_code", _RECORD, Qos.EVENT, "", ("dispatch_bridge",),
              doc="what the rider showed at the door, empty until then; a vehicle that never says it cannot ask"),
    # ---- planning
    Interface("planning/route", _CLOUD, Qos.LATCHED, "planner", (), "map", doc="lane ids in driving order"),
    Interface("planning/trajectory", _CLOUD, Qos.STATE, "planner",
              ("controller", "command_gate", "health_monitor", "dispatch_bridge"),
              "map", 100, 60, 40, 400, "types.TRAJECTORY_DTYPE; empty: no trajectory"),
    Interface("planning/explanation", _RECORD, Qos.STATE, "planner", ("dispatch_bridge",),
              "map", 100, 60, 40, 1000, "types.Explanation: one cause, one sentence"),
    Interface("planning/mission", _RECORD, Qos.STATE, "planner", ("dispatch_bridge",),
              "map", 100, 60, 40, 1000, "types.MissionStatus"),
    # ---- control and safety
    Interface("control/command_raw", _JOINTS, Qos.COMMAND, "controller", ("command_gate", "health_monitor"),
              "base_link", 20, 0, 0, 60, "joints steering (rad), drive (m/s, m/s^2), in reverse also gear (-1)"),
    Interface("vehicle/command", _JOINTS, Qos.COMMAND, "command_gate", (VEHICLE,),
              "base_link", 20, 0, 20, 60, "what the actuators get, after the safety gate"),
    Interface("system/health", _RECORD, Qos.STATE, "health_monitor", ("command_gate", "dispatch_bridge"),
              "base_link", 100, 80, 40, 500, "types.Health: what works, what that permits, what to blame"),
    Interface("control/manual_command", _JOINTS, Qos.COMMAND, "", ("command_gate",),
              "base_link", doc="of a person in the car, while system/request asks for MANUAL"),
    Interface("system/request", _RECORD, Qos.EVENT, "", ("command_gate",),
              doc="types.Request: who shall drive, asked for by rider, safety driver or remote assistant"),
    Interface("system/mark", _RECORD, Qos.EVENT, "",
              doc="a person's mark: what is around it shall be kept; see `robotaxi mark`"),
    Interface("system/mode", _RECORD, Qos.STATE, "command_gate", ("planner", "dispatch_bridge", "health_monitor"),
              "base_link", 100, 0, 40, 1000, "types.SystemMode and its reason"),
    # ---- housekeeping: anybody's
    Interface("system/ready", _RECORD, Qos.EVENT, "", (), doc="each node once, when its ends are connected"),
    Interface("diagnostics", _RECORD, Qos.STATE, "", (), max_age_ms=3000, doc="health and latency of each node, 1 Hz"),
    # ---- ground truth, for scoring only
    Interface(TRUTH_PREFIX + "ego", "nav_msgs/msg/Odometry", Qos.STATE, VEHICLE, (),
              "map", 20, 0, 0, 0, "true state of base_link"),
    Interface(TRUTH_PREFIX + "agents", _CLOUD, Qos.STATE, VEHICLE, (),
              "map", 100, 0, 0, 0, "true road users, sim.view.AGENT_DTYPE"),
    Interface(TRUTH_PREFIX + "infraction", _RECORD, Qos.EVENT, VEHICLE, (), doc="one message an infraction"),
)
# fmt: on

INTERFACES: dict[str, Interface] = {item.topic: item for item in _ALL}

OPTIONAL = frozenset({"localization/scan_match", "initialpose", "perception/camera_objects"})
"""Topics that are missed by nobody: written only where a localization map or a camera is given, or by a person."""

TRIGGERS: dict[str, str] = {
    "localization": "sensing/imu/data",
    "map_matcher": "sensing/lidar/top/pointcloud",
    "lidar_perception": "sensing/lidar/top/pointcloud",
    "camera_perception": "sensing/camera/front/image_raw",
    "planner": "localization/kinematic_state",
    "controller": "localization/kinematic_state",
    "command_gate": "vehicle/status",
    "health_monitor": "vehicle/status",
    "dispatch_bridge": "vehicle/status",
}
"""Node -> the topic whose messages start its activations."""


def inputs_of(node: str) -> tuple[Interface, ...]:
    """The topics that the node named in the table reads."""
    return tuple(item for item in _ALL if node in item.consumers)


def outputs_of(node: str) -> tuple[Interface, ...]:
    """The topics that the node named in the table writes."""
    return tuple(item for item in _ALL if item.producer == node)

"""The nouns of the stack: frozen dataclasses and record layouts.

Conventions, everywhere in the project:

* SI units bare (metres, seconds, radians, m/s); anything else carries its suffix (``_ns``, ``_deg``).
* Frames follow REP-103 and REP-105: ``map`` is ENU (x east, y north, z up), ``base_link`` is the
  centre of the rear axle on the ground, x forward, y left. Yaw is counter-clockwise from x.
* ``stamp_ns`` is the measurement time of the sensor data a value came from, integer nanoseconds.
* Lists of records are numpy structured arrays with the ``*_DTYPE`` layouts below. They travel over
  ROS as ``sensor_msgs/PointCloud2`` whose fields are the fields named here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
RecordArray = NDArray[np.void]

_LONGEST_SWEEP = 0.2  # s
_SLOW = 0.01  # m/s, slower is standing


# ---------------------------------------------------------------------------- pose and ego state


@dataclass(frozen=True, slots=True)
class Pose2:
    """Planar pose in the frame its name or context states."""

    x: float
    y: float
    yaw: float


@dataclass(frozen=True, slots=True)
class EgoState:
    """State of ``base_link`` in ``map``.

    ``speed`` is the signed longitudinal speed of the rear axle; ``covariance`` is 3x3 over
    (x, y, yaw) in map axes.
    """

    stamp_ns: int
    x: float
    y: float
    yaw: float
    speed: float
    acceleration: float = 0.0
    yaw_rate: float = 0.0
    steering: float = 0.0
    z: float = 0.0
    covariance: FloatArray = field(default_factory=lambda: np.zeros((3, 3)))

    @property
    def pose(self) -> Pose2:
        return Pose2(self.x, self.y, self.yaw)


@dataclass(frozen=True, slots=True)
class VehicleParams:
    """Geometry, limits and actuation of one vehicle type (``config/vehicle/<name>.yaml``)."""

    name: str
    wheelbase: float
    length: float
    width: float
    height: float
    rear_overhang: float  # rear axle to rear bumper
    max_steering: float  # tyre angle, rad
    max_steering_rate: float  # rad/s
    max_acceleration: float
    max_deceleration: float  # positive
    steering_lag: float  # first-order time constant, s
    steering_delay: float  # dead time, s
    drive_lag: float
    drive_delay: float

    @property
    def front_overhang(self) -> float:
        """Front axle to front bumper."""
        return self.length - self.wheelbase - self.rear_overhang

    @property
    def front(self) -> float:
        """Rear axle to front bumper."""
        return self.length - self.rear_overhang

    @property
    def center_offset(self) -> float:
        """Rear axle to the centre of the body, along x."""
        return self.length / 2.0 - self.rear_overhang


# ---------------------------------------------------------------------------- sensor data


@dataclass(frozen=True, slots=True)
class LidarSweep:
    """One lidar sweep in the lidar's own frame.

    ``points``: structured array (N,) with at least float32 ``x, y, z`` and, where the sensor has
    them, ``intensity`` (float32, 0..1), ``ring`` (uint16), ``time`` (float32, s since ``stamp_ns``).
    ``T_base_lidar``: 4x4.
    """

    stamp_ns: int
    points: RecordArray
    T_base_lidar: FloatArray


def point_times(points: RecordArray) -> FloatArray | None:
    """(N,) s since the stamp of the sweep that ``points`` (N,) are of; None where they do not tell, or all are of the
    stamp itself. What cannot be a time within a sweep counts as its stamp."""
    if "time" not in (points.dtype.names or ()):
        return None
    times = points["time"].astype(np.float64).reshape(-1)
    times[~(np.abs(times) <= _LONGEST_SWEEP)] = 0.0
    return times if times.any() else None


@dataclass(frozen=True, slots=True)
class CameraModel:
    """Pinhole camera. ``T_base_optical``: 4x4, optical frame (x right, y down, z forward) in base."""

    name: str
    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    T_base_optical: FloatArray


@dataclass(frozen=True, slots=True)
class ImuSample:
    """Specific force (m/s^2) and angular rate (rad/s) in ``base_link`` axes, each (3,).

    ``heading``: yaw in map from the unit's magnetometer or dual antenna, NaN where it has none;
    ``heading_sigma`` its standard deviation (rad).
    """

    stamp_ns: int
    acceleration: FloatArray
    angular_rate: FloatArray
    heading: float = float("nan")
    heading_sigma: float = float("nan")


@dataclass(frozen=True, slots=True)
class GnssFix:
    """WGS 84 position of the antenna; ``sigma`` (3,) standard deviations east, north, up in metres."""

    stamp_ns: int
    latitude_deg: float
    longitude_deg: float
    altitude: float
    sigma: FloatArray
    valid: bool = True


@dataclass(frozen=True, slots=True)
class VehicleReport:
    """What the vehicle reports back: wheel speed at the rear axle, tyre angle, cabin state.

    ``energy``: 0 to 1 of the battery or tank, negative where the vehicle does not say.
    """

    stamp_ns: int
    speed: float
    steering: float
    acceleration: float = 0.0
    door_open: bool = False
    seat_occupied: bool = False
    belt_fastened: bool = False
    energy: float = -1.0


# ---------------------------------------------------------------------------- perception


class ObjectClass(IntEnum):
    """Classes as in nuScenes' merged set."""

    UNKNOWN = 0
    CAR = 1
    TRUCK = 2  # trucks and buses
    BICYCLE = 3  # cyclists and motorbikes
    PEDESTRIAN = 4


OBJECT_DTYPE = np.dtype(
    [
        ("x", "<f4"),  # box centre, map, m
        ("y", "<f4"),
        ("z", "<f4"),
        ("yaw", "<f4"),  # rad
        ("length", "<f4"),  # m
        ("width", "<f4"),
        ("height", "<f4"),
        ("vx", "<f4"),  # map, m/s
        ("vy", "<f4"),
        ("existence", "<f4"),  # probability 0..1
        ("id", "<u4"),  # stable over the track's life
        ("label", "u1"),  # ObjectClass
        ("static", "u1"),  # 1: has not moved since it was first seen
        ("p_unknown", "<f4"),  # probability of each ObjectClass given that it exists; all 0: not told
        ("p_car", "<f4"),
        ("p_truck", "<f4"),
        ("p_bicycle", "<f4"),
        ("p_pedestrian", "<f4"),
    ]
)
"""Tracked objects, frame ``map``."""

CLASS_FIELDS = tuple(f"p_{name.name.lower()}" for name in ObjectClass)
"""Fields of OBJECT_DTYPE: probability of each class."""


def sure_of(label: int) -> tuple[float, ...]:
    """The `CLASS_FIELDS` of what is known to be of one class."""
    return tuple(float(label == each) for each in ObjectClass)


OBSTACLE_DTYPE = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4")])
"""Points that stand on the road whatever they are, frame ``base_link``."""


class LightState(IntEnum):
    UNKNOWN = 0
    RED = 1
    AMBER = 2
    GREEN = 3
    OFF = 4


class LightShape(IntEnum):
    """What the lit lamp looks like, numbered as in Autoware's TrafficLightElement."""

    UNKNOWN = 0
    CIRCLE = 1
    LEFT_ARROW = 2
    RIGHT_ARROW = 3
    UP_ARROW = 4


class LightStatus(IntEnum):
    """Whether a lamp is lit, numbered as in Autoware's TrafficLightElement (solid off, solid on)."""

    UNKNOWN = 0
    OFF = 1
    ON = 2


LIGHT_DTYPE = np.dtype(
    [
        ("x", "<f4"),  # signal head, map, m
        ("y", "<f4"),
        ("z", "<f4"),
        ("signal_id", "<u4"),
        ("state", "u1"),  # LightState: colour of the lit lamp, OFF where all are seen to be dark
        ("confidence", "<f4"),  # 0..1
        ("shape", "u1"),  # LightShape of its lamps
        ("status", "u1"),  # LightStatus
    ]
)
"""State of each traffic light that the map expects in view, frame ``map``: one element of Autoware's each."""


LATER_FIELDS = frozenset({*CLASS_FIELDS, "shape", "status"})
"""Fields that older bags lack; 0 there: not told."""


class StreetClass(IntEnum):
    """What a camera finds in the street."""

    CAR = 0
    TRUCK = 1  # trucks and buses
    CYCLIST = 2  # and motorbikes
    PEDESTRIAN = 3
    TRAFFIC_LIGHT = 4
    SIGN = 5
    BLIND = 255  # no thing: nothing can be told of this part of the picture


CAMERA_OBJECT_DTYPE = np.dtype(
    [
        ("left", "<f4"),  # px of the picture
        ("top", "<f4"),
        ("right", "<f4"),
        ("bottom", "<f4"),
        ("score", "<f4"),  # 0..1
        ("kind", "u1"),  # StreetClass
    ]
)
"""What one picture shows, as upright boxes."""


@dataclass(frozen=True, slots=True)
class CameraObjects:
    """``boxes``: CAMERA_OBJECT_DTYPE of the picture taken at ``stamp_ns``."""

    stamp_ns: int
    boxes: RecordArray


@dataclass(frozen=True, slots=True)
class OccupancyGrid:
    """What of the surroundings is free, frame ``base_link``, as in nav_msgs.

    ``cells`` (H, W) int8: FREE, OCCUPIED or UNKNOWN, rows along y, columns along x, squares of ``resolution`` m.
    ``x``, ``y``: outer corner of the first cell, m."""

    FREE: ClassVar[int] = 0
    OCCUPIED: ClassVar[int] = 100
    UNKNOWN: ClassVar[int] = -1

    resolution: float
    x: float
    y: float
    cells: NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Sight:
    """How well the lidar sees. ``road_range``: how far the road is seen, m. ``blind_deg``: middles of the sectors
    without returns, 0 to 350 from ahead to the left. ``reason``: empty, or why the view is degraded. ``drops``: returns
    from rain or fog that were left out, 0 in clear air."""

    points: int
    road_range: float
    blind_deg: tuple[int, ...] = ()
    reason: str = ""
    drops: int = 0

    @property
    def clear(self) -> bool:
        return not self.reason


@dataclass(frozen=True, slots=True)
class CameraView:
    """How well the camera sees. ``brightness``: mean of its picture, 0 black to 1 white. ``reason``: empty, or why the
    view is degraded. ``road_range``: how far it sees road, m, negative where nobody has looked. ``dirt``: share of the
    picture that dirt on the lens hides, as far as is known."""

    brightness: float
    reason: str = ""
    road_range: float = -1.0
    dirt: float = 0.0


# ---------------------------------------------------------------------------- planning and control


TRAJECTORY_DTYPE = np.dtype(
    [
        ("x", "<f4"),  # base_link in map, m
        ("y", "<f4"),
        ("z", "<f4"),
        ("yaw", "<f4"),
        ("t", "<f4"),  # s since the trajectory's stamp
        ("s", "<f4"),  # arc length, m
        ("speed", "<f4"),  # m/s, negative backwards
        ("acceleration", "<f4"),  # m/s^2, along x of base_link as the speed is
        ("curvature", "<f4"),  # 1/m, tangent of the tyre angle over the wheelbase: left positive in both directions
    ]
)
"""Poses of ``base_link`` over time, frame ``map``; ends at rest or at the horizon.

A trajectory leads in one direction: forwards, or backwards where a speed is negative; a change of gear ends it at rest.
"""


@dataclass(frozen=True, slots=True)
class Trajectory:
    stamp_ns: int
    points: RecordArray  # TRAJECTORY_DTYPE

    @property
    def backwards(self) -> bool:
        return bool((self.points["speed"] < -_SLOW).any())

    @property
    def moves(self) -> bool:
        return bool((np.abs(self.points["speed"]) > _SLOW).any())


class Cause(IntEnum):
    """Why the car drives no faster than it does. One decision has one cause."""

    CRUISE = 0  # speed limit
    CURVE = 1
    LEAD = 2
    RED_LIGHT = 3
    STOP_SIGN = 4
    YIELD = 5
    CROSSWALK = 6
    OBSTACLE = 7
    GOAL = 8
    LANE_CHANGE = 9
    NO_ROUTE = 10
    INPUT_LOST = 11
    BOARDING = 12
    SAFETY = 13  # the command gate stops or holds the car
    MANOEUVRE = 14  # no lane leads on: the car turns or backs out, see planning/freespace


@dataclass(frozen=True, slots=True)
class Explanation:
    """One cause, one sentence, and the numbers they rest on.

    ``sentence``: e.g. "Stopping: red light at stop line 412, 18 m ahead."
    ``slowing``: true when the car is held below the speed it would otherwise drive.
    ``subject_id``: map or object id, 0 for none. ``distance``: metres from the front bumper.
    """

    cause: Cause
    sentence: str
    slowing: bool = False
    subject_id: int = 0
    distance: float = 0.0


class MissionState(IntEnum):
    IDLE = 0  # no goal: stand still
    DRIVING = 1
    ARRIVED = 2  # standing at the goal
    UNREACHABLE = 3  # no route to the goal


@dataclass(frozen=True, slots=True)
class MissionStatus:
    """Where the mission stands. ``goal_id`` is the id the goal was given with.

    ``time_to_go``: seconds, negative: unknown. ``blocked_by``: the sentence that says what the car stands for and
    cannot pass by itself, "" otherwise; ``ways_out``: permissions that would help then (`Goal.permission`).
    """

    state: MissionState
    goal_id: str = ""
    distance_to_go: float = 0.0
    reason: str = ""
    time_to_go: float = -1.0
    blocked_by: str = ""
    ways_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Goal:
    """A place to stop at. ``goal_id`` "" and ``hold`` true: stand still where you are (boarding).

    ``avoid``: circles (x, y, radius; m, map) that the route shall not enter. ``permission``: what a person far
    away allows before what the car stands for, "overtake" or "reroute"; each ``permission_id`` counts once.
    """

    goal_id: str
    x: float
    y: float
    yaw: float = 0.0
    hold: bool = False
    avoid: tuple[tuple[float, float, float], ...] = ()
    permission: str = ""
    permission_id: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """Tyre angle (rad) and acceleration (m/s^2) wanted, with the speed they aim at (m/s).

    ``reverse``: the gear. ``acceleration`` is meant in its direction, as pedals are: negative always brakes.
    ``speed`` is signed, at most 0 in reverse.
    """

    stamp_ns: int
    steering: float
    acceleration: float
    speed: float = 0.0
    reverse: bool = False


class SystemMode(IntEnum):
    STOP = 0  # standing, brakes held
    AUTONOMOUS = 1
    COMFORTABLE_STOP = 2  # minimal risk: along the last good trajectory
    EMERGENCY_STOP = 3  # full braking
    MANUAL = 4  # a person in the car drives
    REMOTE_ASSIST = 5  # standing until a person far away has advised
    PULL_OVER = 6  # minimal risk: slowly on to where the car may stand, for a bounded time
    STOP_IN_LANE = 7  # minimal risk: firmly, wheels as they are; the way ahead is not known


MINIMAL_RISK = frozenset(
    {SystemMode.COMFORTABLE_STOP, SystemMode.EMERGENCY_STOP, SystemMode.PULL_OVER, SystemMode.STOP_IN_LANE}
)
"""Modes in which the car brings itself to rest: hazard lights are on."""

HELD = MINIMAL_RISK - {SystemMode.PULL_OVER} | {SystemMode.STOP, SystemMode.REMOTE_ASSIST}
"""Modes in which the gate stops or holds the car, whatever is planned."""


class Permit(IntEnum):
    """What the parts that still work allow; the worst of all lost capabilities counts."""

    DRIVE = 0
    PULL_OVER = 1  # on at low speed to the next place to stand
    STOP = 2


@dataclass(frozen=True, slots=True)
class Health:
    """What the health monitor says. ``part``: to blame first, "" when all is well; ``sentence`` says why.

    ``lost``: capabilities that are gone. ``speed_cap`` in m/s, infinite without one.
    """

    stamp_ns: int
    permit: Permit = Permit.DRIVE
    part: str = ""
    sentence: str = ""
    lost: tuple[str, ...] = ()
    speed_cap: float = float("inf")


def said_by_car(mode: SystemMode, mode_reason: str, health: Health | None, sentence: str) -> str:
    """The one sentence for people: the gate's where the gate acts or caps the speed, else the planner's."""
    capped = health is not None and health.speed_cap < float("inf")
    return mode_reason if mode in MINIMAL_RISK or capped else sentence


class Request(IntEnum):
    """Who shall drive, asked for by a person: in the car, or far away (who may ask, never steer)."""

    AUTONOMOUS = 0
    STOP = 1
    MANUAL = 2
    REMOTE_ASSIST = 3


# ---------------------------------------------------------------------------- dispatch


class TripState(IntEnum):
    IDLE = 0
    OFFERED = 1
    ACCEPTED = 2
    REJECTED = 3
    EN_ROUTE_TO_PICKUP = 4
    WAITING_FOR_RIDER = 5
    BOARDING = 6
    EN_ROUTE = 7
    ARRIVED = 8
    COMPLETED = 9
    CANCELLED = 10
    ABORTED = 11
    NO_SHOW = 12
    AT_STOP = 13  # a stop on the way, rider may get out and in again
    ALIGHTED = 14


@dataclass(frozen=True, slots=True)
class TripEvent:
    """One transition of one trip, as published on ``dispatch/trip`` and sent to the cloud."""

    stamp_ns: int
    order_id: str
    state: TripState
    reason: str = ""

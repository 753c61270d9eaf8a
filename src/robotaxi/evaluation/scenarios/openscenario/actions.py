"""Private actions of OpenSCENARIO as those of a `Story`."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Collection
from itertools import pairwise

from robotaxi.evaluation.scenarios.openscenario.conditions import entity
from robotaxi.evaluation.scenarios.openscenario.document import Document
from robotaxi.evaluation.scenarios.openscenario.positions import Places
from robotaxi.evaluation.scenarios.story import (
    SHAPES,
    Action,
    ChangeOffset,
    ChangeSpeed,
    Dynamics,
    FollowTrajectory,
    Teleport,
)

READ = (
    "TeleportAction", "SpeedAction", "LaneChangeAction", "LaneOffsetAction", "FollowTrajectoryAction",
)  # fmt: skip
WITHOUT_EFFECT = (
    "ControllerAction", "ActivateControllerAction", "AssignControllerAction", "VisibilityAction", "EnvironmentAction",
    "AppearanceAction", "LightStateAction",
)  # fmt: skip
LEAST_SPEED = 0.1  # m/s at which a lateral move over a distance is reckoned


def leaf(document: Document, action: ET.Element) -> ET.Element:
    """The element that says what is done: LongitudinalAction, LateralAction, RoutingAction wrap it."""
    element = document.only_child(action)
    if element.tag in ("LongitudinalAction", "LateralAction", "RoutingAction"):
        return document.only_child(element)
    return element


def read_action(
    document: Document, element: ET.Element, places: Places, names: Collection[str], lane: int | None
) -> Action | None:  # fmt: skip
    """What ``element`` (see `leaf`) does, None where it has no effect here. ``lane``: of OpenDRIVE, that who acts was
    put on. Raises MapError."""
    if element.tag in WITHOUT_EFFECT:
        return None
    if element.tag == "TeleportAction":
        return Teleport(places.pose(document, document.child(element, "Position")))
    if element.tag == "SpeedAction":
        return _speed(document, element, names)
    if element.tag == "LaneChangeAction":
        return _lane_change(document, element, names, lane)
    if element.tag == "LaneOffsetAction":
        return _lane_offset(document, element, names)
    if element.tag == "FollowTrajectoryAction":
        return _trajectory(document, element, places)
    raise document.unknown(element, READ)


def _dynamics(document: Document, element: ET.Element) -> Dynamics:
    shape = document.choice(element, "dynamicsShape", SHAPES)
    by = document.choice(element, "dynamicsDimension", ("time", "distance", "rate"))
    value = document.number(element, "value")
    if shape != "step" and value <= 0.0:
        raise document.error(element, f"attribute value='{value:g}' must be above 0, or dynamicsShape 'step'")
    return Dynamics(shape, value, by)


def _speed(document: Document, element: ET.Element, names: Collection[str]) -> ChangeSpeed:
    dynamics = _dynamics(document, document.child(element, "SpeedActionDynamics"))
    target = document.only_child(document.child(element, "SpeedActionTarget"))
    if target.tag == "AbsoluteTargetSpeed":
        return ChangeSpeed(document.number(target, "value"), dynamics)
    if target.tag != "RelativeTargetSpeed":
        raise document.unknown(target, ("AbsoluteTargetSpeed", "RelativeTargetSpeed"))
    if document.flag(target, "continuous"):
        raise document.error(target, "continuous='true' is not read; use continuous='false'")
    factor = document.choice(target, "speedTargetValueType", ("delta", "factor")) == "factor"
    return ChangeSpeed(document.number(target, "value"), dynamics, entity(document, target, names), factor)


def _lane_change(
    document: Document, element: ET.Element, names: Collection[str], lane: int | None
) -> ChangeOffset:  # fmt: skip
    dynamics = _dynamics(document, document.child(element, "LaneChangeActionDynamics"))
    target = document.only_child(document.child(element, "LaneChangeTarget"))
    offset = document.number(element, "targetLaneOffset", 0.0)
    if target.tag == "RelativeTargetLane":
        count = document.number(target, "value")
        return ChangeOffset(round(count), offset, dynamics, entity(document, target, names))
    if target.tag == "AbsoluteTargetLane":
        return ChangeOffset(_to_lane(document, target, lane), offset, dynamics)
    raise document.unknown(target, ("RelativeTargetLane", "AbsoluteTargetLane"))


def _to_lane(document: Document, target: ET.Element, at: int | None) -> int:
    """How many lanes to the left of the one that the acting entity began on."""
    wanted = document.text(target, "value")
    if at is None:
        raise document.error(target, "needs an entity placed by LanePosition; or use RelativeTargetLane")
    if not wanted.lstrip("-").isdigit() or int(wanted) == 0:
        raise document.error(target, f"attribute value='{wanted}' is not a lane")

    def place(lane: int) -> int:  # lanes counted without the 0 between them
        return lane if lane < 0 else lane - 1

    count = place(int(wanted)) - place(at)
    return count if at < 0 else -count


def _lane_offset(document: Document, element: ET.Element, names: Collection[str]) -> ChangeOffset:
    shaped = document.child(element, "LaneOffsetActionDynamics")
    shape = document.choice(shaped, "dynamicsShape", SHAPES)
    across = document.number(shaped, "maxLateralAcc", 1.0)
    target = document.only_child(document.child(element, "LaneOffsetTarget"))
    value = document.number(target, "value")
    # a cubic over time T peaks at 6 d / T^2
    seconds = max((6.0 * max(abs(value), 0.5) / max(across, 0.05)) ** 0.5, 0.5)
    dynamics = Dynamics(shape, seconds, "time")
    if target.tag == "AbsoluteTargetLaneOffset":
        return ChangeOffset(0, value, dynamics)
    if target.tag == "RelativeTargetLaneOffset":
        return ChangeOffset(0, value, dynamics, entity(document, target, names))
    raise document.unknown(target, ("AbsoluteTargetLaneOffset", "RelativeTargetLaneOffset"))


def _trajectory(document: Document, element: ET.Element, places: Places) -> FollowTrajectory:
    trajectory = element.find("TrajectoryRef/Trajectory")
    if trajectory is None:
        trajectory = element.find("Trajectory")
    if trajectory is None:
        raise document.error(element, "has no <Trajectory>; trajectories of catalogs are not read")
    shape = document.only_child(document.child(trajectory, "Shape"))
    if shape.tag != "Polyline":
        raise document.unknown(shape, ("Polyline",))
    vertices = shape.findall("Vertex")
    if len(vertices) < 2:
        raise document.error(shape, "needs two <Vertex> or more")
    poses = [places.pose(document, document.child(item, "Position")) for item in vertices]
    points = tuple((pose.x, pose.y) for pose in poses)
    timing = element.find("TimeReference/Timing")
    if timing is None:
        return FollowTrajectory(points)
    scale, offset = document.number(timing, "scale", 1.0), document.number(timing, "offset", 0.0)
    times = tuple(document.number(item, "time") * scale + offset for item in vertices)
    if any(b <= a for a, b in pairwise(times)):
        raise document.error(shape, f"the times of its vertices do not rise: {', '.join(f'{t:g}' for t in times)}")
    if document.choice(timing, "domainAbsoluteRelative", ("absolute", "relative")) == "absolute":
        raise document.error(timing, "domainAbsoluteRelative='absolute' is not read; use relative")
    return FollowTrajectory(points, times)

"""A recorded clip as an OpenSCENARIO XML 1.2 file, for this stack's evaluation and for other players."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from robotaxi.evaluation.scenarios.openscenario.entities import VEHICLES
from robotaxi.evaluation.scenarios.recorded import Clip, Recorded
from robotaxi.types import Pose2

EGO = "Ego"
_AT_GOAL = 3.0  # m from it is there
_CATEGORY = {kind: category for category, kind in reversed(VEHICLES.items())}


def write_openscenario(clip: Clip, date: str) -> str:
    """The file's text. ``date``: as xsd:dateTime, noted in its header."""
    root = ET.Element("OpenSCENARIO")
    _add(root, "FileHeader", revMajor=1, revMinor=2, date=date, author="robotaxi", description=clip.description)
    for name in ("ParameterDeclarations", "CatalogLocations"):
        _add(root, name)
    network = _add(root, "RoadNetwork")
    _add(network, "LogicFile", filepath=clip.map)
    if clip.lights:
        _lights(_add(network, "TrafficSignals"), clip)
    entities = _add(root, "Entities")
    length, width, height, ahead = clip.ego_size
    _body(entities, EGO, "car", length, width, height, ahead)
    for other in clip.others:
        _body(entities, other.name, other.kind, other.length, other.width, other.height, 0.0)
    board = _add(root, "Storyboard")
    actions = _add(_add(board, "Init"), "Actions")
    _placed(actions, EGO, clip.start, clip.speed, clip.goal)
    for other in clip.others:
        x, y = other.points[0]
        _placed(actions, other.name, Pose2(float(x), float(y), other.heading), other.speed)
    story = _add(board, "Story", name="recorded")
    act = _add(story, "Act", name="traffic")
    movers = [other for other in clip.others if len(other.times) > 1]
    for other in movers:
        _moves(act, other)
    if movers:
        _after(_add(act, "StartTrigger"), "at the start", 0.0)
    else:
        board.remove(story)
    _after(_add(board, "StopTrigger"), "over", clip.duration, clip.goal)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add(parent: ET.Element, tag: str, **attributes: Any) -> ET.Element:
    return ET.SubElement(parent, tag, {name: _text(value) for name, value in attributes.items()})


def _text(value: Any) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _lights(parent: ET.Element, clip: Clip) -> None:
    """A controller a signal; its last phase lasts to the end."""
    for key, course in clip.lights.items():
        controller = _add(parent, "TrafficSignalController", name=f"signal {key}")
        ends = [t for t, _ in course[1:]] + [max(clip.duration, course[-1][0]) + 1.0]
        for (since, colour), until in zip(course, ends, strict=True):
            phase = _add(controller, "Phase", name=colour, duration=until - since)
            _add(phase, "TrafficSignalState", trafficSignalId=key, state=colour)


def _body(parent: ET.Element, name: str, kind: str, length: float, width: float, height: float, ahead: float) -> None:
    item = _add(parent, "ScenarioObject", name=name)
    if kind == "pedestrian":
        body = _add(item, "Pedestrian", name=kind, mass=75, pedestrianCategory="pedestrian")
    elif kind in _CATEGORY:
        body = _add(item, "Vehicle", name=kind, vehicleCategory=_CATEGORY[kind])
    else:
        body = _add(item, "MiscObject", name=kind, mass=50, miscObjectCategory="obstacle")
    box = _add(body, "BoundingBox")
    _add(box, "Center", x=ahead, y=0, z=0.5 * height)
    _add(box, "Dimensions", width=width, length=length, height=height)
    if body.tag == "Vehicle":  # required by the standard; nobody drives by them here
        _add(body, "Performance", maxSpeed=60, maxAcceleration=6, maxDeceleration=9)
        axles = _add(body, "Axles")
        wheels = {"wheelDiameter": 0.7, "trackWidth": 0.85 * width, "positionZ": 0.35}
        _add(axles, "FrontAxle", maxSteering=0.6, positionX=ahead + 0.3 * length, **wheels)
        _add(axles, "RearAxle", maxSteering=0, positionX=ahead - 0.3 * length, **wheels)
    _add(body, "Properties")


def _placed(actions: ET.Element, name: str, pose: Pose2, speed: float, goal: Pose2 | None = None) -> None:
    private = _add(actions, "Private", entityRef=name)
    _world(_add(_add(private, "PrivateAction"), "TeleportAction"), pose)
    action = _add(_add(_add(private, "PrivateAction"), "LongitudinalAction"), "SpeedAction")
    _add(action, "SpeedActionDynamics", dynamicsShape="step", dynamicsDimension="time", value=0)
    _add(_add(action, "SpeedActionTarget"), "AbsoluteTargetSpeed", value=speed)
    if goal is not None:
        _world(_add(_add(_add(private, "PrivateAction"), "RoutingAction"), "AcquirePositionAction"), goal)


def _world(parent: ET.Element, pose: Pose2) -> None:
    _add(_add(parent, "Position"), "WorldPosition", x=pose.x, y=pose.y, h=pose.yaw)


def _moves(act: ET.Element, other: Recorded) -> None:
    group = _add(act, "ManeuverGroup", name=other.name, maximumExecutionCount=1)
    _add(_add(group, "Actors", selectTriggeringEntities="false"), "EntityRef", entityRef=other.name)
    maneuver = _add(group, "Maneuver", name=f"{other.name} moves")
    event = _add(maneuver, "Event", name=f"{other.name} goes", priority="overwrite", maximumExecutionCount=1)
    action = _add(_add(event, "Action", name=f"{other.name} as recorded"), "PrivateAction")
    follow = _add(_add(action, "RoutingAction"), "FollowTrajectoryAction")
    trajectory = _add(_add(follow, "TrajectoryRef"), "Trajectory", name=f"way of {other.name}", closed="false")
    line = _add(_add(trajectory, "Shape"), "Polyline")
    for t, (x, y) in zip(other.times.tolist(), other.points.tolist(), strict=True):
        _world_vertex(line, t, x, y)
    _add(_add(follow, "TimeReference"), "Timing", domainAbsoluteRelative="relative", scale=1, offset=0)
    _add(follow, "TrajectoryFollowingMode", followingMode="position")
    _after(_add(event, "StartTrigger"), f"{other.name} at the start", 0.0)


def _world_vertex(line: ET.Element, t: float, x: float, y: float) -> None:
    _add(_add(_add(line, "Vertex", time=t), "Position"), "WorldPosition", x=x, y=y)


def _after(trigger: ET.Element, name: str, seconds: float, goal: Pose2 | None = None) -> None:
    """Fires after ``seconds``, or when the ego has reached ``goal``."""
    condition = _add(_add(trigger, "ConditionGroup"), "Condition", name=name, delay=0, conditionEdge="none")
    by = _add(condition, "ByValueCondition")
    _add(by, "SimulationTimeCondition", value=seconds, rule="greaterOrEqual")
    if goal is None:
        return
    there = _add(_add(trigger, "ConditionGroup"), "Condition", name="there", delay=0, conditionEdge="none")
    entity = _add(there, "ByEntityCondition")
    _add(_add(entity, "TriggeringEntities", triggeringEntitiesRule="any"), "EntityRef", entityRef=EGO)
    _world(_add(_add(entity, "EntityCondition"), "ReachPositionCondition", tolerance=_AT_GOAL), goal)

"""Triggers of OpenSCENARIO as those of a `Story`."""

from __future__ import annotations

import operator
import xml.etree.ElementTree as ET
from collections.abc import Callable, Collection
from typing import Any

from robotaxi.evaluation.scenarios.openscenario.document import Document
from robotaxi.evaluation.scenarios.openscenario.positions import Places
from robotaxi.evaluation.scenarios.story import RULES, After, Always, Condition, Measured, Reached, Trigger
from robotaxi.types import Pose2

EDGES = ("none", "rising", "falling", "risingOrFalling")
STATES = {
    "startTransition": "running", "runningState": "running", "endTransition": "complete", "completeState": "complete",
    "stopTransition": "complete",
}  # fmt: skip
BY_VALUE = ("SimulationTimeCondition", "StoryboardElementStateCondition", "ParameterCondition")
BY_ENTITY = (
    "ReachPositionCondition", "DistanceCondition", "RelativeDistanceCondition", "TimeHeadwayCondition",
    "TimeToCollisionCondition", "SpeedCondition", "RelativeSpeedCondition", "TraveledDistanceCondition",
    "StandStillCondition",
)  # fmt: skip
DISTANCES = {
    "longitudinal": "longitudinal", "lateral": "lateral", "cartesianDistance": "cartesian",
    "euclidianDistance": "cartesian",
}  # fmt: skip
MEETS: dict[str, Callable[[Any, Any], bool]] = {
    "equalTo": operator.eq, "notEqualTo": operator.ne, "greaterThan": operator.gt, "lessThan": operator.lt,
    "greaterOrEqual": operator.ge, "lessOrEqual": operator.le,
}  # fmt: skip


def read_trigger(document: Document, element: ET.Element | None, places: Places, names: Collection[str]) -> Trigger:
    """The trigger in ``element``, () for none: it never fires. ``names``: of the entities. Raises MapError."""
    if element is None:
        return ()
    return tuple(
        tuple(_condition(document, item, places, names) for item in group.findall("Condition"))
        for group in element.findall("ConditionGroup")
        if group.find("Condition") is not None
    )


def entity(document: Document, element: ET.Element, names: Collection[str]) -> str:
    """The ``entityRef`` of ``element``, which must be one of ``names``."""
    name = document.text(element, "entityRef")
    if name not in names:
        raise document.error(element, f"there is no entity '{name}'; there are {', '.join(names)}")
    return name


def _condition(document: Document, element: ET.Element, places: Places, names: Collection[str]) -> Condition:
    edge = document.choice(element, "conditionEdge", EDGES, "none")
    delay = document.number(element, "delay", 0.0)
    kind = next((item for item in element if item.tag in ("ByValueCondition", "ByEntityCondition")), None)
    if kind is None:
        raise document.error(element, "needs a <ByValueCondition> or <ByEntityCondition>")
    if kind.tag == "ByValueCondition":
        return Condition(_by_value(document, document.only_child(kind)), edge, delay)
    return Condition(_by_entity(document, kind, places, names), edge, delay)


def _by_value(document: Document, test: ET.Element) -> After | Reached | Always:
    if test.tag == "SimulationTimeCondition":
        return After(document.choice(test, "rule", RULES), document.number(test, "value"))
    if test.tag == "StoryboardElementStateCondition":
        state = document.choice(test, "state", tuple(STATES))
        return Reached(document.text(test, "storyboardElementRef").rpartition("::")[2], STATES[state])
    if test.tag == "ParameterCondition":
        name, wanted = document.text(test, "parameterRef").lstrip("$"), document.text(test, "value")
        if name not in document.parameters:
            raise document.error(test, f"parameter '{name}' is not declared")
        return Always(_meets(document.parameters[name], document.choice(test, "rule", RULES), wanted))
    raise document.unknown(test, BY_VALUE)


def _meets(value: str, rule: str, wanted: str) -> bool:
    try:
        return MEETS[rule](float(value), float(wanted))
    except ValueError:
        return MEETS[rule](value, wanted)


def _by_entity(document: Document, element: ET.Element, places: Places, names: Collection[str]) -> Measured:
    triggering = document.child(element, "TriggeringEntities")
    every = document.choice(triggering, "triggeringEntitiesRule", ("any", "all"), "any") == "all"
    who = tuple(entity(document, item, names) for item in triggering.findall("EntityRef"))
    if not who:
        raise document.error(triggering, "names no <EntityRef>")
    test = document.only_child(document.child(element, "EntityCondition"))
    if test.tag not in BY_ENTITY:
        raise document.unknown(test, BY_ENTITY)
    if test.tag == "ReachPositionCondition":
        place = places.pose(document, document.child(test, "Position"))
        return Measured(who, every, "distance", "lessOrEqual", document.number(test, "tolerance"), place=place)
    if test.tag in ("TraveledDistanceCondition", "StandStillCondition"):
        what, key = ("travelled", "value") if test.tag[0] == "T" else ("standstill", "duration")
        return Measured(who, every, what, "greaterOrEqual", document.number(test, key))
    rule, value = document.choice(test, "rule", RULES), document.number(test, "value")
    if test.tag == "SpeedCondition":
        return Measured(who, every, "speed", rule, value)
    if test.tag == "RelativeSpeedCondition":
        return Measured(who, every, "relative_speed", rule, value, entity(document, test, names))
    free = document.flag(test, "freespace")
    if test.tag == "DistanceCondition":
        place = places.pose(document, document.child(test, "Position"))
        return Measured(who, every, "distance", rule, value, place=place, freespace=free, along=_along(document, test))
    if test.tag == "RelativeDistanceCondition":
        other = entity(document, test, names)
        return Measured(who, every, "distance", rule, value, other, freespace=free, along=_along(document, test))
    if test.tag == "TimeHeadwayCondition":
        other = entity(document, test, names)
        return Measured(who, every, "headway", rule, value, other, freespace=free, along="longitudinal")
    other, target = _target(document, test, places, names)
    return Measured(who, every, "ttc", rule, value, other, target, "longitudinal", free)


def _target(
    document: Document, test: ET.Element, places: Places, names: Collection[str]
) -> tuple[str, Pose2 | None]:  # fmt: skip
    target = document.child(test, "TimeToCollisionConditionTarget")
    reference = target.find("EntityRef")
    if reference is not None:
        return entity(document, reference, names), None
    return "", places.pose(document, document.child(target, "Position"))


def _along(document: Document, test: ET.Element) -> str:
    default = "cartesianDistance" if test.tag == "DistanceCondition" else None
    return DISTANCES[document.choice(test, "relativeDistanceType", tuple(DISTANCES), default)]

"""OpenSCENARIO XML 1.x -> `Scenario` with a `Story`. What is not read is refused with file, line, element and cure."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from robotaxi.evaluation.scenarios.model import Scenario, ScenarioError
from robotaxi.evaluation.scenarios.openscenario.actions import leaf, read_action
from robotaxi.evaluation.scenarios.openscenario.conditions import read_trigger
from robotaxi.evaluation.scenarios.openscenario.document import Document
from robotaxi.evaluation.scenarios.openscenario.entities import find_ego, read_entities
from robotaxi.evaluation.scenarios.openscenario.lights import read_lights
from robotaxi.evaluation.scenarios.openscenario.positions import Places, read_roads
from robotaxi.evaluation.scenarios.story import (
    Act,
    Action,
    After,
    ChangeSpeed,
    Event,
    Group,
    Measured,
    Performer,
    Story,
    Teleport,
    Trigger,
)
from robotaxi.hdmap.lane_map import LaneMap, MapError
from robotaxi.hdmap.load import SUFFIXES, known_maps, load_map
from robotaxi.hdmap.opendrive_roads import Road
from robotaxi.types import Pose2

DURATION = 60.0  # s where the file's StopTrigger names no time
CHECKS = {"no_collision": True, "on_road": True}
_LANE_POSITION = "LanePosition"


def read_openscenario(file: Path) -> Scenario:
    """The scenario in ``file``. Raises ScenarioError."""
    try:
        return _Reader(file).scenario()
    except MapError as error:
        raise ScenarioError(str(error)) from error


class _Reader:
    def __init__(self, file: Path) -> None:
        self.document = document = Document(file)
        header = document.child(document.root, "FileHeader")
        if document.text(header, "revMajor", "1") != "1":
            raise document.error(header, "only OpenSCENARIO XML 1.x is read: convert it")
        if document.root.find("Storyboard") is None:
            raise document.error(document.root, "has no <Storyboard>: catalogs and distributions are no scenarios")
        document.declare(document.root)
        self.description = document.text(header, "description", "")
        self.entities = read_entities(document)
        self.ego = find_ego(document, self.entities)
        self.map, changed_ns = self._map()
        lane_map, roads = _load(self.map, changed_ns)
        self.places = Places(lane_map, roads, self.description.startswith("CARLA:"))
        self.speeds: dict[str, float] = {}
        self.lanes: dict[str, int] = {}
        self.notes: list[str] = []
        self.goal: Pose2 | None = None

    def scenario(self) -> Scenario:
        document = self.document
        board = document.child(document.root, "Storyboard")
        self._init(document.child(board, "Init"))
        acts = tuple(self._act(item) for story in board.findall("Story") for item in self._acts(story))
        stop = read_trigger(document, board.find("StopTrigger"), self.places, self.entities)
        start = self.places.entities.get(self.ego)
        if start is None:
            raise document.error(self.entities[self.ego].element, "is not placed: give it a TeleportAction in <Init>")
        goal = self.goal or _place_of(stop, self.ego)
        lights = read_lights(document, self.places.lane_map, self.notes)
        story = Story(
            self.ego, start, self.speeds.get(self.ego, 0.0), goal, self._performers(), acts, stop, tuple(self.notes),
            lights,
        )  # fmt: skip
        checks = {**CHECKS, **({"reaches_goal": True} if goal is not None else {})}
        if lights:
            checks["no_red_light"] = True
        name, nowhere = document.source.path.stem, (0.0, 0.0)
        return Scenario(
            name, self.description, self.map, {}, nowhere, (story.speed, story.speed), nowhere, _seconds(stop), (), (),
            checks, story=story,
        )  # fmt: skip

    # ------------------------------------------------------------------ the road and who is on it

    def _map(self) -> tuple[str, int]:
        """Name or file of the map, and when the file was changed last."""
        document = self.document
        logic = document.root.find("RoadNetwork/LogicFile")
        if logic is None:
            raise document.error(
                document.root, "needs <RoadNetwork><LogicFile filepath=.../>: robotaxi drives on a map"
            )
        name = document.text(logic, "filepath")
        beside = document.source.path.parent / name
        for file in (beside, *(beside.with_name(beside.name + suffix) for suffix in SUFFIXES)):
            if file.is_file() and file.suffix in SUFFIXES:
                return str(file), file.stat().st_mtime_ns
        if name in known_maps():
            return name, 0
        known = ", ".join(known_maps())
        raise document.error(
            logic, f"there is no {beside} (.xodr or .osm) and no map called '{name}'; known are {known}"
        )

    def _init(self, init: ET.Element) -> None:
        """Where everybody is and how fast, and where the ego is going."""
        document = self.document
        for private in init.findall("Actions/Private"):
            name = document.text(private, "entityRef")
            if name not in self.entities:
                raise document.error(private, f"there is no entity '{name}'; there are {', '.join(self.entities)}")
            for wrapped in private.findall("PrivateAction"):
                element = leaf(document, wrapped)
                if name == self.ego and self._takes_goal(element):
                    continue
                action = self._action(element, name)
                if isinstance(action, Teleport):
                    self.places.entities[name] = action.pose
                    self._remember_lane(name, element)
                elif isinstance(action, ChangeSpeed):
                    of = self.speeds.get(action.of, 0.0)
                    self.speeds[name] = of * action.value if action.factor else of + action.value
                elif action is not None:
                    raise document.error(element, "in <Init> only places and speeds are read; make it an <Event>")
        for element in init.findall("Actions/GlobalAction"):
            self.notes.append(f"{leaf(document, element).tag}: perfect perception does not see it")
        for element in init.findall("Actions/UserDefinedAction"):
            raise document.error(element, "is not read; take it out")

    def _remember_lane(self, name: str, teleport: ET.Element) -> None:
        position = teleport.find(f"Position/{_LANE_POSITION}")
        if position is not None:
            self.lanes[name] = int(self.document.text(position, "laneId"))

    def _performers(self) -> tuple[Performer, ...]:
        out = []
        for name, entity in self.entities.items():
            if name == self.ego:
                continue
            pose = self.places.entities.get(name)
            if pose is None:
                self.notes.append(f"{name}: never placed, and left out")
                continue
            size = entity.length, entity.width, entity.height
            out.append(Performer(name, entity.kind, *size, entity.ahead, pose, self.speeds.get(name, 0.0)))
        return tuple(out)

    # ------------------------------------------------------------------ what happens

    def _acts(self, story: ET.Element) -> Iterator[ET.Element]:
        self.document.declare(story)
        yield from story.findall("Act")

    def _act(self, element: ET.Element) -> Act:
        document = self.document
        start = element.find("StartTrigger")
        groups = tuple(self._group(item) for item in element.findall("ManeuverGroup"))
        return Act(
            document.text(element, "name", "act"), self._trigger(start) if start is not None else None,
            self._trigger(element.find("StopTrigger")), groups,
        )  # fmt: skip

    def _group(self, element: ET.Element) -> Group:
        document = self.document
        actors = document.child(element, "Actors")
        if document.flag(actors, "selectTriggeringEntities"):
            raise document.error(actors, "selectTriggeringEntities='true' is not read; name the entities")
        names = []
        for item in actors.findall("EntityRef"):
            name = document.text(item, "entityRef")
            if name not in self.entities:
                raise document.error(item, f"there is no entity '{name}'; there are {', '.join(self.entities)}")
            names.append(name)
        if element.find("CatalogReference") is not None:
            raise document.error(element, "maneuvers of catalogs are not read; put the <Maneuver> here")
        events = tuple(
            self._event(item, document.text(maneuver, "name", "maneuver"), names)
            for maneuver in self._maneuvers(element)
            for item in maneuver.findall("Event")
        )
        return Group(document.text(element, "name", "group"), tuple(n for n in names if n != self.ego), events)

    def _maneuvers(self, group: ET.Element) -> Iterator[ET.Element]:
        for maneuver in group.findall("Maneuver"):
            self.document.declare(maneuver)
            yield maneuver

    def _event(self, element: ET.Element, maneuver: str, actors: list[str]) -> Event:
        document = self.document
        start, actions = element.find("StartTrigger"), []
        priority = document.choice(element, "priority", ("overwrite", "override", "parallel", "skip"), "parallel")
        for item in element.findall("Action"):
            wrapped = document.only_child(item)
            if wrapped.tag != "PrivateAction":
                if wrapped.tag == "UserDefinedAction":
                    raise document.error(wrapped, "is not read; take it out")
                self.notes.append(f"{leaf(document, wrapped).tag}: has no effect")
                continue
            inside = leaf(document, wrapped)
            if self.ego in actors:
                if not self._takes_goal(inside):
                    self.notes.append(f"{inside.tag} of {self.ego}: robotaxi drives it")
                if actors == [self.ego]:
                    continue
            action = self._action(inside, actors[0] if len(actors) == 1 else "")
            if action is not None:
                actions.append((document.text(item, "name", "action"), action))
        return Event(
            document.text(element, "name", "event"), maneuver, priority in ("overwrite", "override"),
            round(document.number(element, "maximumExecutionCount", 1.0)),
            self._trigger(start) if start is not None else None, tuple(actions),
        )  # fmt: skip

    def _action(self, element: ET.Element, who: str) -> Action | None:
        action = read_action(self.document, element, self.places, self.entities, self.lanes.get(who))
        if action is None:
            self.notes.append(f"{element.tag}{f' of {who}' if who else ''}: has no effect")
        return action

    def _takes_goal(self, element: ET.Element) -> bool:
        """Whether ``element`` says where the ego goes; its last place is the goal."""
        document = self.document
        if element.tag == "AcquirePositionAction":
            self.goal = self.places.pose(document, document.child(element, "Position"))
            return True
        if element.tag == "AssignRouteAction":
            waypoints = element.findall("Route/Waypoint")
            if not waypoints:
                raise document.error(element, "needs a <Route> with <Waypoint>; routes of catalogs are not read")
            self.goal = self.places.pose(document, document.child(waypoints[-1], "Position"))
            return True
        return False

    def _trigger(self, element: ET.Element | None) -> Trigger:
        return read_trigger(self.document, element, self.places, self.entities)


@lru_cache(maxsize=2)
def _load(name: str, changed_ns: int) -> tuple[LaneMap, dict[str, Road]]:
    """The map, and where it is OpenDRIVE its roads; many scenarios are on one."""
    return load_map(name), read_roads(Path(name)) if name.endswith(".xodr") else {}


def _place_of(stop: Trigger, ego: str) -> Pose2 | None:
    """The place whose reaching by the ego ends the scenario."""
    for group in stop:
        for condition in group:
            test = condition.test
            if isinstance(test, Measured) and test.what == "distance" and ego in test.entities and test.place:
                return test.place
    return None


def _seconds(stop: Trigger) -> float:
    """When the scenario is over at the latest."""
    times = [
        condition.test.value + condition.delay
        for group in stop
        for condition in group
        if isinstance(condition.test, After) and len(group) == 1
    ]
    return min((t for t in times if t > 0.0), default=DURATION)

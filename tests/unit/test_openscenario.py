"""OpenSCENARIO files: what is read, how it is played, and what is said about the rest."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from robotaxi.evaluation.scenarios import checks, run
from robotaxi.evaluation.scenarios.measures import Body, measure, meets
from robotaxi.evaluation.scenarios.model import Scenario, ScenarioError, load_file, load_suite
from robotaxi.evaluation.scenarios.player import StoryPlayer
from robotaxi.evaluation.scenarios.story import After, Condition, FollowTrajectory, Measured, Story
from robotaxi.hdmap import load_map
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.resources import config_dir
from robotaxi.types import Pose2
from robotaxi.vehicle import load_vehicle

SAMPLE = config_dir() / "scenarios" / "openscenario" / "cut_in_and_crossing.xosc"
MIDDLE, INNER = -265.25, -261.75  # y of the two lanes eastwards
TICK = 0.02


@pytest.fixture(scope="module")
def town() -> LaneMap:
    return load_map("town")


def changed(folder: Path, *swaps: tuple[str, str]) -> Path:
    """The sample with parts of it exchanged, beside the same map."""
    text = SAMPLE.read_text().replace("../../maps/town/town.xodr", str(config_dir() / "maps/town/town.xodr"))
    for old, new in swaps:
        assert old in text
        text = text.replace(old, new)
    file = folder / "changed.xosc"
    file.write_text(text)
    return file


def story_of(scenario: Scenario) -> Story:
    assert scenario.story is not None
    return scenario.story


def test_places_speeds_goal_and_time_are_read() -> None:
    (scenario,) = load_file(SAMPLE)
    story = story_of(scenario)
    ego, (overtaker, walker, cyclist) = story.start, story.performers
    assert (ego.x, ego.y, ego.yaw, story.speed) == pytest.approx((318.0, MIDDLE, 0.0, 9.0))
    assert (overtaker.start.x, overtaker.start.y, overtaker.speed) == pytest.approx((304.0, INNER, 13.0))
    assert (walker.kind, walker.start.yaw, walker.speed) == ("pedestrian", pytest.approx(math.pi / 2, abs=1e-4), 0.0)
    assert (cyclist.kind, cyclist.length, cyclist.ahead) == ("bicycle", 1.8, 0.5)
    assert cyclist.start.y == pytest.approx(MIDDLE - 7.0) and cyclist.start.yaw == pytest.approx(1.5708)
    assert story.goal is not None and story.goal.x == pytest.approx(608.0) and scenario.duration == 90.0
    assert scenario.checks == {"no_collision": True, "on_road": True, "reaches_goal": True}
    assert story.notes == ("EnvironmentAction: perfect perception does not see it",)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('value="$Speed"', 'value="$Velocity"', "parameter '$Velocity' is not declared; declared are: CutInGap"),
        ("${$Speed + 4}", "${open(4)}", "cannot work out 'open(4)'"),
        ('laneId="-2" s="40"', 'laneId="-3" s="40"', "road '12' has no lane '-3' at s=40; it has -2, -1, 0, 1, 2"),
        ('laneId="-2" s="40"', 'laneId="-2" s="900"', "s=900 is not on road '12', which is 484.0 m long"),
        ('revMajor="1"', 'revMajor="2"', "only OpenSCENARIO XML 1.x is read"),
        ("<Polyline>", "<Nurbs>", "use Polyline or take it out"),
        ('conditionEdge="rising"', 'conditionEdge="up"', "conditionEdge='up' is not read; known are none, rising"),
        ('<EntityRef entityRef="Walker"/></TimeTo', '<EntityRef entityRef="Nobody"/></TimeTo', "no entity 'Nobody'"),
        ('dLane="1" ds="-14"', 'dLane="1" ds="far"', "attribute ds='far' is not a number"),
        ("town.xodr", "village.xodr", "(.xodr or .osm) and no map called"),
        ('vehicleCategory="bicycle"', 'vehicleCategory="horse"', "vehicleCategory='horse' is not read"),
        ('dynamicsDimension="rate" value="1.5"', 'dynamicsDimension="rate" value="0"', "must be above 0"),
        ('time="6"', 'time="3"', "the times of its vertices do not rise"),
    ],
)
def test_what_cannot_be_read_is_named_with_file_line_and_cure(tmp_path: Path, old: str, new: str, words: str) -> None:
    swaps = [(old, new)] if new != "<Nurbs>" else [(old, new), ("</Polyline>", "</Nurbs>")]
    with pytest.raises(ScenarioError) as error:
        load_file(changed(tmp_path, *swaps))
    assert "changed.xosc: line " in str(error.value) and words in str(error.value)


def test_a_file_that_is_no_xml_is_named(tmp_path: Path) -> None:
    (tmp_path / "torn.xosc").write_text(SAMPLE.read_text()[:900])
    with pytest.raises(ScenarioError, match=r"torn.xosc: line \d+: not well-formed"):
        load_suite(str(tmp_path))


def test_a_vehicle_comes_from_a_catalog_with_its_parameters(tmp_path: Path) -> None:
    (tmp_path / "Vehicles").mkdir()
    (tmp_path / "Vehicles" / "cars.xosc").write_text(
        "<OpenSCENARIO><FileHeader revMajor='1'/><Catalog name='cars'><Vehicle name='long' vehicleCategory='van'>"
        "<ParameterDeclarations><ParameterDeclaration name='L' value='5'/></ParameterDeclarations>"
        "<BoundingBox><Center x='1.5'/><Dimensions length='$L' width='2' height='2.5'/></BoundingBox>"
        "</Vehicle></Catalog></OpenSCENARIO>"
    )
    old = SAMPLE.read_text().split('<Vehicle name="estate car"')[1].split("</Vehicle>")[0]
    reference = (
        "<CatalogReference catalogName='cars' entryName='long'><ParameterAssignments>"
        "<ParameterAssignment parameterRef='L' value='6.5'/></ParameterAssignments></CatalogReference>"
    )
    places = "<CatalogLocations><VehicleCatalog><Directory path='Vehicles'/></VehicleCatalog></CatalogLocations>"
    file = changed(
        tmp_path,
        ('<Vehicle name="estate car"' + old + "</Vehicle>", reference),
        ("<RoadNetwork>", places + "<RoadNetwork>"),
    )
    van = story_of(load_file(file)[0]).performers[0]
    assert (van.kind, van.length, van.width) == ("van", 6.5, 2.0)


def played(story: Story, town: LaneMap, seconds: float, speed: float) -> tuple[StoryPlayer, list[tuple[float, ...]]]:
    """The story beside an ego that drives straight on; each tick's (x, y, speed) of everybody."""
    player = StoryPlayer(story, town, load_vehicle("robotaxi"))
    rows, start = [], story.start
    for k in range(round(seconds / TICK)):
        x = start.x + speed * k * TICK
        player.step(k * TICK, TICK, x, start.y, start.yaw, speed)
        for mover in player.movers:
            mover.step(TICK, x, start.y, speed)
        rows.append(tuple(v for mover in player.movers for v in (mover.reference.x, mover.reference.y, mover.speed)))
    return player, rows


def test_events_begin_by_their_triggers_and_end_where_they_lead(town: LaneMap) -> None:
    player, rows = played(story_of(load_file(SAMPLE)[0]), town, 30.0, 9.0)
    overtaker = [(row[0] - 318.0 - 9.0 * k * TICK, row[1], row[2]) for k, row in enumerate(rows)]
    begins = next(k for k, (_, y, _) in enumerate(overtaker) if y < INNER - 1e-4)
    length = load_vehicle("robotaxi").length
    gap = overtaker[begins][0] + 1.4 - 2.3 - load_vehicle("robotaxi").center_offset - length / 2.0
    assert gap == pytest.approx(9.0, abs=0.6)  # bumper to bumper, as freespace asks
    ends = next(k for k, (_, y, _) in enumerate(overtaker) if y < MIDDLE + 0.01)
    assert (ends - begins) * TICK == pytest.approx(3.0, abs=0.3)
    assert overtaker[-1][2] == pytest.approx(8.0) and overtaker[-1][1] == pytest.approx(MIDDLE)
    walks = next(k for k, row in enumerate(rows) if row[5] > 0.0)
    assert (500.0 - (318.0 + 9.0 * walks * TICK)) / 9.0 == pytest.approx(6.0, abs=0.05)
    rides = next(k for k, row in enumerate(rows) if row[8] > 0.0)
    assert rows[rides + 200][6:8] == pytest.approx((541.0, -266.0), abs=0.3)  # 4 s on
    assert not player.over


def test_the_story_ends_by_its_stop_trigger_and_the_same_story_plays_the_same(town: LaneMap) -> None:
    story = story_of(load_file(SAMPLE)[0])
    player, rows = played(story, town, 33.0, 9.0)
    assert player.over and player.arrived
    assert rows == played(story, town, 33.0, 9.0)[1]


def test_conditions_count_late_and_by_their_edges(town: LaneMap) -> None:
    (scenario,) = load_file(SAMPLE)
    late = Condition(After("greaterThan", 1.0), "rising", 0.5)
    player, _ = played(replace(story_of(scenario), acts=(), stop=((late,),)), town, 1.4, 9.0)
    assert not player.over
    player, _ = played(replace(story_of(scenario), acts=(), stop=((late,),)), town, 1.6, 9.0)
    assert player.over


def test_a_trajectory_without_times_is_driven_at_the_speed_there_is(town: LaneMap) -> None:
    performer = replace(story_of(load_file(SAMPLE)[0]).performers[2], speed=2.0)
    player = StoryPlayer(
        replace(story_of(load_file(SAMPLE)[0]), performers=(performer,), acts=()), town, load_vehicle("robotaxi")
    )
    (mover,) = player.movers
    action = FollowTrajectory(((538.0, -272.0), (538.0, -268.0), (548.0, -268.0)))
    mover.begin(action, {})
    for _ in range(400):
        mover.step(TICK, 0.0, 0.0, 0.0)
    assert mover.done(action) and mover.travelled == pytest.approx(16.0, abs=0.1)
    assert mover.reference.x == pytest.approx(550.0, abs=0.2) and mover.speed == 2.0  # and on


OWN, OTHER = Body(0.0, 0.0, 0.0, 10.0, 4.0, 2.0, 1.0), Body(30.0, 3.0, 0.0, 5.0, 4.0, 2.0, 1.0)


@pytest.mark.parametrize(
    ("what", "along", "free", "value"),
    [
        ("distance", "cartesian", False, math.hypot(30.0, 3.0)),
        ("distance", "longitudinal", False, 30.0),
        ("distance", "longitudinal", True, 26.0),
        ("distance", "lateral", False, 3.0),
        ("distance", "lateral", True, 1.0),
        ("headway", "longitudinal", False, 3.0),
        ("ttc", "longitudinal", False, 6.0),
        ("ttc", "longitudinal", True, 5.2),
        ("relative_speed", "cartesian", False, 5.0),
    ],
)
def test_what_triggers_measure(what: str, along: str, free: bool, value: float) -> None:
    test = Measured(("a",), False, what, "lessThan", 0.0, "b", along=along, freespace=free)
    assert measure(test, OWN, OTHER) == pytest.approx(value)


def test_nobody_who_drives_apart_will_collide() -> None:
    test = Measured(("a",), False, "ttc", "lessThan", 0.0, place=Pose2(-20.0, 0.0, 0.0), along="longitudinal")
    assert measure(test, OWN, None) == math.inf
    assert meets(2.0, "equalTo", 2.0005) and meets(2.0, "notEqualTo", 2.1) and not meets(2.0, "greaterThan", 2.0)


def test_an_imported_scenario_is_driven(tmp_path: Path, town: LaneMap) -> None:
    (scenario,) = load_file(changed(tmp_path, ('laneId="-2" s="330"', 'laneId="-2" s="80"')))
    vehicle = load_vehicle("robotaxi")
    loop = run.drive(scenario, 0, town, vehicle)
    outcome = checks.judge(scenario, 0, town, vehicle, loop)
    assert outcome.failed == {} and outcome.duration < 8.0

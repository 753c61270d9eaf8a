"""Events of a ride as data: what is wrong in a file is named; each finds its place; each does what it says."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from sim_maps import crossing_map, straight_map

from robotaxi.hdmap import load_map
from robotaxi.sim.events.actors import ActorError
from robotaxi.sim.events.conditions import Conditions, through_air, through_lens
from robotaxi.sim.events.model import SENSOR_FAULTS, catalogue, load_events
from robotaxi.sim.events.script import Script, write_script
from robotaxi.sim.ride_plan import RidePlan, plan_ride
from robotaxi.sim.world import World
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import Command, ObjectClass, Pose2
from robotaxi.vehicle import load_vehicle

CAR = load_vehicle("robotaxi")
ALONE = WorldConfig(traffic_cars=0, pedestrian_count=0)
PLAN = RidePlan(Pose2(10.0, 0.0, 0.0), Pose2(300.0, 0.0, 0.0), Pose2(390.0, 0.0, 0.0), "a", "b", 380.0)


def events_of(folder: Path, text: str):
    file = folder / "day.yaml"
    file.write_text(text)
    return load_events(str(file))


def script_of(folder: Path, text: str, seed: int = 3) -> Script:
    return write_script(events_of(folder, text), straight_map(600.0), PLAN, seed)


def drive(world: World, until_x: float, speed: float = 8.0) -> list:
    """Straight on at a constant speed, whatever comes; a view of every second."""
    views = []
    while world.view().ego.x < until_x and len(views) < 100:
        for _ in range(50):
            ego = world.view().ego
            world.step(Command(world.stamp_ns, -0.02 * ego.y, 2.0 * (speed - ego.speed)))
        views.append(world.view())
    return views


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cut_in: 5\n", "expected a list of events"),
        ("- {at: 5}\n", "field 'event' is missing"),
        ("- {event: earthquake}\n", "event is 'earthquake', allowed are cut_in"),
        ("- {event: cut_in, when: 5}\n", "unknown field 'when'"),
        ("- {event: cut_in, at: [9, 3]}\n", "at is [9, 3], low is above high"),
        ("- {event: mine, actors: [{kind: cow, s: 5}]}\n", "kind is 'cow', allowed are car"),
        ("- {event: fog, weather: {visibility: 1}}\n", "visibility is 1, allowed is 5 to inf"),
        ("- {event: rain, weather: {from: 9, until: 3}}\n", "from 9 until 3 is no span"),
        ("- {event: mine, fault: {kind: gnss_bent}}\n", "kind is 'gnss_bent', allowed are camera_frozen"),
        ("- {event: cut_in, needs: {oncoming: 3}}\n", "oncoming is 3, allowed are true and false"),
        ("- {event: tunnel, weather: {night: dark}}\n", "night is 'dark'"),
        ("- {event: tunnel, at: .nan}\n", "at is nan, expected a number"),
        ("- {event: cut_in, actors: 3}\n", "actors is 3, expected a list"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ActorError) as error:
        events_of(tmp_path, text)
    assert "day.yaml line 1" in str(error.value) and words in str(error.value)


def test_an_unknown_name_is_told_what_there_is() -> None:
    with pytest.raises(ActorError, match="known are: catalogue, hard_day"):
        load_events("nice_day")


def test_every_event_of_the_catalogue_finds_a_place_in_the_town() -> None:
    town = load_map("town")
    plan = plan_ride(town, 1)
    script = write_script(load_events("catalogue"), town, plan, 1)
    with_actors = [name for name, row in catalogue().items() if "actors" in row]
    assert sorted(scene.name for scene in script.scenes) == sorted(with_actors)
    assert len(script.spells) == 4
    again = write_script(load_events("catalogue"), town, plan, 1)
    assert [scene.at for scene in again.scenes] == [scene.at for scene in script.scenes]


def test_an_event_without_a_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(ActorError, match=r"day.yaml\[0\] \(stopped_vehicle\): no place for it"):
        script_of(tmp_path, "- {event: stopped_vehicle, at: 100}\n")  # there is no oncoming lane


def test_a_world_without_events_is_the_same_bytes(tmp_path: Path) -> None:
    """A script with nothing on the way changes nothing, and no script is as before."""

    def run(script: Script | None) -> bytes:
        world = World(crossing_map(), CAR, WorldConfig(traffic_cars=8), 4, Pose2(60.0, 1.75, math.pi), script=script)
        for _ in range(200):
            world.step(Command(world.stamp_ns, 0.0, 0.5))
        view = world.view()
        return repr((view.ego, view.lights)).encode() + view.agents.tobytes()

    late = script_of(tmp_path, "- {event: fog, weather: {from: 500}}\n")
    assert run(None) == run(late)


def test_a_cut_in_overtakes_and_comes_into_the_lane_ahead(tmp_path: Path) -> None:
    script = script_of(tmp_path, "- {event: cut_in, at: 100}\n")
    world = World(straight_map(600.0), CAR, ALONE, 1, PLAN.start, script=script)
    views = drive(world, 330.0)
    seen = [v for v in views if len(v.agents)]
    aside = [float(v.agents["y"][0]) for v in seen]
    ahead = [float(v.agents["x"][0]) - v.ego.x for v in seen]
    assert max(aside) > 3.0 and ahead[0] < -20.0
    cut = next(k for k, y in enumerate(aside) if abs(y) < 0.3)
    assert 4.0 < ahead[cut] < 25.0
    assert not world.infractions


def test_a_lead_brakes_hard_and_goes_on(tmp_path: Path) -> None:
    world = World(straight_map(600.0), CAR, ALONE, 1, PLAN.start, script=script_of(
        tmp_path, "- {event: hard_braking_lead, at: 60}\n"))  # fmt: skip
    speeds = []
    for _ in range(40 * 50):
        view = world.view()
        gap = float(view.agents["x"][0]) - view.ego.x if len(view.agents) else math.inf
        wanted = min(6.0, max(0.5 * (gap - 12.0), 0.0))
        world.step(Command(world.stamp_ns, 0.0, 3.0 * (wanted - view.ego.speed)))
        if len(view.agents):
            speeds.append(math.hypot(float(view.agents["vx"][0]), float(view.agents["vy"][0])))
    drop = -np.diff(np.array(speeds)) * 50.0
    assert drop.max() == pytest.approx(7.0, abs=0.5)
    stopped = next(k for k in range(1, len(speeds)) if speeds[k] == 0.0 and speeds[k - 1] > 0.0)
    assert max(speeds[stopped:]) > 6.0
    assert not world.infractions


def test_who_is_hit_is_judged_and_thrown(tmp_path: Path) -> None:
    actors = "[{kind: pedestrian, s: 0, offset: 0}, {kind: box, s: 40}]"
    script = script_of(tmp_path, f"- {{event: mine, at: 60, actors: {actors}}}\n")
    world = World(straight_map(600.0), CAR, ALONE, 1, PLAN.start, script=script)
    drive(world, 130.0)
    kinds = [item.kind for item in world.infractions]
    assert kinds[:2] == ["collision_pedestrian", "collision_static"]
    assert all(item.at_fault for item in world.infractions[:2])


def test_a_snapshot_holds_the_scene(tmp_path: Path) -> None:
    script = script_of(tmp_path, "- {event: jaywalker, at: 60}\n")
    world = World(straight_map(600.0), CAR, ALONE, 1, PLAN.start, script=script)
    drive(world, 35.0)
    kept = world.snapshot()
    drive(world, 70.0)
    expected = world.view().agents.tobytes()
    world.restore(kept)
    drive(world, 70.0)
    assert world.view().agents.tobytes() == expected
    assert set(world.view().agents["label"]) == {int(ObjectClass.TRUCK), int(ObjectClass.PEDESTRIAN)}


def test_tunnel_and_weather_hold_where_and_when_they_should(tmp_path: Path) -> None:
    script = script_of(tmp_path, "- {event: tunnel, at: 100}\n- {event: fog, weather: {from: 5, until: 9}}\n")
    world = World(straight_map(600.0), CAR, ALONE, 1, PLAN.start, script=script)
    for view in drive(world, 300.0):
        inside = 105.0 < view.ego.x - 10.0 < 215.0  # by the box, whose centre is ahead of the ego's axle
        outside = view.ego.x - 10.0 < 90.0 or view.ego.x - 10.0 > 225.0
        t = view.stamp_ns * 1e-9
        here = view.conditions or Conditions()
        assert here.satellites != inside or not (inside or outside)
        assert (here.visibility == 60.0) == (5.0 <= t < 9.0)


def test_faults_become_rows_of_injections(tmp_path: Path) -> None:
    script = script_of(tmp_path, "- {event: mine, fault: {kind: gnss_jump, from: [20, 30], until: 40, value: 5}}\n")
    kind, topic, start, end, value = script.injections[0].split()
    assert (kind, topic, float(end), float(value)) == ("gnss_jump", "sensing/gnss/fix", 40.0, 5.0)
    assert 20.0 <= float(start) <= 30.0
    assert len(SENSOR_FAULTS) >= 15


def test_rain_and_fog_thin_the_sweep_and_veil_the_picture() -> None:
    distance = np.linspace(2.0, 100.0, 20_000, dtype=np.float32)
    cosine = np.full(20_000, 0.8, np.float32)
    echoes = {}
    for name, here in (("fog", Conditions(visibility=50.0)), ("rain", Conditions(rain=30.0))):
        measured, weaker = through_air(here, distance, cosine, np.random.default_rng(1))
        drops = measured < distance - 1.0
        assert 0.005 < drops.mean() < 0.2
        assert weaker[~drops][-1] < 0.95 * cosine[0]
        echoes[name] = weaker[~drops][-1]
    assert echoes["fog"] < 0.01 < echoes["rain"]
    picture = np.full((10, 10, 3), 120, np.uint8)
    picture[:, ::2] = 40
    depth = np.full((10, 10), 80.0, np.float32)
    foggy, dark = picture.copy(), picture.copy()
    through_lens(Conditions(visibility=60.0), foggy, depth, np.random.default_rng(1))
    through_lens(Conditions(light=0.1), dark, depth, np.random.default_rng(1))
    assert np.ptp(foggy[..., 0]) < 5 < np.ptp(picture[..., 0])
    assert dark.mean() < 0.3 * picture.mean()

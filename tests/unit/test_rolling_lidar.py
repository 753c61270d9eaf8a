"""A lidar that turns while the car drives: where its points are, and that each user of them puts them right again."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
from control_track import VEHICLE
from sim_scenery_map import crossing_map

from robotaxi.geometry.se3 import inverse, transform
from robotaxi.localization.sweep_match import compensated
from robotaxi.params import ParameterError
from robotaxi.perception.lidar import LidarPerception, LidarPerceptionConfig
from robotaxi.perception.lidar.preprocess import PreprocessConfig, to_base_link
from robotaxi.safety import GateConfig
from robotaxi.safety.corridor import obstacles
from robotaxi.safety.motion import way_ahead
from robotaxi.sensor_rig import load_rig
from robotaxi.sim.mesh import Material, join, make_mesh, quads
from robotaxi.sim.scenery import build_scenery
from robotaxi.sim.sensors.lidar import Lidar
from robotaxi.sim.view import AGENT_DTYPE, EgoTruth, Moment, WorldView
from robotaxi.sim.world import World
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import Command, EgoState, LidarSweep, ObjectClass, Pose2

SPEC = dataclasses.replace(load_rig("robotaxi").lidars["top"], rolling=True, range_sigma=0.0)
WALL = 25.0  # m ahead, and to the left and right
SPEED, TURN, PUSH = 12.0, 0.4, 2.0  # m/s, rad/s, m/s^2 at the stamp
STATE = EgoState(0, 0.0, 0.0, 0.0, SPEED, yaw_rate=TURN)


def lidar(things: bool = True) -> Lidar:
    """Between walls, or on an empty plane."""
    w = WALL
    walls = quads([[[w, w, 0], [w, -w, 0], [w, -w, 4], [w, w, 4]], [[-w, w, 0], [w, w, 0], [w, w, 4], [-w, w, 4]],
                   [[-w, -w, 0], [w, -w, 0], [w, -w, 4], [-w, -w, 4]]])  # fmt: skip
    road = make_mesh(
        quads([[[-200, -200, 0], [200, -200, 0], [200, 200, 0], [-200, 200, 0]]]), Material.ROAD, (0, 0, 0)
    )
    mesh = join([road, make_mesh(walls, Material.FACADE, (1, 1, 1))]) if things else road
    return Lidar(SimpleNamespace(mesh=mesh, instance=np.zeros(len(mesh), np.uint32)), SPEC, 1)  # type: ignore[arg-type]


def bend(t: float) -> tuple[float, float, float, float]:
    """x, y, z, yaw of a car that pushes on through a bend; at time 0 in the origin."""
    s = SPEED * t + 0.5 * PUSH * t * t
    at = np.linspace(0.0, t, 201)
    yaw = TURN * at
    v = SPEED + PUSH * at
    return (
        float(np.trapezoid(v * np.cos(yaw), at)) if s else 0.0,
        float(np.trapezoid(v * np.sin(yaw), at)),
        0.0,
        TURN * t,
    )


def view_of(pose, agents=lambda t: np.zeros(0, AGENT_DTYPE), at: float = 0.0, speed: float = SPEED) -> WorldView:
    """The world at the time ``at``, and what it remembers."""
    stamp = round(at * 1e9)
    past = tuple(Moment(stamp - k * 20_000_000, pose(at - 0.02 * k), agents(at - 0.02 * k)) for k in range(10, 0, -1))
    ego = EgoTruth(stamp, *pose(at), speed, 0.0, 0.0, 0.0, TURN, 0.0)
    return WorldView(stamp, ego, agents(at), {}, None, past)


def off_the_walls(points: np.ndarray) -> np.ndarray:
    """(N,) distance of points (N, 3) in base_link, above the road, from the nearest wall."""
    points = points[points[:, 2] > 0.3]
    planes = np.stack([points[:, 0] - WALL, points[:, 1] - WALL, points[:, 1] + WALL])
    return np.abs(planes).min(axis=0)


def test_walls_are_straight_again_at_the_stamp() -> None:
    sweep = LidarSweep(0, lidar().sweep(view_of(bend)), SPEC.T_base_sensor)
    assert sweep.points["time"].max() <= 0.0 and -0.1 < sweep.points["time"].min() < -0.09
    ahead = np.abs(np.arctan2(sweep.points["y"], sweep.points["x"])) < 0.1
    assert abs(float(np.median(sweep.points["time"][ahead])) + 0.05) < 0.005  # the cut is behind the car
    raw, _ = to_base_link(sweep, STATE, VEHICLE, PreprocessConfig(motion_compensation=False))
    seen, when = to_base_link(sweep, STATE, VEHICLE, PreprocessConfig())
    assert np.percentile(off_the_walls(raw), 90) > 0.5
    assert np.percentile(off_the_walls(seen), 99) < 0.04 and when.min() < -0.09
    x, y, z, yaw = bend(-0.1)
    moved = compensated(sweep, inverse(transform(x, y, z, yaw=yaw)), 0.1)  # as localization knows it
    seen, _ = to_base_link(dataclasses.replace(moved, points=moved.points[["x", "y", "z"]]), None, VEHICLE,
                           PreprocessConfig())  # fmt: skip
    assert np.percentile(off_the_walls(seen), 99) < 0.04


def test_the_gate_takes_a_wall_ahead_for_where_it_is() -> None:
    sweep = LidarSweep(0, lidar().sweep(view_of(bend)), SPEC.T_base_sensor)
    way = way_ahead(None, None, None, 0.0, VEHICLE.wheelbase, 40.0)
    found = obstacles(GateConfig(), VEHICLE, sweep, way, (SPEED, TURN))
    assert found[0] == pytest.approx([WALL - VEHICLE.front, -0.05], abs=0.06)
    for uncompensated in (
        obstacles(GateConfig(), VEHICLE, sweep, way),
        obstacles(GateConfig(motion_compensation=False), VEHICLE, sweep, way, (SPEED, TURN)),
    ):
        assert uncompensated[0, 0] > WALL - VEHICLE.front + 0.4


def test_a_car_is_met_where_it_is_as_the_beam_passes() -> None:
    """It comes up from behind on the left: one shape, at one time of the sweep."""

    def overtaking(t: float) -> np.ndarray:
        agent = np.zeros(1, AGENT_DTYPE)
        agent[0] = (7, ObjectClass.CAR, 0, 1.0 + 20.0 * t, 4.0, 0.0, 0.0, 4.5, 1.8, 1.5, 20.0, 0.0, 0.0)
        return agent

    def straight(t: float) -> tuple[float, float, float, float]:
        return SPEED * t, 0.0, 0.0, 0.0

    state = dataclasses.replace(STATE, yaw_rate=0.0)
    points, when = to_base_link(
        LidarSweep(0, lidar(False).sweep(view_of(straight, overtaking)), SPEC.T_base_sensor), state, VEHICLE,
        PreprocessConfig(),
    )  # fmt: skip
    on_it = (points[:, 2] > 0.2) & (points[:, 2] < 1.2)
    then = float(np.median(when[on_it]))
    assert then == pytest.approx(-0.025, abs=0.005)  # abreast: a quarter of the turn before the stamp
    low, high = points[on_it, 0].min(), points[on_it, 0].max()
    assert (low + high) / 2.0 == pytest.approx(1.0 + 20.0 * then, abs=0.15) and high - low < 4.6


@pytest.mark.parametrize(("y", "speed"), [(3.5, -14.0), (-3.5, 10.0), (3.5, 16.0)])
def test_tracks_are_where_things_are_at_the_stamp(y: float, speed: float) -> None:
    """Oncoming, keeping pace, and overtaking cars, while the car drives at 12 m/s."""

    def straight(t: float) -> tuple[float, float, float, float]:
        return SPEED * t, 0.0, 0.0, 0.0

    def other(t: float) -> np.ndarray:
        agent = np.zeros(1, AGENT_DTYPE)
        x = (SPEED if speed > 0.0 else 60.0 + SPEED * 0.5) + speed * t - (8.0 if speed > SPEED else 4.0)
        agent[0] = (7, ObjectClass.CAR, 0, x, y, 0.0, math.atan2(0.0, speed), 4.5, 1.8, 1.5, speed, 0.0, 0.0)
        return agent

    perception, sensor = LidarPerception(LidarPerceptionConfig(), VEHICLE, None), lidar(False)
    for k in range(20):
        t = 0.1 * k
        sweep = LidarSweep(round(t * 1e9), sensor.sweep(view_of(straight, other, t)), SPEC.T_base_sensor)
        seen = perception.step(sweep, EgoState(sweep.stamp_ns, *straight(t)[:2], 0.0, SPEED)).objects
    assert len(seen) == 1
    assert seen["x"][0] == pytest.approx(float(other(t)["x"][0]), abs=0.35)
    assert seen["vx"][0] == pytest.approx(speed, abs=0.5)


def test_the_world_remembers_alike_after_a_restore() -> None:
    scenery = build_scenery(crossing_map())
    world = World(crossing_map(), VEHICLE, WorldConfig(traffic_cars=6), 4, Pose2(60.0, 1.75, math.pi))
    sensor = Lidar(scenery, SPEC, 3)
    for _ in range(60):
        world.step(Command(world.stamp_ns, 0.2, 2.0))
    kept = world.snapshot()

    def next_sweep() -> bytes:
        for _ in range(3):
            world.step(Command(world.stamp_ns, 0.1, 2.0))
        return sensor.sweep(world.view()).tobytes()

    first = next_sweep()
    for _ in range(10):
        world.step(None)
    world.restore(kept)
    assert next_sweep() == first
    assert world.view().past[-1].stamp_ns == world.stamp_ns - 20_000_000


def test_a_lidar_that_turns_slower_than_the_world_remembers_is_refused(tmp_path) -> None:
    text = (load_rig_text()).replace("    rate_hz: 10.0\n    x: 1.2", "    rate_hz: 4.0\n    x: 1.2")
    text = text.replace("    range_sigma: 0.02\n", "    range_sigma: 0.02\n    rolling: true\n", 1)
    (tmp_path / "slow.yaml").write_text(text)
    with pytest.raises(ParameterError, match="rate_hz"):
        load_rig(tmp_path / "slow.yaml")


def load_rig_text() -> str:
    from robotaxi.resources import config_dir

    lines = (config_dir() / "sensors" / "robotaxi.yaml").read_text().splitlines()
    return "\n".join(line for line in lines if "rolling" not in line) + "\n"

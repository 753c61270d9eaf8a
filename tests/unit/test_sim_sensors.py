"""Lidar, camera, GNSS, IMU and wheels: they measure the truth, with the errors their spec names."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import subprocess
import sys

import numpy as np
import pytest
from sim_scenery_map import crossing_map

from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.perception.camera import TrafficLightConfig, TrafficLightRecognition
from robotaxi.sensor_rig import GnssSpec, ImuSpec, LidarSpec, WheelSpec, load_rig
from robotaxi.sim.scenery import Scenery, build_scenery
from robotaxi.sim.sensors.camera import Camera
from robotaxi.sim.sensors.gnss import Gnss
from robotaxi.sim.sensors.imu import GRAVITY, Imu
from robotaxi.sim.sensors.lidar import POINT_DTYPE, Lidar
from robotaxi.sim.sensors.noise import CorrelatedNoise
from robotaxi.sim.sensors.wheels import Wheels
from robotaxi.sim.view import AGENT_DTYPE, EgoTruth, WorldView
from robotaxi.types import EgoState, LightShape, LightState, ObjectClass

RIG = load_rig("robotaxi")
NOBODY = np.zeros(0, AGENT_DTYPE)


def ego(x: float = 80.0, y: float = 1.75, yaw: float = math.pi, stamp_ns: int = 0, **more: float) -> EgoTruth:
    names = ("speed", "lateral_speed", "acceleration", "lateral_acceleration", "yaw_rate", "steering")
    state = {**dict.fromkeys(names, 0.0), "speed": 8.0, **more}
    return EgoTruth(stamp_ns, x, y, 0.0, yaw, **state)


def car(x: float, y: float, yaw: float = 0.0, label: ObjectClass = ObjectClass.CAR) -> np.ndarray:
    agent = np.zeros(1, AGENT_DTYPE)
    agent[0] = (77, label, 4, x, y, 0.0, yaw, 4.5, 1.8, 1.5, 0.0, 0.0, 0.0)
    return agent


@pytest.fixture(scope="module")
def scenery() -> Scenery:
    return build_scenery(crossing_map())


@pytest.fixture(scope="module")
def lidar(scenery: Scenery) -> Lidar:
    return Lidar(scenery, RIG.lidars["top"], seed=3)


@pytest.fixture(scope="module")
def camera(scenery: Scenery) -> Camera:
    return Camera(scenery, RIG.cameras["front"], seed=3)


# ---------------------------------------------------------------------------- lidar


def test_sweep_has_its_fields_and_finite_points_in_range(lidar: Lidar) -> None:
    points = lidar.sweep(WorldView(0, ego(), NOBODY, {}))
    assert points.dtype == POINT_DTYPE
    assert 20_000 < len(points) <= 57_600
    distance = np.sqrt(points["x"] ** 2 + points["y"] ** 2 + points["z"] ** 2)
    assert distance.min() > 0.9 and distance.max() < 100.5
    assert points["ring"].max() == 31 and points["time"].min() > -0.1 and points["time"].max() <= 0.0
    assert points["intensity"].min() >= 0.0 and points["intensity"].max() <= 1.0


def test_road_around_the_car_is_flat_within_the_range_noise(lidar: Lidar) -> None:
    points = lidar.sweep(WorldView(0, ego(), NOBODY, {}))
    below = (np.abs(points["y"]) < 1.0) & (points["x"] > 0.0) & (points["x"] < 15.0) & (points["z"] < -1.0)
    height = points["z"][below] + RIG.lidars["top"].z
    assert below.sum() > 50
    assert abs(float(height.mean())) < 0.01 and float(height.std()) < 0.02


def test_a_car_ahead_is_seen_where_it_is(lidar: Lidar) -> None:
    """Its rear, 15 m before the car's base_link, is a flat wall of points."""
    empty = lidar.sweep(WorldView(0, ego(), NOBODY, {}))
    seen = lidar.sweep(WorldView(0, ego(), car(80.0 - 15.0 - 2.25, 1.75, math.pi), {}))

    def wall(points: np.ndarray) -> np.ndarray:
        x = points["x"] + RIG.lidars["top"].x
        return x[(np.abs(points["y"]) < 0.8) & (np.abs(x - 15.0) < 0.5) & (points["z"] > -1.5)]

    assert len(wall(empty)) == 0
    assert len(wall(seen)) > 60
    assert float(np.median(wall(seen))) == pytest.approx(15.0, abs=0.1)


def test_a_yawed_lidar_sees_the_same_car(scenery: Scenery) -> None:
    spec = dataclasses.replace(RIG.lidars["top"], yaw_deg=120.0)
    view = WorldView(0, ego(), car(60.0, 1.75), {})
    points = Lidar(scenery, spec, 3).sweep(view)
    in_base = spec.T_base_sensor @ np.stack([points["x"], points["y"], points["z"], np.ones(len(points))])
    hits = (np.abs(in_base[0] - 18.0) < 0.8) & (np.abs(in_base[1]) < 0.8) & (in_base[2] > 0.3) & (in_base[2] < 1.6)
    assert hits.sum() > 30


def test_far_and_grazing_beams_are_lost_more_often(lidar: Lidar) -> None:
    """A return needs an echo: asphalt at 10 m comes back, at 70 m mostly not."""
    points = lidar.sweep(WorldView(0, ego(), NOBODY, {}))
    counts = np.bincount(points["ring"], minlength=32)
    assert counts[0] > 1700
    road = (np.abs(points["y"]) < 3.0) & (points["z"] < -1.7) & (points["x"] > 60.0)
    assert road.sum() < 20


def test_sweep_is_the_same_in_another_process(lidar: Lidar) -> None:
    view = WorldView(100_000_000, ego(), car(60.0, 1.75), {})
    here = hashlib.sha256(lidar.sweep(view).tobytes()).hexdigest()
    lidar.sweep(WorldView(0, ego(50.0), NOBODY, {}))
    assert hashlib.sha256(lidar.sweep(view).tobytes()).hexdigest() == here
    code = (
        "import hashlib, test_sim_sensors as t\n"
        "scene = t.build_scenery(t.crossing_map())\n"
        "view = t.WorldView(100_000_000, t.ego(), t.car(60.0, 1.75), {})\n"
        "print(hashlib.sha256(t.Lidar(scene, t.RIG.lidars['top'], 3).sweep(view).tobytes()).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "99"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == here


def test_agents_with_bad_positions_are_left_out(lidar: Lidar) -> None:
    broken = car(float("nan"), 1.75)
    assert len(lidar.sweep(WorldView(0, ego(), broken, {}))) == len(lidar.sweep(WorldView(0, ego(), NOBODY, {})))


# ---------------------------------------------------------------------------- camera


def test_picture_has_sky_above_and_road_below(camera: Camera) -> None:
    image = camera.render(WorldView(0, ego(), NOBODY, {}))
    assert image.shape == (360, 640, 3) and image.dtype == np.uint8
    sky, road = image[20:60, 250:400].mean((0, 1)), image[320:350, 250:400].mean((0, 1))
    assert sky[0] > sky[2] + 20  # blue
    assert np.ptp(road) < 15 and 40 < road.mean() < 120  # grey


def test_depth_and_instance_of_a_car_ahead(camera: Camera) -> None:
    frame = camera.render_frame(WorldView(0, ego(), car(60.0, 1.75, math.pi), {}))
    mine = frame.instance == 77
    expected = 80.0 - (60.0 + 2.25) - RIG.cameras["front"].x
    assert mine.sum() > 500
    assert float(frame.depth[mine].min()) == pytest.approx(expected, rel=0.03)
    assert frame.depth[5, 320] == np.inf and frame.instance[5, 320] == 0


@pytest.mark.parametrize(
    ("state", "row", "brightest"),
    [(LightState.RED, 1, 2), (LightState.AMBER, 0, 2), (LightState.GREEN, -1, 1)],
)
def test_lit_lamp_shows_at_60_m(camera: Camera, state: LightState, row: int, brightest: int) -> None:
    signal = crossing_map().signals[200]
    view = WorldView(0, ego(x=float(signal.position[0]) + 62.0), NOBODY, {200: state})
    T_map_base = np.diag([-1.0, -1.0, 1.0, 1.0])
    T_map_base[:3, 3] = view.ego.x, view.ego.y, 0.0
    lamp = np.append(signal.position, 1.0) + np.array([0.0, 0.0, row * signal.height / 3.0, 0.0])
    x, y, z, _ = np.linalg.inv(T_map_base @ camera.model.T_base_optical) @ lamp
    u, v = round(camera.model.fx * x / z + camera.model.cx), round(camera.model.fy * y / z + camera.model.cy)
    lit = camera.render(view)[v, u].astype(int)
    off = camera.render(dataclasses.replace(view, lights={200: LightState.OFF}))[v, u].astype(int)
    assert lit[brightest] > 180 and lit[brightest] - off[brightest] > 100
    assert lit.argmax() == brightest
    assert off.max() < 90


@pytest.mark.parametrize(
    ("state", "shape"),
    [
        (LightState.RED, LightShape.CIRCLE), (LightState.GREEN, LightShape.CIRCLE), (LightState.OFF, LightShape.CIRCLE),
        (LightState.RED, LightShape.LEFT_ARROW), (LightState.GREEN, LightShape.RIGHT_ARROW),
        (LightState.GREEN, LightShape.UP_ARROW), (LightState.OFF, LightShape.UP_ARROW),
    ],
)  # fmt: skip
def test_lamps_are_recognised_with_their_shape_and_when_dark(
    scenery: Scenery, state: LightState, shape: LightShape
) -> None:
    """Also where the map takes an arrow for a round light."""
    road = crossing_map()
    head = road.signals[200]
    drawn = dataclasses.replace(scenery, signals=(dataclasses.replace(head, shape=shape),))
    camera = Camera(drawn, RIG.cameras["front"], seed=3)
    truth = ego(x=float(head.position[0]) + 12.0)
    image = camera.render(WorldView(0, truth, NOBODY, {200: state}))
    told = dataclasses.replace(road, signals={200: dataclasses.replace(head, shape=LightShape.CIRCLE)})
    lights = TrafficLightRecognition(TrafficLightConfig(), told, camera.model)
    for k in range(12):
        pose = EgoState(k * 200_000_000, truth.x, truth.y, truth.yaw, 0.0)
        (out,) = lights.step(image, pose.stamp_ns, pose)
    assert out["state"] == state
    if state != LightState.OFF:
        assert out["shape"] == shape


def test_lamps_seen_from_behind_are_dark(camera: Camera) -> None:
    view = WorldView(0, ego(x=-40.0, y=-1.75, yaw=0.0), NOBODY, {})
    dark = camera.render(view)
    assert (camera.render(dataclasses.replace(view, lights={200: LightState.RED})) == dark).all()


def test_picture_depends_on_the_view_alone(camera: Camera, scenery: Scenery) -> None:
    view = WorldView(40_000_000, ego(), car(60.0, 1.75), {200: LightState.RED})
    first = camera.render(view)
    camera.render(WorldView(0, ego(50.0), NOBODY, {}))
    assert (camera.render(view) == first).all()
    assert (Camera(scenery, RIG.cameras["front"], seed=3).render(view) == first).all()
    assert (Camera(scenery, RIG.cameras["front"], seed=4).render(view) != first).any()


# ---------------------------------------------------------------------------- GNSS, IMU, wheels


def test_perfect_gnss_gives_the_antenna() -> None:
    spec = GnssSpec(x=0.6, z=1.6, sigma_horizontal=0.0, sigma_vertical=0.0, bias_sigma=0.0)
    fix = Gnss(spec, (48.0, 11.0, 500.0), 1).measure(ego(10.0, 20.0, math.pi / 2))
    x, y, z = LocalFrame(48.0, 11.0, 500.0).to_map(fix.latitude_deg, fix.longitude_deg, fix.altitude)
    assert (x, y, z) == pytest.approx((10.0, 20.6, 1.6), abs=1e-6)


def test_gnss_error_is_as_large_as_it_says() -> None:
    gnss = Gnss(RIG.gnss, (48.0, 11.0, 500.0), 1)
    frame = LocalFrame(48.0, 11.0, 500.0)
    errors = []
    for k in range(600):
        fix = gnss.measure(ego(0.0, 0.0, 0.0, k * 2_000_000_000))
        errors.append(frame.to_map(fix.latitude_deg, fix.longitude_deg, fix.altitude)[:2])
    spread = np.std(np.array(errors) - (RIG.gnss.x, 0.0))
    assert 0.6 * fix.sigma[0] < spread < 1.6 * fix.sigma[0]


def test_correlated_noise_forgets_with_its_time_constant() -> None:
    noise = CorrelatedNoise(5, "x", 1.0, 60.0, 200)
    now, soon, late = (noise.at(int(t * 1e9)) for t in (1000.0, 1030.0, 2000.0))
    assert float(now.std()) == pytest.approx(1.0, abs=0.15)
    assert float((now * soon).mean()) == pytest.approx(math.exp(-0.5), abs=0.2)
    assert abs(float((now * late).mean())) < 0.25


def test_imu_feels_gravity_and_the_curve() -> None:
    quiet = {
        f.name: 0.0
        for f in dataclasses.fields(ImuSpec)
        if f.name.endswith(("_sigma", "heading_bias_deg", "heading_sigma_deg"))
    }
    sample = Imu(ImuSpec(**quiet), 1).measure(ego(yaw=4.0, acceleration=1.0, lateral_acceleration=2.4, yaw_rate=0.3))
    assert sample.acceleration == pytest.approx([1.0, 2.4, GRAVITY])
    assert sample.angular_rate == pytest.approx([0.0, 0.0, 0.3])
    assert sample.heading == pytest.approx(4.0 - 2.0 * math.pi)


def test_imu_without_heading_says_so() -> None:
    assert math.isnan(Imu(ImuSpec(has_heading=False), 1).measure(ego()).heading)


def test_imu_bias_stays_and_noise_does_not() -> None:
    imu = Imu(RIG.imu, 9)
    rates = np.array([imu.measure(ego(stamp_ns=k * 20_000_000)).angular_rate for k in range(500)])
    assert rates.std(axis=0) == pytest.approx(RIG.imu.angular_rate_sigma, rel=0.2)
    assert imu.measure(ego(stamp_ns=7)).angular_rate.tolist() == imu.measure(ego(stamp_ns=7)).angular_rate.tolist()


def test_wheels_stand_still_exactly_and_scale_otherwise() -> None:
    wheels = Wheels(RIG.wheels, 1)
    assert wheels.measure(ego(speed=0.0)).speed == 0.0
    speeds = [wheels.measure(ego(speed=10.0, stamp_ns=k)).speed for k in range(200)]
    assert abs(float(np.mean(speeds)) - 10.0) < 0.2
    assert all(abs(s / RIG.wheels.speed_step - round(s / RIG.wheels.speed_step)) < 1e-6 for s in speeds)
    report = Wheels(WheelSpec(), 1).measure(ego(), door_open=True, belt_fastened=True)
    assert report.door_open and report.belt_fastened and not report.seat_occupied


def test_beams_rise_and_are_densest_around_the_horizon() -> None:
    elevation = np.degrees(LidarSpec().elevations)
    assert len(elevation) == 32 and elevation[0] == pytest.approx(-25.0) and elevation[-1] == pytest.approx(15.0)
    step = np.diff(elevation)
    assert (step > 0.0).all()
    assert step[(elevation[:-1] > -8.0) & (elevation[1:] < 2.0)].max() < 0.6

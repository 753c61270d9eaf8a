"""Lidar perception on small scenes: what is found, where, how fast, and what happens to bad input."""

import math

import numpy as np
import pytest
from perception_scene import PERIOD_NS, T_BASE_LIDAR, VEHICLE, Thing, cast, ego_at
from sim_maps import straight_map

from robotaxi.params import ParameterError, build
from robotaxi.perception.lidar import LidarPerception, LidarPerceptionConfig, RoadFilter, SweepError
from robotaxi.types import OBJECT_DTYPE, OBSTACLE_DTYPE, EgoState, LidarSweep, ObjectClass


def perception(road=None, **values):
    return LidarPerception(LidarPerceptionConfig(**values), VEHICLE, road)


def drive(pipeline, things, sweeps, speed=0.0, first=0, **scene):
    """Outputs of ``sweeps`` sweeps while the ego drives along x at ``speed``."""
    outputs = []
    for k in range(first, first + sweeps):
        ego = ego_at(k * PERIOD_NS, speed)
        outputs.append(pipeline.step(cast(things, ego, **scene), ego))
    return outputs


def nearest(objects, thing, t=0.0):
    """The object nearest to the thing and its distance."""
    now = thing.at(t)
    distance = np.hypot(objects["x"] - now.x, objects["y"] - now.y)
    assert len(objects), "nothing was found"
    return objects[distance.argmin()], float(distance.min())


def test_parked_cars_are_found_and_stay_at_rest_while_the_ego_passes():
    parked = [Thing(20.0 + 7.0 * k, -3.6) for k in range(3)] + [Thing(30.0, 4.0, yaw=math.pi)]
    for k, output in enumerate(drive(perception(), parked, 32, speed=10.0)):
        assert np.all(np.hypot(output.objects["vx"], output.objects["vy"]) < 0.3), k
        if k >= 8:
            close = [car for car in parked if abs(car.x - k) < 20.0]
            for car in close:
                found, distance = nearest(output.objects, car)
                assert distance < 1.5 and found["static"] == 1 and found["label"] == ObjectClass.CAR, (k, car)


def test_a_passed_car_keeps_its_id_and_its_place():
    car = Thing(25.0, 3.5)
    seen = [nearest(output.objects, car) for output in drive(perception(), [car], 50, speed=10.0)[5:]]
    assert len({int(found["id"]) for found, _ in seen}) == 1
    assert max(distance for _, distance in seen[12:]) < 0.35


@pytest.mark.parametrize("relative", [-6.0, 0.0, 5.0])
def test_speed_of_a_lead_car(relative):
    lead = Thing(22.0, 0.0, speed=10.0 + relative)
    for k, output in enumerate(drive(perception(), [lead], 26, speed=10.0)):
        if k >= 15:
            found, distance = nearest(output.objects, lead, k * 0.1)
            assert math.hypot(found["vx"] - lead.speed, found["vy"]) < 0.5
            assert distance < 0.6 and found["static"] == 0


def test_an_oncoming_car_heads_where_it_goes():
    oncoming = Thing(60.0, 3.5, yaw=math.pi, speed=12.0)
    output = drive(perception(), [oncoming], 20, speed=8.0)[-1]
    found, _ = nearest(output.objects, oncoming, 1.9)
    assert abs(found["vx"] + 12.0) < 0.7 and math.cos(found["yaw"]) < -0.98


def test_a_pedestrian_at_25_m():
    walker = Thing(25.0, -4.0, 0.5, 0.5, 1.75, yaw=math.pi / 2, speed=1.4)
    output = drive(perception(), [walker], 20)[-1]
    found, distance = nearest(output.objects, walker, 1.9)
    assert distance < 0.4 and found["label"] == ObjectClass.PEDESTRIAN
    assert math.hypot(found["vx"], found["vy"] - 1.4) < 0.4


def test_a_car_that_starts_is_seen_to_move_within_a_second():
    output = perception()
    car = Thing(15.0, 3.5)
    drive(output, [car], 10)
    starting = Thing(15.0 - 3.0 * 1.0, 3.5, speed=3.0)  # at x = 15 when t = 1 s
    moved = [nearest(o.objects, starting, 1.0 + 0.1 * k)[0]["static"] == 0
             for k, o in enumerate(drive(output, [starting], 10, first=10))]  # fmt: skip
    assert moved[-1] and not moved[0]


def test_a_hidden_car_coasts_and_keeps_its_id():
    pipeline = perception()
    car, truck = Thing(25.0, 0.0, speed=5.0), Thing(9.0, 0.0, 2.5, 3.0, 3.0)
    before, _ = nearest(drive(pipeline, [car], 12)[-1].objects, car, 1.1)
    hidden = drive(pipeline, [car, truck], 7, first=12)[-1].objects
    during, distance = nearest(hidden, car, 1.8)
    assert during["id"] == before["id"] and distance < 1.5 and during["existence"] < before["existence"]
    after, _ = nearest(drive(pipeline, [car], 3, first=19)[-1].objects, car, 2.1)
    assert after["id"] == before["id"]


def test_the_rest_of_a_car_behind_another_is_no_pedestrian():
    front, hidden = Thing(15.0, 3.0, 2.0, 1.8, 2.0), Thing(26.0, 4.4, 2.0, 1.8, 1.6)
    output = drive(perception(), [front, hidden], 5)[-1]
    assert ObjectClass.PEDESTRIAN not in output.objects["label"]


@pytest.mark.parametrize("grade", [-0.08, -0.03, 0.03, 0.08])
def test_a_slope_is_ground_and_a_car_on_it_is_not(grade):
    car = Thing(22.0, 2.5)
    output = drive(perception(), [car], 4, grade=grade)[-1]
    assert len(output.objects) == 1 and nearest(output.objects, car)[1] < 0.8
    off_the_car = np.abs(output.obstacle_points["x"] - 22.0) > 3.0
    assert not off_the_car.any()


def test_a_kerb_is_ground():
    pavement = Thing(20.0, -12.0, 120.0, 14.0, 0.14)
    output = drive(perception(), [pavement], 4)[-1]
    assert len(output.objects) == 0 and len(output.obstacle_points) == 0


def test_walls_are_obstacles_but_no_road_users_and_bridges_neither():
    wall, bridge = Thing(10.0, 9.0, 40.0, 0.4, 2.4), Thing(25.0, 0.0, 6.0, 40.0, 6.0, base=4.5)
    output = drive(perception(), [wall, bridge], 4)[-1]
    assert len(output.objects) == 0
    assert len(output.obstacle_points) > 50 and (output.obstacle_points["y"] > 8.0).all()


def test_obstacle_points_name_the_near_side_of_a_box():
    output = drive(perception(), [Thing(15.0, 0.0, 0.5, 0.8, 0.6)], 1)[0]
    points = output.obstacle_points
    assert points.dtype == OBSTACLE_DTYPE and len(points) >= 3
    assert abs(points["x"].min() - 14.75) < 0.1 and (np.abs(points["y"]) < 0.5).all()


def test_a_lone_return_is_no_obstacle():
    ego = ego_at(0)
    sweep = cast([], ego)
    ghost = sweep.points[:1].copy()
    ghost["x"], ghost["y"], ghost["z"] = 8.0, 0.0, -0.9
    noisy = LidarSweep(0, np.concatenate([sweep.points, ghost]), T_BASE_LIDAR)
    assert len(perception().step(noisy, ego).obstacle_points) == 0


def test_the_own_body_is_not_seen():
    ego = ego_at(0)
    sweep = cast([], ego)
    mirror = np.repeat(sweep.points[:1], 20)
    mirror["x"], mirror["y"], mirror["z"] = 0.3, np.linspace(0.8, 0.95, 20), -0.9
    noisy = LidarSweep(0, np.concatenate([sweep.points, mirror]), T_BASE_LIDAR)
    assert len(perception().step(noisy, ego).obstacle_points) == 0


def test_only_what_is_on_or_near_the_road_is_tracked():
    on_road, off_road = Thing(30.0, 2.0), Thing(30.0, -9.0)
    road = RoadFilter.from_lane_map(straight_map(), 2.5)
    output = drive(perception(road), [on_road, off_road], 5)[-1]
    assert len(output.objects) == 1 and nearest(output.objects, on_road)[1] < 1.0
    assert (output.obstacle_points["y"] < -7.0).any()
    with pytest.raises(ValueError, match="road margin"):
        RoadFilter.from_lane_map(straight_map(), -1.0)


def test_without_a_state_objects_are_in_base_link():
    car = Thing(15.0, 3.0)
    pipeline = perception()
    for k in range(4):
        objects = pipeline.step(cast([car], ego_at(k * PERIOD_NS)), None).objects
    assert nearest(objects, car)[1] < 0.5


def test_the_same_sweeps_give_the_same_bytes():
    things = [Thing(20.0, 3.0, speed=6.0), Thing(25.0, -4.0), Thing(18.0, -6.0, 0.5, 0.5, 1.7)]
    first, second = (drive(perception(), things, 8, speed=5.0) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert a.objects.tobytes() == b.objects.tobytes()
        assert a.obstacle_points.tobytes() == b.obstacle_points.tobytes()


def test_time_running_backwards_starts_anew():
    car = Thing(15.0, 3.0)
    pipeline = perception()
    known = {int(i) for i in drive(pipeline, [car], 5, first=20)[-1].objects["id"]}
    again = drive(pipeline, [car], 5, first=0)
    assert len(again[0].objects) == 0 and known.isdisjoint(map(int, again[-1].objects["id"]))


def broken_cloud(kind):
    points = cast([Thing(15.0, 3.0)], ego_at(0)).points.copy()
    if kind == "empty":
        return points[:0]
    if kind == "one point":
        return points[:1]
    if kind == "not finite":
        points["x"][::2], points["y"][1::2], points["z"][::3] = np.nan, np.inf, -np.inf
    elif kind == "huge":
        points["x"][:100], points["y"][100:200], points["z"][200:300] = 1e30, -3e38, 1e20
    elif kind == "zeros":
        points[:] = 0
    elif kind == "bare":
        points = points[["x", "y", "z"]].astype([("x", "<f8"), ("y", "<f8"), ("z", "<f8")])
    return points


@pytest.mark.parametrize("kind", ["empty", "one point", "not finite", "huge", "zeros", "bare"])
def test_broken_clouds_are_safe(kind):
    pipeline = perception()
    for k in range(4):
        output = pipeline.step(LidarSweep(k * PERIOD_NS, broken_cloud(kind), T_BASE_LIDAR), ego_at(k * PERIOD_NS))
        assert output.objects.dtype == OBJECT_DTYPE
        for name in ("x", "y", "z", "yaw", "vx", "vy", "length", "width", "height", "existence"):
            assert np.isfinite(output.objects[name]).all()
    assert len(output.objects) == (1 if kind in ("huge", "bare") else 0)


def test_a_state_that_is_not_finite_counts_as_none():
    state = EgoState(0, float("nan"), 0.0, 0.0, float("inf"))
    assert len(perception(motion_compensation=True).step(cast([], ego_at(0)), state).objects) == 0


def test_unusable_sweeps_are_named():
    points = cast([], ego_at(0)).points
    with pytest.raises(SweepError, match="no field 'z'"):
        perception().step(LidarSweep(0, points[["x", "y"]], T_BASE_LIDAR), None)
    with pytest.raises(SweepError, match="4x4"):
        perception().step(LidarSweep(0, points, np.full((4, 4), np.nan)), None)


def test_motion_compensation_straightens_a_sweep_taken_on_the_move():
    ego = EgoState(0, 0.0, 0.0, 0.0, 12.0, yaw_rate=0.4)
    wall = np.zeros(400, [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("time", "<f4")])
    t = np.linspace(0.0, 0.1, 400)
    position = np.column_stack([12.0 * t, 0.5 * 12.0 * 0.4 * t**2])
    world = np.column_stack([np.full(400, 20.0), np.linspace(-5.0, 5.0, 400)]) - position
    turn = 0.4 * t
    wall["x"] = np.cos(turn) * world[:, 0] + np.sin(turn) * world[:, 1]
    wall["y"] = -np.sin(turn) * world[:, 0] + np.cos(turn) * world[:, 1]
    wall["z"], wall["time"] = 1.0, t
    sweep = LidarSweep(0, wall, np.eye(4))
    moved = perception(motion_compensation=True).step(sweep, ego).points
    assert np.ptp(moved[:, 0]) < 0.02
    assert np.ptp(perception(motion_compensation=False).step(sweep, ego).points[:, 0]) > 1.0


def test_parameters_are_flat_and_checked():
    assert build(LidarPerceptionConfig, {"gap": 0.5, "road_margin": 1.0}).gap == 0.5
    with pytest.raises(ParameterError, match="ground_bin"):
        build(LidarPerceptionConfig, {"ground_bin": 99.0})

"""The planner on small maps made by hand, tracked perfectly: one behaviour a test."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from robotaxi.hdmap.lane_map import Crosswalk, Lane, LaneMap, StopLine
from robotaxi.planning import Planner, PlannerConfig, PlanningInput, PlanningOutput
from robotaxi.planning.reference import build_reference
from robotaxi.planning.warm_up import warm_up
from robotaxi.types import (
    LIGHT_DTYPE,
    OBJECT_DTYPE,
    Cause,
    EgoState,
    Goal,
    LightShape,
    LightState,
    MissionState,
    ObjectClass,
    Pose2,
    SystemMode,
    VehicleParams,
)

CAR = VehicleParams(
    name="test", wheelbase=2.9, length=4.7, width=1.9, height=1.6, rear_overhang=0.95, max_steering=0.6,
    max_steering_rate=0.6, max_acceleration=3.0, max_deceleration=8.0, steering_lag=0.15, steering_delay=0.06,
    drive_lag=0.2, drive_delay=0.08,
)  # fmt: skip
STEP_NS = 100_000_000
LINE_X = 198.0


def lane(
    lane_id: int, points: list[tuple[float, float]], limit: float = 13.9, width: float = 3.5, **links: object
) -> Lane:
    line = np.array(points, float)
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    s = np.linspace(0.0, arc[-1], max(2, math.ceil(arc[-1] / 2.0) + 1))
    centre = np.stack([np.interp(s, arc, line[:, 0]), np.interp(s, arc, line[:, 1]), 0.0 * s], axis=1)
    along = np.gradient(centre[:, :2], axis=0)
    along /= np.linalg.norm(along, axis=1)[:, None]
    aside = np.stack([-along[:, 1], along[:, 0], 0.0 * s], axis=1) * width / 2.0
    return Lane(lane_id, centre, centre + aside, centre - aside, s, limit, **links)  # type: ignore[arg-type]


def arc(cx: float, cy: float, radius: float, a: float, b: float) -> list[tuple[float, float]]:
    return [(cx + radius * math.cos(t), cy + radius * math.sin(t)) for t in np.linspace(a, b, 24)]


def lane_map(lanes: list[Lane], lines: list[StopLine] | None = None, walks: list[Crosswalk] | None = None) -> LaneMap:
    return LaneMap(
        "hand", (0.0, 0.0, 0.0), {item.id: item for item in lanes},
        {item.id: item for item in lines or []}, {}, {item.id: item for item in walks or []},
    )  # fmt: skip


def straight(line_kind: str = "") -> LaneMap:
    """400 m east, with a stop line at x = 198 when ``line_kind`` is given."""
    first = lane(1, [(0, 0), (200, 0)], successors=(2,), stop_line_id=9 if line_kind else None)
    lines = (
        [StopLine(9, np.array([[LINE_X, 2, 0], [LINE_X, -2, 0]], float), line_kind, (1,), (5,))] if line_kind else []
    )
    return lane_map([first, lane(2, [(200, 0), (400, 0)], predecessors=(1,))], lines)


def crossing() -> LaneMap:
    """A minor road east over a priority road north at x = 210; yield line at x = 198."""
    yielding = StopLine(9, np.array([[LINE_X, 2, 0], [LINE_X, -2, 0]], float), "yield", (1,))
    return lane_map(
        [
            lane(1, [(0, 0), (200, 0)], successors=(2,), stop_line_id=9),
            lane(
                2,
                [(200, 0), (220, 0)],
                successors=(3,),
                predecessors=(1,),
                junction_id=3,
                yield_to=(12,),
                conflicts=(12,),
            ),
            lane(3, [(220, 0), (400, 0)], predecessors=(2,)),
            lane(11, [(210, -200), (210, -10)], successors=(12,)),
            lane(12, [(210, -10), (210, 10)], successors=(13,), predecessors=(11,), junction_id=3, conflicts=(2,)),
            lane(13, [(210, 10), (210, 200)], predecessors=(12,)),
        ],
        [yielding],
    )


def thing(x: float, y: float, vx: float = 0.0, vy: float = 0.0, key: int = 17, **fields: float) -> np.ndarray:
    out = np.zeros(1, OBJECT_DTYPE)
    out["x"], out["y"], out["vx"], out["vy"], out["id"] = x, y, vx, vy, key
    out["length"], out["width"], out["height"], out["existence"] = 4.5, 1.8, 1.5, 1.0
    out["label"], out["static"] = int(ObjectClass.CAR), int(vx == 0.0 and vy == 0.0)
    out["yaw"] = math.atan2(vy, vx) if vx or vy else 0.0
    for name, value in fields.items():
        out[name] = value
    return out


def light(state: LightState, shape: LightShape = LightShape.CIRCLE, key: int = 5) -> np.ndarray:
    out = np.zeros(1, LIGHT_DTYPE)
    out["signal_id"], out["state"], out["confidence"], out["shape"] = key, int(state), 1.0, int(shape)
    return out


@dataclass
class Drive:
    """Perfect tracking: the car is where the plan says 0.1 s later."""

    planner: Planner
    goal: Goal | None
    state: EgoState
    log: list[tuple[EgoState, PlanningOutput]] = field(default_factory=list)
    mode: SystemMode = SystemMode.AUTONOMOUS
    mode_reason: str = ""

    def run(self, seconds: float, objects=None, lights=None, until=None) -> PlanningOutput:  # type: ignore[no-untyped-def]
        """``objects`` and ``lights``: functions of the time in seconds; ``until``: of state and output."""
        output = None
        for _ in range(round(seconds * 10)):
            t = self.state.stamp_ns * 1e-9
            seen = objects(t) if objects else np.zeros(0, OBJECT_DTYPE)
            shown = lights(t) if lights else np.zeros(0, LIGHT_DTYPE)
            stamp = self.state.stamp_ns
            inputs = PlanningInput(
                stamp, self.state, seen, stamp, shown, stamp, self.goal, mode=self.mode, mode_reason=self.mode_reason
            )
            output = self.planner.step(inputs)
            self.log.append((self.state, output))
            assert output.trajectory is not None
            point = output.trajectory.points[1]
            x, y, yaw, speed, acceleration = (float(point[k]) for k in ("x", "y", "yaw", "speed", "acceleration"))
            if until and until(self.state, output):
                break
            self.state = EgoState(stamp + STEP_NS, x, y, yaw, speed, acceleration)
        assert output is not None
        return output

    def causes(self) -> set[Cause]:
        return {output.explanation.cause for _, output in self.log}

    def comfortable(self, deceleration: float = 3.0) -> None:
        speeds = np.array([state.speed for state, _ in self.log])
        speeds = speeds[: np.flatnonzero(speeds > 0.15)[-1] + 1]  # slower than that the brake holds the car
        a = np.diff(speeds) / 0.1
        assert a.max() < 2.4 and a.min() > -deceleration
        assert np.abs(np.diff(a)).max() / 0.1 < 8.4  # nuPlan's comfort limit of jerk


def start(road: LaneMap, x: float = 20.0, speed: float = 0.0, goal_x: float = 350.0, y: float = 0.0) -> Drive:
    return Drive(Planner(PlannerConfig(), road, CAR), Goal("g", goal_x, 0.0), EgoState(0, x, y, 0.0, speed))


def front(state: EgoState) -> float:
    return state.x + CAR.front


# ---------------------------------------------------------------------------- mission and path


def test_drives_to_the_goal_and_stops_there() -> None:
    drive = start(straight())
    output = drive.run(80.0, until=lambda _, out: out.mission.state == MissionState.ARRIVED)
    assert output.mission.state == MissionState.ARRIVED
    assert drive.state.x == pytest.approx(350.0, abs=0.3)
    assert max(state.speed for state, _ in drive.log) == pytest.approx(13.9, abs=0.2)
    drive.comfortable(2.5)


@pytest.mark.parametrize("distance", [3.0, 12.0, 22.0])
def test_a_goal_so_near_that_the_plan_ends_at_rest_is_reached_from_a_standstill(distance: float) -> None:
    drive = start(straight(), goal_x=20.0 + distance)
    drive.run(20.0, until=lambda _, out: out.mission.state == MissionState.ARRIVED)
    assert drive.state.x == pytest.approx(20.0 + distance, abs=0.3)


def test_stands_at_the_goal_and_goes_on_to_a_new_one() -> None:
    drive = start(straight(), goal_x=60.0)
    drive.run(40.0, until=lambda _, out: out.mission.state == MissionState.ARRIVED)
    drive.run(2.0)
    assert drive.log[-1][1].explanation.cause == Cause.GOAL
    drive.goal = Goal("next", 150.0, 0.0)
    output = drive.run(40.0, until=lambda _, out: out.mission.state == MissionState.ARRIVED)
    assert output.mission.goal_id == "next"
    assert drive.state.x == pytest.approx(150.0, abs=0.3)


def test_holds_for_boarding_and_without_a_goal() -> None:
    drive = start(straight(), x=100.0, speed=8.0)
    drive.run(1.0)
    drive.goal = Goal("ride-1/pickup", 0.0, 0.0, hold=True)
    output = drive.run(10.0)
    assert drive.state.speed == 0.0
    assert output.explanation.cause == Cause.BOARDING
    assert output.explanation.sentence == "Standing at the pick-up for boarding."
    drive.goal = None
    assert drive.run(0.2).mission.state == MissionState.IDLE


@pytest.mark.parametrize("goal", [Goal("far", 350.0, 90.0), Goal("nan", math.nan, 0.0)])
def test_unreachable_goal_is_named(goal: Goal) -> None:
    drive = start(straight())
    drive.goal = goal
    output = drive.run(0.5)
    assert output.mission.state == MissionState.UNREACHABLE
    assert output.mission.reason and output.explanation.cause == Cause.NO_ROUTE
    assert drive.state.speed == 0.0


def test_reference_is_smooth_out_of_a_bay_and_into_one() -> None:
    road = straight()
    route = replace(road.route(Pose2(50.0, 0.0, 0.0), Pose2(300.0, 0.0, 0.0)), goal_offset=-3.0)
    reference = build_reference(road, route, Pose2(50.0, -3.0, 0.0), PlannerConfig())
    k = reference.index(reference.start_s)
    assert reference.y[k] == pytest.approx(-3.0, abs=0.05)
    g = reference.index(reference.goal_s)
    assert (reference.x[g], reference.y[g]) == pytest.approx((300.0, -3.0), abs=0.3)
    assert abs(reference.y[reference.index(reference.start_s + 60.0)]) < 0.02
    assert np.abs(reference.curvature).max() < 0.07
    assert np.abs(np.diff(reference.curvature)).max() < 0.02


@pytest.mark.parametrize(("room", "aside", "yaw"), [(15.0, -0.4, -0.05), (8.0, -1.8, -0.27), (4.0, -1.2, -0.25)])
def test_a_path_laid_anew_on_the_way_into_a_bay_goes_on_into_it(room: float, aside: float, yaw: float) -> None:
    road = straight()
    x = 300.0 - room
    route = replace(road.route(Pose2(x, 0.0, 0.0), Pose2(300.0, 0.0, 0.0)), goal_offset=-3.0)
    reference = build_reference(road, route, Pose2(x, aside, yaw), PlannerConfig(), speed=1.0, body=CAR)
    ahead = slice(reference.index(reference.start_s), reference.index(reference.goal_s) + 1)
    y = reference.y[ahead]
    assert y.max() < aside + 0.1 and y.min() > -3.1, "neither back to the lane nor beyond the bay"
    assert np.abs(reference.curvature[ahead]).max() < 0.25
    assert y[-1] < -2.5 or room < 5.0  # who is too near stops beside the middle of the bay


@pytest.mark.parametrize("seen_from", [1.3, 1.5])
def test_who_is_seen_late_from_behind_is_waited_for_while_the_body_is_in_the_bay(seen_from: float) -> None:
    """A motorbike at 12 m/s is seen from 40 m only, by when the car rolls already."""
    drive = start(straight(), x=60.0, y=-3.8)

    def seen(t: float) -> np.ndarray:
        bike = thing(25.0 + 12.0 * (t - seen_from), 0.0, 12.0, length=2.2, width=0.8, label=int(ObjectClass.BICYCLE))
        return bike if t >= seen_from else np.zeros(0, OBJECT_DTYPE)

    drive.run(seen_from, seen)
    assert drive.state.speed > 1.0 and drive.state.x > 60.4
    drive.run(12.0, seen)
    for state, _ in drive.log:
        if state.y > -2.6 and state.stamp_ns * 1e-9 >= seen_from:  # reaches into the lane
            assert float(seen(state.stamp_ns * 1e-9)["x"][0]) > front(state)
    assert drive.state.y > -1.0 and drive.state.speed > 3.0


@pytest.mark.parametrize("aside", [-1.5, -2.0, -3.8])
def test_out_of_a_bay_of_any_depth_the_car_lets_those_pass_who_come(aside: float) -> None:
    drive = start(straight(), x=60.0, y=aside)
    drive.run(4.0, lambda t: thing(12.0 * t - 5.0, 0.0, 12.0))
    assert drive.state.x < 61.1 and Cause.YIELD in drive.causes()


def test_a_car_that_stands_beside_its_path_gets_a_new_one_from_where_it_is() -> None:
    drive = start(straight(), x=60.0, speed=8.0)
    drive.run(1.0)
    state = drive.state
    drive.state = EgoState(state.stamp_ns, state.x, 0.3, math.radians(-6.0), 0.4)  # as a stop by dead reckoning ends
    points = drive.run(0.1).trajectory.points
    assert float(points["y"][0]) == pytest.approx(0.3, abs=0.05)
    drive.run(5.0)
    assert max(abs(state.yaw) for state, _ in drive.log[11:]) < math.radians(8.0)
    assert drive.state.y == pytest.approx(0.0, abs=0.05)


def test_lane_change_waits_for_a_gap() -> None:
    road = lane_map(
        [
            lane(1, [(0, 0), (300, 0)], left_neighbour=2),
            lane(2, [(0, 3.5), (300, 3.5)], right_neighbour=1, successors=(3,)),
            lane(3, [(300, 3.5), (500, 3.5)], predecessors=(2,)),
        ]
    )
    drive = start(road, x=10.0, speed=8.0)
    drive.goal = Goal("g", 450.0, 3.5)

    def beside(t: float) -> np.ndarray:
        return thing(8.0 + 8.5 * t if t < 8.0 else 900.0, 3.5, 8.5)

    drive.run(7.9, beside)
    assert abs(drive.state.y) < 0.4, "changed lanes into a car alongside"
    drive.run(60.0, beside, until=lambda _, out: out.mission.state == MissionState.ARRIVED)
    assert drive.state.y == pytest.approx(3.5, abs=0.1)


# ---------------------------------------------------------------------------- leads and obstacles


def test_follows_a_slower_car_at_a_time_gap() -> None:
    drive = start(straight(), speed=10.0)
    output = drive.run(25.0, lambda t: thing(70.0 + 6.0 * t, 0.1, 6.0))
    gap = 70.0 + 6.0 * drive.log[-1][0].stamp_ns * 1e-9 - 2.25 - front(drive.log[-1][0])
    assert drive.state.speed == pytest.approx(6.0, abs=0.5)
    assert 8.0 < gap < 18.0
    assert output.explanation.cause == Cause.LEAD
    assert output.explanation.sentence.startswith("Following car 17 at 6.0 m/s")
    drive.comfortable()


def test_flickering_lead_with_changing_id_does_not_matter() -> None:
    drive = start(straight(), speed=8.0)

    def seen(t: float) -> np.ndarray:
        k = round(t * 10)
        return np.zeros(0, OBJECT_DTYPE) if k % 5 == 0 else thing(50.0 + 6.0 * t, 0.1, 6.0, key=17 + k % 3)

    drive.run(25.0, seen)
    a = np.diff([state.speed for state, _ in drive.log]) / 0.1
    assert a[100:].max() < 0.6 and drive.state.speed == pytest.approx(6.0, abs=0.7)


def test_brakes_for_a_braking_lead() -> None:
    drive = start(straight(), speed=12.0)

    def seen(t: float) -> np.ndarray:
        v = max(12.0 - 5.0 * max(t - 2.0, 0.0), 0.0)
        s = 50.0 + 12.0 * t if t < 2.0 else 74.0 + (144.0 - v * v) / 10.0
        return thing(s, 0.0, v, static=0)

    drive.run(20.0, seen)
    rear = 74.0 + 14.4 - 2.25
    assert drive.state.speed == 0.0
    assert 2.0 < rear - front(drive.state) < 6.0


@pytest.mark.parametrize("y", [2.6, -2.6, 3.2])
def test_parked_cars_beside_the_lane_do_not_stop_it(y: float) -> None:
    drive = start(straight())
    parked = np.concatenate([thing(x, y, key=int(x)) for x in (80.0, 90.0, 120.0)])
    output = drive.run(80.0, lambda _: parked, until=lambda _, out: out.mission.state == MissionState.ARRIVED)
    assert output.mission.state == MissionState.ARRIVED


def test_stops_before_something_on_the_path_and_goes_on_when_it_is_gone() -> None:
    drive = start(straight(), speed=10.0)
    box = thing(100.0, 0.8, length=1.0, width=0.8, label=0)
    output = drive.run(20.0, lambda _: box)
    assert output.explanation.cause == Cause.OBSTACLE and drive.state.speed == 0.0
    assert 4.0 < 99.5 - front(drive.state) < 7.5
    drive.comfortable()
    drive.run(10.0)
    assert drive.state.x > 110.0


@pytest.mark.parametrize(("seen_at", "hardest"), [(60.0, 2.6), (35.0, 4.1), (22.0, 7.1), (18.0, 7.1)])
def test_brakes_as_hard_as_it_must_for_what_it_would_hit(seen_at: float, hardest: float) -> None:
    """Lost cargo seen ``seen_at`` metres ahead of the bumper at 12 m/s: comfort counts while there is room for it."""
    drive = start(straight(), x=60.0, speed=12.0)
    at = 60.0 + CAR.front + seen_at
    drive.run(12.0, lambda _: thing(at + 0.5, 0.0, length=1.0, width=1.0, label=0))
    assert drive.state.speed == 0.0 and front(drive.state) < at - 0.5
    speeds = np.array([state.speed for state, _ in drive.log])
    assert (np.diff(speeds) / 0.1).min() > -hardest


def test_a_car_that_cuts_in_close_but_no_slower_is_no_emergency() -> None:
    drive = start(straight(), x=60.0, speed=12.0)
    drive.run(6.0, lambda t: thing(60.0 + CAR.front + 4.0 + 2.25 + 11.5 * t, 0.0, vx=11.5))
    drive.comfortable(2.6)


def test_oncoming_traffic_in_its_own_lane_is_ignored() -> None:
    drive = start(straight(), speed=13.0)
    drive.run(8.0, lambda t: thing(150.0 - 12.0 * t, 3.2, -12.0, 0.4))
    assert min(state.speed for state, _ in drive.log) > 12.5


# ---------------------------------------------------------------------------- lines and lights


def test_stops_at_red_and_goes_at_green() -> None:
    drive = start(straight("signal"), x=60.0, speed=12.0)
    output = drive.run(25.0, lights=lambda _: light(LightState.RED))
    assert drive.state.speed == 0.0
    assert 0.5 < LINE_X - front(drive.state) < 1.5
    assert output.explanation.cause == Cause.RED_LIGHT and output.explanation.subject_id == 9
    assert output.explanation.sentence == "Waiting: red light at stop line 9."
    drive.comfortable()
    drive.run(5.0, lights=lambda _: light(LightState.GREEN))
    assert drive.state.x > LINE_X


@pytest.mark.parametrize("room", [3.0, 8.0, 20.0])
def test_a_standing_car_drives_up_to_a_red_light(room: float) -> None:
    """A plan that starts from rest and ends at rest within its horizon is no plan to stay."""
    drive = start(straight("signal"), x=LINE_X - CAR.front - room)
    drive.run(20.0, lights=lambda _: light(LightState.RED))
    assert drive.state.speed == 0.0
    assert 0.5 < LINE_X - front(drive.state) < 1.5
    drive.comfortable()


def test_a_standing_car_drives_up_to_a_goal_nearby() -> None:
    drive = start(straight(), x=335.0)
    assert drive.run(20.0).mission.state == MissionState.ARRIVED


def test_amber_too_late_to_stop_is_driven_through() -> None:
    drive = start(straight("signal"), x=150.0, speed=13.0)
    drive.run(1.0, lights=lambda _: light(LightState.GREEN))
    near = LINE_X - front(drive.state)
    drive.run(4.0, lights=lambda t: light(LightState.AMBER if t < 3.5 else LightState.RED))
    assert near < 32.0 and drive.state.x > LINE_X
    assert min(state.speed for state, _ in drive.log) > 11.0


def test_amber_whose_beginning_was_not_seen_is_not_trusted_to_last() -> None:
    drive = start(straight("signal"), x=LINE_X - CAR.front - 37.0, speed=13.4)
    drive.run(8.0, lights=lambda t: light(LightState.AMBER if t < 2.6 else LightState.RED))
    assert drive.state.speed == 0.0 and front(drive.state) < LINE_X


def test_who_stops_for_a_light_not_seen_goes_on_stopping_when_it_turns_out_amber() -> None:
    drive = start(straight("signal"), x=LINE_X - CAR.front - 44.0, speed=13.9)
    drive.run(0.8)
    drive.run(10.0, lights=lambda t: light(LightState.AMBER if t < 3.4 else LightState.RED))
    assert drive.state.speed == 0.0 and front(drive.state) < LINE_X


def test_unseen_light_stops_the_car_and_one_wrong_frame_does_not() -> None:
    drive = start(straight("signal"), x=60.0, speed=12.0)
    output = drive.run(25.0)
    assert drive.state.speed == 0.0 and front(drive.state) < LINE_X
    assert "light not seen" in output.explanation.sentence
    drive = start(straight("signal"), x=100.0, speed=12.0)
    drive.run(10.0, lights=lambda t: light(LightState.RED if round(t * 10) == 10 else LightState.GREEN))
    assert min(state.speed for state, _ in drive.log) > 11.5


def test_a_dark_light_is_an_all_way_stop() -> None:
    """Stand at the line, let those go who move, also from a road that has no priority, then go on."""
    road = crossing()
    line = StopLine(9, road.stop_lines[9].points, "signal", (1,), (5,))
    level = replace(road.lanes[2], yield_to=())
    road = replace(road, lanes={**road.lanes, 2: level}, stop_lines={9: line})
    drive = start(road, x=100.0, speed=10.0)

    def seen(t: float) -> np.ndarray:
        return thing(210.0, -170.0 + 10.0 * t, 0.0, 10.0)

    drive.run(60.0, seen, lambda _: light(LightState.OFF), lambda _, out: out.mission.state == MissionState.ARRIVED)
    assert any("traffic light out of order at line 9" in out.explanation.sentence for _, out in drive.log)
    stood = [front(state) for state, _ in drive.log if state.speed < 0.1 and state.x < LINE_X]
    assert stood and 0.3 < LINE_X - stood[0] < 2.0
    assert Cause.YIELD in drive.causes() and drive.log[-1][1].mission.state == MissionState.ARRIVED
    for state, _ in drive.log:
        if state.x - 1.5 < 210.0 < front(state) + 0.5:
            assert np.abs(seen(state.stamp_ns * 1e-9)["y"]).min() > 6.0


@pytest.mark.parametrize("sets_off", [11.25, 11.75, 12.25])  # the car itself stands from 12.6 s on
def test_at_an_all_way_stop_whoever_has_set_off_goes_first(sets_off: float) -> None:
    """Also one who could still stop for us: he was first, and does not expect to have to."""
    road = crossing()
    level = replace(road.lanes[2], yield_to=())
    line = StopLine(9, road.stop_lines[9].points, "stop", (1,))
    drive = start(replace(road, lanes={**road.lanes, 2: level}, stop_lines={9: line}), x=100.0, speed=10.0)

    def seen(t: float) -> np.ndarray:
        gaining, steady = min(max(t - sets_off, 0.0), 3.0), max(t - sets_off - 3.0, 0.0)
        return thing(210.0, -12.5 + 0.75 * gaining**2 + 4.5 * steady, 0.0, 1.5 * gaining, yaw=math.pi / 2)

    drive.run(40.0, seen, until=lambda _, out: out.mission.state == MissionState.ARRIVED)
    assert drive.log[-1][1].mission.state == MissionState.ARRIVED and Cause.OBSTACLE not in drive.causes()
    assert all(front(state) < LINE_X for state, _ in drive.log if seen(state.stamp_ns * 1e-9)["y"][0] < -6.0)


@pytest.mark.parametrize(
    ("round_light", "arrow", "shape", "goes"),
    [
        (LightState.RED, LightState.GREEN, LightShape.UP_ARROW, True),
        (LightState.GREEN, LightState.RED, LightShape.UP_ARROW, False),
        (LightState.GREEN, LightState.UNKNOWN, LightShape.UP_ARROW, False),
        (LightState.GREEN, LightState.RED, LightShape.LEFT_ARROW, True),
        (LightState.RED, LightState.GREEN, LightShape.LEFT_ARROW, False),
    ],
)
def test_arrows_are_for_those_who_drive_where_they_point(
    round_light: LightState, arrow: LightState, shape: LightShape, goes: bool
) -> None:
    road = straight("signal")
    road = replace(road, stop_lines={9: replace(road.stop_lines[9], signal_ids=(5, 6))})
    drive = start(road, x=120.0, speed=10.0)
    drive.run(15.0, lights=lambda _: np.concatenate([light(round_light), light(arrow, shape, key=6)]))
    assert (drive.state.speed > 5.0 and drive.state.x > LINE_X) if goes else front(drive.state) < LINE_X


@pytest.mark.parametrize("length", [0.6, 1.5, 3.0])
def test_a_line_at_the_end_of_a_very_short_lane_is_stopped_at(length: float) -> None:
    light_line = StopLine(9, np.array([[LINE_X, 2, 0], [LINE_X, -2, 0]], float), "signal", (2,), (5,))
    begin = LINE_X - length
    road = lane_map(
        [
            lane(1, [(0, 0), (begin, 0)], successors=(2,)),
            lane(2, [(begin, 0), (LINE_X, 0)], successors=(3,), predecessors=(1,), stop_line_id=9),
            lane(3, [(LINE_X, 0), (LINE_X + 0.06, 0)], successors=(4,), predecessors=(2,)),
            lane(4, [(LINE_X + 0.06, 0), (400, 0)], predecessors=(3,)),
        ],
        [light_line],
    )
    drive = start(road, x=120.27, speed=10.0)
    drive.run(15.0, lights=lambda _: light(LightState.RED))
    assert LINE_X - 3.0 < front(drive.state) < LINE_X


def test_stop_sign_full_standstill_then_on() -> None:
    drive = start(straight("stop"), x=60.0, speed=12.0)
    drive.run(60.0, until=lambda _, out: out.mission.state == MissionState.ARRIVED)
    stood = [front(state) for state, _ in drive.log if state.speed < 0.1 and state.x < LINE_X]
    assert stood and 0.3 < LINE_X - stood[0] < 2.0
    assert Cause.STOP_SIGN in drive.causes() and drive.log[-1][1].mission.state == MissionState.ARRIVED


def test_gives_way_to_traffic_with_priority() -> None:
    drive = start(crossing(), x=100.0, speed=10.0)

    def seen(t: float) -> np.ndarray:
        return np.concatenate([thing(210.0, -120.0 - 14.0 * k + 10.0 * t, 0.0, 10.0, key=30 + k) for k in range(3)])

    output = drive.run(40.0, seen, until=lambda _, out: out.mission.state == MissionState.ARRIVED)
    assert output.mission.state == MissionState.ARRIVED
    assert Cause.YIELD in drive.causes()
    for state, _ in drive.log:
        y = seen(state.stamp_ns * 1e-9)["y"]
        if state.x - 1.5 < 210.0 < front(state) + 0.5:
            assert np.abs(y).min() > 6.0


@pytest.mark.parametrize("before", [0.9, 0.6, 0.3])
def test_who_has_crept_up_to_the_zone_still_gives_way(before: float) -> None:
    front_at = 208.0 - before  # where the other's lane begins
    drive = start(crossing(), x=front_at - CAR.front, speed=0.4)

    def seen(t: float) -> np.ndarray:
        return thing(210.0, -13.0 + 4.0 * t, 0.0, 4.0, yaw=math.pi / 2)

    drive.run(3.0, seen)
    assert front(drive.state) < 208.0 and Cause.YIELD in drive.causes()
    drive.run(20.0, seen)
    assert drive.state.x > 212.0


@pytest.mark.parametrize("speed", [4.6, 5.0, 5.4])
def test_who_would_be_met_in_the_junction_is_braked_for_however_hard_it_takes(speed: float) -> None:
    drive = start(crossing(), x=204.2 - CAR.front, speed=speed)

    def seen(t: float) -> np.ndarray:
        return thing(210.0, -8.0 + 6.0 * t, 0.0, 6.0, yaw=math.pi / 2)

    drive.run(3.0, seen)
    for state, _ in drive.log:
        y = float(seen(state.stamp_ns * 1e-9)["y"][0])
        assert front(state) < 208.3 or abs(y) > 4.5


def test_standing_traffic_with_priority_is_not_waited_for() -> None:
    drive = start(crossing(), x=100.0, speed=10.0)
    parked = np.concatenate([thing(210.0, -14.0, yaw=1.57, static=0), thing(213.2, -30.0, key=18, yaw=1.57)])
    output = drive.run(50.0, lambda _: parked, until=lambda _, out: out.mission.state == MissionState.ARRIVED)
    assert output.mission.state == MissionState.ARRIVED


def test_keeps_a_junction_clear_that_it_could_not_leave() -> None:
    drive = start(crossing(), x=150.0, speed=8.0)

    def seen(t: float) -> np.ndarray:
        return thing(219.0 if t < 15.0 else 219.0 + 6.0 * (t - 15.0), 0.0, 0.0 if t < 15.0 else 6.0, static=0)

    output = drive.run(14.0, seen)
    assert 197.0 - 1.5 < front(drive.state) <= LINE_X
    assert output.explanation.cause == Cause.LEAD and "no room behind car 17" in output.explanation.sentence
    drive.run(10.0, seen)
    assert drive.state.x > 212.0


# ---------------------------------------------------------------------------- pedestrians


def walk_map() -> LaneMap:
    polygon = np.array([[148, -6, 0], [152, -6, 0], [152, 6, 0], [148, 6, 0]], float)
    axis = np.array([[150, -6, 0], [150, 6, 0]], float)
    first = lane(1, [(0, 0), (400, 0)])
    return lane_map([first], walks=[Crosswalk(40, polygon, axis, (1,))])


def person(x: float, y: float, vx: float, vy: float) -> np.ndarray:
    return thing(x, y, vx, vy, length=0.6, width=0.6, label=int(ObjectClass.PEDESTRIAN), static=0)


def test_stops_for_a_pedestrian_on_the_crosswalk_and_goes_on() -> None:
    drive = start(walk_map(), x=80.0, speed=12.0)
    drive.run(60.0, lambda t: person(150.0, -7.0 + 1.2 * t, 0.0, 1.2), until=lambda _, o: o.mission.state == 2)
    waiting = [state for state, _ in drive.log if abs(-7.0 + 1.2 * state.stamp_ns * 1e-9) < 1.3]
    assert all(front(state) < 148.0 for state in waiting)
    assert Cause.CROSSWALK in drive.causes()
    assert drive.log[-1][1].mission.state == MissionState.ARRIVED


def test_people_standing_or_walking_beside_the_road_do_not_stop_it() -> None:
    drive = start(walk_map(), x=80.0, speed=12.0)
    drive.run(
        20.0,
        lambda t: np.concatenate([person(150.0, -7.0, 0.0, 0.0), person(100.0 + 1.3 * t, 3.5, 1.3, 0.0)]),
        until=lambda state, _: state.x > 200.0,
    )
    assert drive.state.x > 200.0 and min(state.speed for state, _ in drive.log) > 11.0


# ---------------------------------------------------------------------------- bad input


def test_lost_inputs_stop_the_car_and_are_named() -> None:
    drive = start(straight("signal"), x=130.0, speed=10.0)
    drive.run(1.0, lights=lambda _: light(LightState.GREEN))
    state, stamp = drive.state, drive.state.stamp_ns
    empty, green = np.zeros(0, OBJECT_DTYPE), light(LightState.GREEN)
    cases = {
        "objects are 0.50 s old": PlanningInput(stamp, state, empty, stamp - 500_000_000, green, stamp, drive.goal),
        "objects never came": PlanningInput(stamp, state, None, 0, green, stamp, drive.goal),
        "traffic light states are 1.00 s old": PlanningInput(
            stamp, state, empty, stamp, green, stamp - 1_000_000_000, drive.goal
        ),
        "the vehicle state is 0.20 s old": PlanningInput(
            stamp + 200_000_000, state, empty, stamp + 200_000_000, green, stamp, drive.goal
        ),
        "the vehicle state never came": PlanningInput(stamp, None, empty, stamp, green, stamp, drive.goal),
        "the vehicle state is not finite": PlanningInput(
            stamp, replace(state, x=math.nan), empty, stamp, green, stamp, drive.goal
        ),
    }
    for words, inputs in cases.items():
        output = drive.planner.step(inputs)
        assert output.explanation.cause == Cause.INPUT_LOST
        assert words in output.explanation.sentence
        assert output.trajectory is not None and output.trajectory.points["speed"][-1] == 0.0


def test_broken_objects_are_dropped() -> None:
    drive = start(straight(), speed=8.0)
    broken = np.concatenate([thing(math.nan, 0.0), thing(60.0, 0.0, length=math.inf), thing(60.0, 0.0, math.nan)])
    drive.run(3.0, lambda _: broken)
    assert drive.state.speed > 9.0


def test_same_inputs_give_the_same_bytes() -> None:
    def once() -> bytes:
        drive = start(crossing(), x=100.0, speed=10.0)
        drive.run(10.0, lambda t: thing(210.0, -80.0 + 9.0 * t, 0.0, 9.0))
        return b"".join(out.trajectory.points.tobytes() + out.explanation.sentence.encode() for _, out in drive.log)  # type: ignore[union-attr]

    assert once() == once()


def test_warm_up_drives() -> None:
    road = straight()
    planner = Planner(PlannerConfig(), road, CAR)
    warm_up(planner, road)
    empty = np.zeros(0, OBJECT_DTYPE)
    state = EgoState(3 * STEP_NS, 20.0, 0.0, 0.0, 5.0)
    stamp = state.stamp_ns
    inputs = PlanningInput(stamp, state, empty, stamp, np.zeros(0, LIGHT_DTYPE), stamp, Goal("g", 350.0, 0.0))
    output = planner.step(inputs)
    assert output.mission.goal_id == "g" and output.explanation.cause == Cause.CRUISE


# ---------------------------------------------------------------------------- going round


def two_way() -> LaneMap:
    """400 m east at y = 0 and 400 m west at y = 3.5."""
    return lane_map([lane(1, [(0, 0), (400, 0)]), lane(2, [(400, 3.5), (0, 3.5)])])


def clear_of(drive: Drive, x: float, y: float, length: float = 4.5, width: float = 1.8) -> float:
    """Smallest gap between the car's body and a box along the x axis."""
    gaps = []
    for state, _ in drive.log:
        for along in np.linspace(-CAR.rear_overhang, CAR.front, 12):
            for aside in (-CAR.width / 2.0, CAR.width / 2.0):
                px = state.x + along * math.cos(state.yaw) - aside * math.sin(state.yaw)
                py = state.y + along * math.sin(state.yaw) + aside * math.cos(state.yaw)
                gaps.append(math.hypot(max(abs(px - x) - length / 2.0, 0.0), max(abs(py - y) - width / 2.0, 0.0)))
    return min(gaps)


@pytest.mark.parametrize("y", [-2.0, -1.2, 0.0])
def test_goes_round_a_parked_car_over_the_free_oncoming_lane(y: float) -> None:
    drive = start(two_way())
    output = drive.run(80.0, lambda _: thing(150.0, y), until=lambda _, out: out.mission.state == MissionState.ARRIVED)
    assert output.mission.state == MissionState.ARRIVED
    assert clear_of(drive, 150.0, y) > 0.25
    assert abs(drive.state.y) < 0.1
    drive.comfortable()


def test_waits_for_oncoming_traffic_before_going_round() -> None:
    drive = start(two_way(), x=60.0, speed=8.0)

    def seen(t: float) -> np.ndarray:
        coming = [thing(260.0 + 30.0 * k - 10.0 * t, 3.5, -10.0, key=40 + k) for k in range(3)]
        return np.concatenate([thing(150.0, 0.0), *coming])

    drive.run(70.0, seen, until=lambda _, out: out.mission.state == MissionState.ARRIVED)
    assert drive.log[-1][1].mission.state == MissionState.ARRIVED
    assert Cause.YIELD in drive.causes()
    for state, _ in drive.log:
        if state.y > 0.9:
            ahead = np.abs(seen(state.stamp_ns * 1e-9)["x"][1:] - state.x)
            assert ahead.min() > 6.0


def test_does_not_overtake_a_queue_at_a_red_light_nor_leave_the_road() -> None:
    road = two_way()
    line = StopLine(9, np.array([[LINE_X, 2, 0], [LINE_X, -2, 0]], float), "signal", (1,), (5,))
    halves = [
        lane(1, [(0, 0), (200, 0)], successors=(3,), stop_line_id=9), lane(3, [(200, 0), (400, 0)], predecessors=(1,)),
        road.lanes[2],
    ]  # fmt: skip
    drive = start(lane_map(halves, [line]), x=100.0, speed=8.0)
    queue = np.concatenate([thing(193.0, 0.0), thing(186.0, 0.0, key=18)])
    drive.run(60.0, lambda _: queue, lambda _: light(LightState.RED))
    assert drive.state.x < 182.0 and abs(drive.state.y) < 0.05
    alone = start(straight(), x=100.0, speed=8.0)
    alone.run(40.0, lambda _: thing(180.0, 0.0))
    assert front(alone.state) < 177.5 and abs(alone.state.y) < 0.05


def test_goes_back_into_the_lane_when_the_obstacle_was_none() -> None:
    drive = start(two_way(), x=60.0, speed=8.0)
    drive.run(30.0, lambda t: thing(130.0, -1.5) if t < 2.5 else np.zeros(0, OBJECT_DTYPE))
    late = [abs(state.y) for state, _ in drive.log if state.x > 125.0]
    assert late and max(late) < 0.3
    drive.comfortable()


@pytest.mark.parametrize("seen_at", [12.0, 20.0, 30.0])
def test_what_is_seen_late_is_no_reason_to_swerve(seen_at: float) -> None:
    """Something that stands half in the lane ``seen_at`` metres ahead of the bumper, at 13 m/s. What is seen too late
    to stop for is braked for to the end, and stood beside."""
    drive = start(two_way(), x=60.0, speed=13.0)
    at = 60.0 + 13.0 * 1.0 + CAR.front + seen_at
    drive.run(1.0, lambda t: np.zeros(0, OBJECT_DTYPE))
    for _ in range(300):
        output = drive.run(0.1, lambda t: thing(at + 2.0, -1.6))
        assert output.trajectory is not None
        points = output.trajectory.points
        assert (np.abs(points["curvature"]) * points["speed"] ** 2 < 3.0).all()
    too_late = 13.0**2 / (2.0 * PlannerConfig().emergency_deceleration) > seen_at
    assert drive.state.speed == 0.0 if too_late else drive.state.x > at + 10.0

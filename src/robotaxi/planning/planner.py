"""The planner: one pure step from state, objects, lights and goal to a trajectory and its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from robotaxi.geometry.se2 import wrap_angle
from robotaxi.hdmap.lane_map import LaneMap, Route
from robotaxi.planning.behaviour.assistance import OVERTAKE, REROUTE, Assistance
from robotaxi.planning.behaviour.crossing_traffic import mind_crossing_traffic
from robotaxi.planning.behaviour.crosswalk import WalkerMemory, mind_pedestrians
from robotaxi.planning.behaviour.give_way import LineMemory, give_way, halt_at_stop_signs
from robotaxi.planning.behaviour.hidden import mind_hidden_people
from robotaxi.planning.behaviour.keep_clear import keep_clear
from robotaxi.planning.behaviour.lead import follow
from robotaxi.planning.behaviour.merge import MERGE_TIME, blocking, change_lanes, leave_bay, next_change
from robotaxi.planning.behaviour.pass_by import PassBy
from robotaxi.planning.behaviour.signal import LightMemory, obey_lights
from robotaxi.planning.config import PlannerConfig
from robotaxi.planning.constraint import Constraint, Kind
from robotaxi.planning.explain import explain, explain_standing
from robotaxi.planning.freespace.way_out import WayOut
from robotaxi.planning.mission import Mission, Progress
from robotaxi.planning.motion import trajectory as motion
from robotaxi.planning.motion.detour import DetourSearch
from robotaxi.planning.motion.rollout import Rollout, roll_out
from robotaxi.planning.motion.speed_limits import road_speed, time_to_go
from robotaxi.planning.motion.speed_qp import SpeedQp, jerk_for
from robotaxi.planning.pull_over import PULL_OVER, PullOver
from robotaxi.planning.reference import SPACING, FloatArray, Reference, build_reference
from robotaxi.planning.route_features import RouteFeatures, find_features
from robotaxi.planning.scene import ObjectMemory, Scene, at_stamp, look, with_ghosts
from robotaxi.prediction import LaneGraph, PredictionConfig
from robotaxi.types import (
    HELD,
    Cause,
    EgoState,
    Explanation,
    Goal,
    MissionState,
    MissionStatus,
    Pose2,
    RecordArray,
    SystemMode,
    Trajectory,
    VehicleParams,
)

KEEP_POSITION = 0.8  # m between plan and car up to which the next plan goes on from the last one
KEEP_SPEED = 0.8  # m/s
KEEP_SPEED_BRAKING = 2.0  # m/s in an emergency: the car brakes later than its plan, which must not begin anew for it
CRAWLING, NEAR_GOAL = 1.5, 5.0  # m/s and m: slower and not as near, a path is laid anew for a small offset
MAX_TURNED = 1.0  # rad between car and path; beyond it the path is laid anew
PULL = 0.1  # share of that difference that each plan takes back
CHANGE_SHIFT = 15.0  # m by which a lane change that is not free is put off
TRY_AGAIN_NS = 60_000_000_000  # a way out is looked for this often
SAME_GOAL = 0.1  # m between two goals that are one
LAST_LEAD_SHARE = 0.6  # share of the standstill gap that is never given up


@dataclass(frozen=True)
class PlanningInput:
    """Newest inputs that count at ``stamp_ns``; None where there never was one. All in frame map."""

    stamp_ns: int
    state: EgoState | None
    objects: RecordArray | None
    objects_stamp_ns: int
    lights: RecordArray | None
    lights_stamp_ns: int
    goal: Goal | None
    door_open: bool = False
    mode: SystemMode = SystemMode.AUTONOMOUS
    mode_reason: str = ""


@dataclass(frozen=True)
class PlanningOutput:
    trajectory: Trajectory | None
    explanation: Explanation
    mission: MissionStatus
    route: Route | None


@dataclass
class _Memory:
    """What one cycle leaves for the next."""

    reference: Reference | None = None
    features: RouteFeatures | None = None
    road: np.ndarray = field(default_factory=lambda: np.zeros(0))
    curve_source: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    s: float | None = None
    plan: tuple[int, np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None = None  # stamp, t, s, v, a
    lights: LightMemory = field(default_factory=LightMemory)
    lines: LineMemory = field(default_factory=LineMemory)
    walkers: WalkerMemory = field(default_factory=WalkerMemory)
    objects: ObjectMemory = field(default_factory=ObjectMemory)
    assistance: Assistance = field(default_factory=Assistance)


class Planner:
    """Call `step` every 100 ms. Same inputs, same outputs."""

    def __init__(
        self,
        config: PlannerConfig,
        lane_map: LaneMap,
        vehicle: VehicleParams,
        prediction: PredictionConfig | None = None,
    ) -> None:
        self.config, self.lane_map, self.vehicle = config, lane_map, vehicle
        self.prediction = prediction or PredictionConfig()
        self._graph = LaneGraph(lane_map)
        self._qp = SpeedQp(config)
        self._mission = Mission(lane_map, config)
        self._pull_over = PullOver(lane_map, config)
        self._way_out = WayOut(lane_map, vehicle, config)
        self._left: tuple[float, float] | None = None  # the place that the car turns round before
        self._no_way_out_ns = -TRY_AGAIN_NS
        self._pass_by = PassBy(DetourSearch(lane_map, self._graph, vehicle, config))
        self._memory = _Memory()

    def step(self, inputs: PlanningInput) -> PlanningOutput:
        """Plan from ``inputs.stamp_ns`` on. Missing or old inputs give a stop that names them; while the gate holds the
        car, its reason is the one that is given."""
        output = self._step(inputs)
        if inputs.mode in HELD and inputs.mode_reason:
            return replace(output, explanation=Explanation(Cause.SAFETY, inputs.mode_reason, True))
        return output

    def _step(self, inputs: PlanningInput) -> PlanningOutput:
        state, memory = inputs.state, self._memory
        if state is None or not _finite(state):
            why = "never came" if state is None else "is not finite"
            return self._lost(inputs, None, f"the vehicle state {why}")
        age = (inputs.stamp_ns - state.stamp_ns) * 1e-9
        if age > self.config.max_state_age:
            return self._lost(inputs, state, f"the vehicle state is {age:.2f} s old")
        state = _moved_on(state, age)
        if self._way_out.active:
            return self._get_out(inputs, state)
        goal = self._pull_over.goal(inputs.mode, inputs.goal, state, self._progress(), inputs.objects)
        if self._mission.update(goal, state, self._progress()):
            self._lay_path(state)
        if inputs.lights is not None:
            memory.lights.update(inputs.lights, inputs.lights_stamp_ns, self.config)
        lost = self._missing(inputs)
        if lost:
            return self._lost(inputs, state, lost)
        if self._mission.status.state == MissionState.UNREACHABLE and self._turn_round(
            inputs, state, "no lane leads on from here", None
        ):
            return self._get_out(inputs, state)
        if self._mission.holding or inputs.door_open:
            return self._hold(inputs, state)
        if memory.reference is None:
            self._lay_path(state)
        self._locate(state)
        return self._drive(inputs, state)

    # ------------------------------------------------------------------ the path

    def _lay_path(self, state: EgoState) -> None:
        memory, route = self._memory, self._mission.route
        assert route is not None
        speed = max(state.speed, 0.0)
        self._use(build_reference(self.lane_map, route, state.pose, self.config, speed=speed, body=self.vehicle))
        assert memory.reference is not None and memory.features is not None
        self._pass_by.reset(memory.reference, memory.features)
        memory.s, memory.plan = None, None
        memory.objects = ObjectMemory()

    def _progress(self) -> Progress | None:
        memory = self._memory
        return Progress(memory.reference, memory.s) if memory.reference is not None and memory.s is not None else None

    def _use(self, reference: Reference) -> None:
        memory = self._memory
        memory.reference = reference
        memory.features = find_features(self.lane_map, self._graph, reference, self.vehicle, self.config)
        memory.road, memory.curve_source = road_speed(reference, self.config, self.vehicle)

    def _locate(self, state: EgoState) -> None:
        """Arc length of the car on the path; far from it the mission is planned anew."""
        memory = self._memory
        assert memory.reference is not None
        s, offset, k = memory.reference.locate(state.x, state.y, memory.s)
        far = abs(offset) > self.config.max_path_offset
        turned = abs(wrap_angle(state.yaw - float(memory.reference.yaw[k]))) > MAX_TURNED
        # a car that stands beside its path, as after a stop by dead reckoning, would turn sharply to come back to it
        crawling = abs(state.speed) < CRAWLING and memory.reference.goal_s - s > NEAR_GOAL
        beside = crawling and abs(offset) > self.config.max_crawling_offset
        if (far or turned or beside) and memory.s is not None and self._mission.plan(state):
            self._lay_path(state)
            s, _, _ = memory.reference.locate(state.x, state.y)
        memory.s = s

    def _start(self, inputs: PlanningInput, state: EgoState) -> tuple[float, float, float]:
        """Where the plan starts: on the last plan where the car keeps to it, else where the car is."""
        memory = self._memory
        assert memory.s is not None
        speed = max(state.speed, 0.0)
        if memory.plan is not None:
            stamp, t, ps, pv, pa = memory.plan
            dt = (inputs.stamp_ns - stamp) * 1e-9
            if 0.0 <= dt <= float(t[-1]):
                s, v, a = (float(np.interp(dt, t, p)) for p in (ps, pv, pa))
                behind = KEEP_SPEED_BRAKING if a < -self.config.max_deceleration else KEEP_SPEED
                if abs(s - memory.s) < KEEP_POSITION and abs(v - speed) < behind:
                    return s + PULL * (memory.s - s), max(v + PULL * (speed - v), 0.0) if v > 0.0 else 0.0, a
        a = float(np.clip(state.acceleration, -self.config.emergency_deceleration, self.config.acceleration))
        return memory.s, speed if speed > 0.02 else 0.0, a if speed > 0.3 else 0.0

    # ------------------------------------------------------------------ driving

    def _drive(self, inputs: PlanningInput, state: EgoState, moved: bool = False) -> PlanningOutput:
        memory, config = self._memory, self.config
        assert memory.reference is not None and memory.features is not None and memory.s is not None
        s, speed, acceleration = self._start(inputs, state)
        assert inputs.objects is not None
        objects = at_stamp(inputs.objects, inputs.objects_stamp_ns, inputs.stamp_ns, config)
        objects = with_ghosts(objects, memory.objects, inputs.stamp_ns, config)
        scene = look(
            memory.reference, memory.features, self._graph, memory.road, objects, inputs.stamp_ns, s, speed,
            acceleration, self.vehicle, config, self.prediction,
        )  # fmt: skip
        if self._put_off_change(scene):
            return self._drive(inputs, state)
        if not moved and self._obey_permission(inputs, scene, state):
            self._locate(state)
            return self._drive(inputs, state, moved=True)
        path = None if moved else self._pass_by.update(scene, memory.lights)
        if path is not None:
            self._use(path)
            return self._drive(inputs, state, moved=True)
        on_path = np.flatnonzero(~np.isnan(scene.now[:, 0])).tolist()
        memory.objects = ObjectMemory(objects, inputs.stamp_ns, on_path)
        dark = memory.lights.out_of_order(scene)
        constraints = [
            *follow(scene),
            *obey_lights(scene, memory.lights),
            *halt_at_stop_signs(scene, memory.lines, dark),
            *give_way(scene, dark),
            *keep_clear(scene, self._pass_by.no_way_id),
            *mind_pedestrians(scene, memory.walkers),
            *mind_hidden_people(scene),
            *mind_crossing_traffic(scene),
            *leave_bay(scene),
            *change_lanes(scene),
            *self._pass_by.constraints(scene),
            *self._goal(scene),
        ]
        trajectory, explanation = self._profile(inputs, scene, constraints)
        blocked = explanation.cause in (Cause.OBSTACLE, Cause.LEAD)
        goal_s = memory.reference.goal_s
        seconds = time_to_go(memory.road, memory.features, memory.s, goal_s)
        self._mission.progress(goal_s - memory.s, seconds, state.speed, blocked, inputs.stamp_ns)
        if not self._mission.holding:
            help_needed = memory.assistance.needed(scene, explanation, self._pass_by, memory.lights)
            self._mission.stuck(*help_needed)
            said = memory.assistance.said(inputs.stamp_ns, explanation)
            explanation = self._take_another_way(inputs, scene, state, said)
        return PlanningOutput(trajectory, explanation, self._mission.status, self._mission.route)

    def _take_another_way(
        self, inputs: PlanningInput, scene: Scene, state: EgoState, explanation: Explanation
    ) -> Explanation:
        """Where the way has been blocked for long: another one from the next cycle on, and that this is why."""
        assistance, progress = self._memory.assistance, self._progress()
        if progress is None or not assistance.tries_another_way(scene.stamp_ns, self.config.reroute_patience):
            return explanation
        assert assistance.place is not None
        name = next((scene.name(int(i)) for i in np.flatnonzero(scene.objects["id"] == explanation.subject_id)), "")
        places = self._pass_by.from_further_back(scene)
        if places and self._turn_round(
            inputs, state, f"{name} is too near to go round", None, explanation.subject_id, places
        ):
            return explanation
        assistance.refusal = self._mission.go_another_way(*assistance.place, state, progress)
        if assistance.refusal:
            why = f"{name or 'something'} blocks the road and no other way leads on"
            self._turn_round(inputs, state, why, assistance.place, explanation.subject_id)
            return explanation
        self._lay_path(state)
        return assistance.tell(scene, explanation)

    # ------------------------------------------------------------------ where no lane leads on

    def _turn_round(
        self, inputs: PlanningInput, state: EgoState, why: str, place: tuple[float, float] | None, subject: int = 0,
        places: tuple[Pose2, ...] = (),
    ) -> bool:  # fmt: skip
        """Whether the car begins to turn round, back out, or back to one of ``places``; tried again after a minute
        where it could not."""
        goal, config = self._mission.goal, self.config
        early = inputs.stamp_ns - self._no_way_out_ns < TRY_AGAIN_NS
        if goal is None or goal.hold or inputs.door_open or inputs.mode in HELD or early or not _has_place(goal):
            return False
        if abs(state.speed) > config.standstill_speed or config.manoeuvre_limit <= 0.0:
            return False
        assert inputs.objects is not None
        objects = at_stamp(inputs.objects, inputs.objects_stamp_ns, inputs.stamp_ns, config)
        self._no_way_out_ns = inputs.stamp_ns
        ways = self._mission.ways_without(place, state)
        if not self._way_out.begin(state, objects, goal, ways, why, subject, places):
            return False
        self._left = place
        self._mission.turns_round(why)
        return True

    def _get_out(self, inputs: PlanningInput, state: EgoState) -> PlanningOutput:
        """Drive the manoeuvre; after it a path is laid from where it has ended."""
        out, mission, stamp_ns = self._way_out, self._mission, inputs.stamp_ns
        wanted = inputs.goal
        stands = abs(state.speed) < self.config.standstill_speed
        lost = self._objects_missing(inputs)
        if lost:
            sentence = f"{'Waiting' if stands else 'Stopping'}: {lost}."
            explanation = Explanation(Cause.INPUT_LOST, sentence, True)
            return PlanningOutput(out.halt(stamp_ns, state), explanation, mission.status, mission.route)
        assert inputs.objects is not None and out.goal is not None
        if wanted is None or wanted.hold or inputs.door_open:
            explanation = explain_standing(mission.status, wanted, stands)
            return PlanningOutput(out.halt(stamp_ns, state), explanation, mission.status, mission.route)
        if math.hypot(wanted.x - out.goal.x, wanted.y - out.goal.y) > SAME_GOAL:
            if stands:
                out.cancel()
                self._no_way_out_ns = -TRY_AGAIN_NS
            explanation = Explanation(Cause.NO_ROUTE, "Stopping: the goal has changed.", True)
            return PlanningOutput(out.halt(stamp_ns, state), explanation, mission.status, mission.route)
        objects = at_stamp(inputs.objects, inputs.objects_stamp_ns, stamp_ns, self.config)
        trajectory, explanation = out.step(stamp_ns, state, objects)
        if out.done:
            out.done, self._no_way_out_ns = False, -TRY_AGAIN_NS
            self._memory.assistance.forget()
            if mission.leave(self._left, state):
                self._lay_path(state)
        elif not out.active:
            mission.gives_up(f"no room to turn round: {explanation.sentence}")
        return PlanningOutput(trajectory, explanation, mission.status, mission.route)

    def _obey_permission(self, inputs: PlanningInput, scene: Scene, state: EgoState) -> bool:
        """Use what a person far away allows; true when there is a new route."""
        assistance, progress = self._memory.assistance, self._progress()
        if inputs.goal is None or progress is None or not assistance.take(inputs.goal):
            return False
        place = assistance.place
        if assistance.permission == OVERTAKE:
            self._pass_by.permit(place, inputs.stamp_ns)
        elif assistance.permission == REROUTE and place is not None:
            assistance.refusal = self._mission.go_another_way(*place, state, progress)
            if not assistance.refusal:
                self._lay_path(state)
                return True
        return False

    def _goal(self, scene: Scene) -> list[Constraint]:
        reference = scene.reference
        distance = reference.goal_s - scene.s
        if distance > self.config.look_ahead:
            return []
        what = "Stopping at the goal"
        if self._mission.status.goal_id.endswith(PULL_OVER) and self._pull_over.place is not None:
            what = f"Pulling over to '{self._pull_over.place.name}'"
        sentence = f"{what}, {max(distance, 0.0):.0f} m ahead."
        return [Constraint(Kind.STOP, reference.goal_s, Cause.GOAL, sentence, 0, distance, deceleration=3.0)]

    def _put_off_change(self, scene: Scene) -> bool:
        """Lay the path anew with a later lane change where the next one is near and not free."""
        change = next_change(scene)
        if change is None or change.start_s - scene.s > CHANGE_SHIFT + scene.speed or self._pass_by.shifted_at(scene.s):
            return False
        if blocking(scene, change.to_lane, MERGE_TIME) is None:
            return False
        before = scene.reference
        number = before.changes.index(change)
        delays = list(before.delays) + [0.0] * (len(before.changes) - len(before.delays))
        delays[number] += CHANGE_SHIFT
        later = build_reference(
            self.lane_map, before.route, before.start, self.config, tuple(delays), before.start_speed, self.vehicle
        )  # fmt: skip
        if later.changes[number].start_s < change.start_s + 0.5 * CHANGE_SHIFT:
            return False
        self._use(later)
        assert self._memory.features is not None
        self._pass_by.reset(later, self._memory.features)
        return True

    def _profile(
        self, inputs: PlanningInput, scene: Scene, constraints: list[Constraint]
    ) -> tuple[Trajectory, Explanation]:
        """The speed profile under ``constraints`` and the reason for it."""
        memory, config, reference = self._memory, self.config, scene.reference
        s, speed, times = scene.s, scene.speed, self._qp.times
        rollout = roll_out(reference, memory.road, constraints, s, speed, scene.acceleration, times, config)
        explanation = explain(rollout, times, constraints, reference, memory.curve_source, s, speed, self.vehicle.front)
        held = [item for item in constraints if item.kind != Kind.CAP and item.s - s < config.start_distance]
        if speed < config.standstill_speed and any(item.speed < 0.5 for item in held):
            profile = motion.rest(s, config.horizon)
        else:
            profile = self._solve(scene, rollout, constraints)
        memory.plan = (inputs.stamp_ns, *profile)
        return motion.on_path(reference, inputs.stamp_ns, *profile), explanation

    def _solve(
        self, scene: Scene, rollout: Rollout, constraints: list[Constraint]
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Times, arc lengths, speeds, accelerations; plain braking should the program fail."""
        config, times, s = self.config, self._qp.times, scene.s
        stops = [item.s for item in constraints if item.kind == Kind.STOP and _worth(scene, item, rollout)]
        stop = min(stops, default=math.inf)
        lead = np.full(times.size - 1, math.inf)
        for item in constraints:
            if item.kind == Kind.LEAD:
                given_up = (1.0 - LAST_LEAD_SHARE) * config.lead_gap
                lead = np.minimum(lead, item.s - s + given_up + item.speed * times[1:])
        jerk = jerk_for(rollout.braking, config)
        # a car about to stand still cannot be asked to shed its braking faster than jerk allows
        softest = -0.95 * math.sqrt(2.0 * jerk * max(scene.speed, 0.0))
        acceleration = float(np.clip(scene.acceleration, max(softest, -config.emergency_deceleration), 2.4))
        solved = self._qp.solve(
            scene.speed, acceleration, rollout.s[1:] - s, rollout.speed[1:], max(stop - s, 0.0), lead,
            np.maximum(rollout.speed[1:], self._allowed(scene, rollout)), rollout.braking,
        )  # fmt: skip
        if solved is None:
            t, ds, v, a = motion.brake(
                scene.speed, acceleration, rollout.braking, max(jerk, config.max_jerk), config.horizon
            )
        else:
            t, ds, v, a = motion.sample(solved, config.horizon)
        return t, s + ds, v, a

    def _allowed(self, scene: Scene, rollout: Rollout) -> FloatArray:
        """Speed not to exceed at each time: limit and curves where the rollout is then."""
        at = np.clip((rollout.s[1:] / SPACING).astype(np.int64), 0, self._memory.road.size - 1)
        return self._memory.road[at]

    # ------------------------------------------------------------------ standing and stopping

    def _missing(self, inputs: PlanningInput) -> str:
        """Which input is missing or too old to drive on, '' for none."""
        config, memory = self.config, self._memory
        lost = self._objects_missing(inputs)
        if lost:
            return lost
        if memory.features is None or memory.s is None or self._mission.holding:
            return ""
        front = memory.s + self.vehicle.front
        signal_ahead = any(
            item.line.kind == "signal" and -0.5 < item.s - front < config.look_ahead / 2
            for item in memory.features.lines
        )
        if signal_ahead and inputs.lights is None:
            return "traffic light states never came"
        age = (inputs.stamp_ns - inputs.lights_stamp_ns) * 1e-9
        if signal_ahead and age > config.max_lights_age:
            return f"traffic light states are {age:.2f} s old"
        return ""

    def _objects_missing(self, inputs: PlanningInput) -> str:
        if inputs.objects is None:
            return "objects never came"
        age = (inputs.stamp_ns - inputs.objects_stamp_ns) * 1e-9
        return f"objects are {age:.2f} s old" if age > self.config.max_objects_age else ""

    def _lost(self, inputs: PlanningInput, state: EgoState | None, what: str) -> PlanningOutput:
        """Brake along the last path and name what is missing."""
        trajectory = self._stop(inputs, state)
        moving = state is None or state.speed > self.config.standstill_speed
        sentence = f"{'Stopping' if moving else 'Waiting'}: {what}."
        return PlanningOutput(
            trajectory, Explanation(Cause.INPUT_LOST, sentence, True), self._mission.status, self._mission.route
        )

    def _hold(self, inputs: PlanningInput, state: EgoState) -> PlanningOutput:
        """No way to go: stand, or brake comfortably to a stand."""
        status = self._mission.status
        explanation = explain_standing(status, inputs.goal, state.speed < self.config.standstill_speed)
        return PlanningOutput(self._stop(inputs, state), explanation, status, self._mission.route)

    def _stop(self, inputs: PlanningInput, state: EgoState | None) -> Trajectory | None:
        memory, config = self._memory, self.config
        reference = memory.reference
        if state is not None and abs(state.speed) < config.standstill_speed:
            memory.plan = None
            return motion.standing(state, inputs.stamp_ns, config.horizon)
        if state is not None and reference is not None:
            s, offset, _ = reference.locate(state.x, state.y, memory.s)
            if abs(offset) < config.max_path_offset:
                memory.s = s
                start, speed, acceleration = self._start(inputs, state)
                t, ds, v, a = motion.brake(
                    speed, acceleration, config.deceleration + 0.5, config.max_jerk / 2, config.horizon
                )
                memory.plan = (inputs.stamp_ns, t, start + ds, v, a)
                return motion.on_path(reference, inputs.stamp_ns, t, start + ds, v, a)
        if state is not None:
            return motion.brake_straight(state, inputs.stamp_ns, config)
        if memory.plan is None or reference is None:
            return None
        stamp, t, ps, pv, pa = memory.plan
        dt = (inputs.stamp_ns - stamp) * 1e-9
        s, speed, acceleration = (float(np.interp(dt, t, p)) for p in (ps, pv, pa))
        t, ds, v, a = motion.brake(speed, acceleration, config.deceleration + 0.5, config.max_jerk / 2, config.horizon)
        memory.plan = (inputs.stamp_ns, t, s + ds, v, a)
        return motion.on_path(reference, inputs.stamp_ns, t, s + ds, v, a)


def _worth(scene: Scene, item: Constraint, rollout: Rollout) -> bool:
    """Whether a stop can be kept with the braking it is worth; later ones are kept as well as possible, but what is
    hit otherwise is braked for to the end."""
    if rollout.braking > scene.config.max_deceleration and item.deceleration > scene.config.max_deceleration:
        return True
    return scene.speed**2 / (2.0 * item.deceleration) <= max(item.s - scene.s, 0.0) + 1.0 or item.s <= scene.s + 1.0


def _finite(state: EgoState) -> bool:
    return all(math.isfinite(v) for v in (state.x, state.y, state.yaw, state.speed, state.acceleration))


def _has_place(goal: Goal) -> bool:
    return all(map(math.isfinite, (goal.x, goal.y, goal.yaw)))


def _moved_on(state: EgoState, dt: float) -> EgoState:
    """The state ``dt`` seconds later at constant speed and yaw rate."""
    if dt <= 0.0:
        return state
    yaw_rate = state.yaw_rate if math.isfinite(state.yaw_rate) else 0.0
    middle = state.yaw + 0.5 * yaw_rate * dt
    return replace(
        state,
        x=state.x + state.speed * dt * math.cos(middle),
        y=state.y + state.speed * dt * math.sin(middle),
        yaw=state.yaw + yaw_rate * dt,
    )

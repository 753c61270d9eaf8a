"""The command gate: the last word before the actuators.

Each step reads top to bottom: where is the car, which inputs are good, what does the lidar see in
its way, which mode follows, and what the actuators get in that mode.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from robotaxi.geometry.turned import turned_pose, turned_sweep, turned_vehicle
from robotaxi.safety.command_limits import CommandLimits
from robotaxi.safety.config import GateConfig
from robotaxi.safety.corridor import obstacles
from robotaxi.safety.emergency import EmergencyMonitor
from robotaxi.safety.inputs import GateInput, InputMonitor, dead_topic, sentence
from robotaxi.safety.modes import ModeMachine, Observation
from robotaxi.safety.motion import Coasting, GoodTrajectory, Odometer, SteeringOffset, on_path, pursue, way_ahead
from robotaxi.types import (
    Command,
    EgoState,
    Health,
    LidarSweep,
    Pose2,
    SystemMode,
    Trajectory,
    VehicleParams,
)

_NOMINAL_STEP = 0.02  # s, assumed for the first step and after a clock that stood still
_LONGEST_STEP = 0.1  # s; a longer gap does not widen the rate limits further
_CORRIDOR_SPARE = 5.0  # m looked at beyond the envelope, so that obstacles are known before they matter
_SWEEP_PERIOD = 0.1  # s
_HEALTHY = Health(0)
KMPH = 3.6
_LIDAR_USER = "lidar_perception"
_HEALTH_TOPIC = "system/health"
_HEALING_NS = 500_000_000  # after which who uses the lidar must have got over its silence


@dataclass(frozen=True, slots=True)
class GateOutput:
    """What the actuators get. ``reason``: a sentence; ``limited``: the command was cut; ``source``: whose it is."""

    command: Command
    mode: SystemMode
    reason: str
    limited: bool
    source: str = "gate"


class CommandGate:
    """One per vehicle; `step` every 20 ms. Deterministic, reads no clock, never raises on bad data."""

    def __init__(self, config: GateConfig, vehicle: VehicleParams) -> None:
        self._config = config
        self._vehicle = vehicle
        self._inputs = InputMonitor(config)
        self._limits = CommandLimits(config, vehicle)
        self._odometer = Odometer(vehicle)
        self._coasting = Coasting(vehicle)
        self._steering_offset = SteeringOffset(vehicle)
        self._emergency = EmergencyMonitor(config, vehicle)
        self._turned_vehicle = turned_vehicle(vehicle)
        self._backwards = False  # where it drives, or is about to
        self._reverse = False  # the gear that has been asked for
        self._modes = ModeMachine(config)
        self._last_stamp_ns: int | None = None
        self._speed = 0.0
        self._pose_speed = 0.0  # at which the pose moves: of localization as long as the pose is
        self._steering = 0.0
        self._reported = False
        self._began_rolling = True  # until it stands or drives: what a gate is that took over from a dead one
        self._blind = (-_HEALING_NS - 1, "")  # when there was last no lidar, and why
        self._place = (0, math.nan, math.nan, math.nan, 0.0)  # stamp, x, y, yaw, and the way driven until then
        self._taken: Trajectory | None = None
        self._trajectory: GoodTrajectory | None = None

    def warm_up(self) -> None:
        """Compile the sweep's loops before the first step, so that it is as fast as the others."""
        points = np.zeros(8, [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("time", "<f4")])
        points["x"], points["z"], points["time"] = 8.0, 1.0, -0.05
        way = way_ahead(None, None, None, 0.0, self._vehicle.wheelbase, 10.0)
        obstacles(self._config, self._vehicle, LidarSweep(0, points, np.eye(4)), way)

    def begin_driving(self) -> None:
        """For benches that begin at speed: as if all inputs had been good for long."""
        self._modes.mode = SystemMode.AUTONOMOUS
        self._limits.acceleration = 0.0

    def step(self, inputs: GateInput) -> GateOutput:
        """The command for the actuators at ``inputs.stamp_ns``."""
        dt = self._elapsed(inputs.stamp_ns)
        faults = [*inputs.alarms, *(dead_topic(topic) for topic in inputs.inputs_lost)]
        unmoved = self._move(inputs, dt)
        lost = self._localize(inputs)
        if inputs.state is not None and not unmoved and not lost:
            self._steering_offset.learn(inputs.state, inputs.report)
        faults += [unmoved, lost]
        faults.append(self._take_trajectory(inputs, astray=bool(lost)))
        self._turn()
        faults.append(self._inputs.command_fault(inputs))
        if inputs.sweep is not None:
            self._look(inputs.sweep, inputs.stamp_ns)
        blind = self._inputs.sweep_fault(inputs.stamp_ns)
        faults.append(blind)
        unwatched = self._inputs.health_fault(inputs)
        faults.append(unwatched)
        if not any(faults):
            faults.append(self._inputs.contradiction(inputs))
        health = inputs.health or _HEALTHY
        if unwatched or _HEALTH_TOPIC in inputs.inputs_lost:
            health = replace(health, sentence="")  # an old word permits no more than it did, but explains nothing now
        if blind:
            self._blind = inputs.stamp_ns, blind
        if health.part == _LIDAR_USER and 0 <= inputs.stamp_ns - self._blind[0] <= _HEALING_NS:
            health = replace(health, sentence=sentence([self._blind[1]]))  # who has no sweeps is not to blame
        mode, reason = self._modes.step(
            Observation(
                stamp_ns=inputs.stamp_ns,
                fault=sentence([fault for fault in faults if fault]),
                threat=self._threat(inputs.stamp_ns),
                standing=self._standing,
                clear=self._emergency.nearest(self._way) > self._config.clear_distance,
                # without wheels and localization the pose is a guess that grows worse with every metre
                path_known=not (unmoved and lost) and on_path(self._config, self._trajectory, self._pose) is not None,
                permit=health.permit,
                permit_reason=health.sentence,
                request=inputs.request,
                request_reason=inputs.request_reason,
                manual_ok=self._inputs.manual_ok(inputs),
            )
        )
        if self._standing or mode is not SystemMode.STOP:
            self._began_rolling = False
        elif self._began_rolling:
            reason = "The command_gate was started while the car drove: it stops until all inputs are good."
        output = self._act(mode, reason, inputs, dt)
        self._inputs.sent(inputs.stamp_ns, output.command.steering)
        command = output.command
        self._coasting.told(inputs.stamp_ns, command.steering, command.acceleration, command.reverse)
        return output

    @property
    def _standing(self) -> bool:
        return abs(self._speed) < self._config.standing_speed

    # the car as it is seen in the direction in which it drives: backwards it is turned round

    @property
    def _pose(self) -> Pose2 | None:
        pose = self._odometer.pose
        return turned_pose(pose) if self._backwards and pose is not None else pose

    @property
    def _along(self) -> float:
        return -self._speed if self._backwards else self._speed

    @property
    def _tyres(self) -> float:
        return -self._steering if self._backwards else self._steering

    @property
    def _way(self) -> float:
        return -self._odometer.distance if self._backwards else self._odometer.distance

    def _turn(self) -> None:
        """Look where the car drives; standing, where the trajectory leads."""
        backwards = self._backwards
        if not self._standing:
            backwards = self._speed < 0.0
        elif self._trajectory is not None and self._trajectory.moves:
            backwards = self._trajectory.backwards
        if backwards is not self._backwards:
            self._backwards = backwards
            self._emergency = EmergencyMonitor(self._config, self._vehicle)

    def _elapsed(self, stamp_ns: int) -> float:
        last, self._last_stamp_ns = self._last_stamp_ns, stamp_ns
        dt = 0.0 if last is None else (stamp_ns - last) * 1e-9
        return min(dt, _LONGEST_STEP) if dt > 0.0 else _NOMINAL_STEP

    def _move(self, inputs: GateInput, dt: float) -> str:
        """Speed and tyre angle from the report, or carried on without one; then dead reckoning."""
        fault = self._inputs.report_fault(inputs)
        if not fault:
            if not self._reported:
                self._limits.start_from(inputs.report.steering)
            self._reported = True
            self._coasting.believe(self._steering_offset.corrected(inputs.report))
        else:
            self._coasting.coast(inputs.stamp_ns, dt)
        self._speed, self._steering = self._coasting.speed, self._coasting.steering
        self._odometer.advance(self._speed, self._steering, dt)
        self._pose_speed = self._speed
        return fault

    def _localize(self, inputs: GateInput) -> str:
        """Take the state if it is good, and while driving if it is where the wheels have taken the car: one that is not
        has jumped, or tells of another time than its stamp."""
        fault = self._inputs.state_fault(inputs)
        state = inputs.state
        if fault or state is None:
            return fault
        if self._is_frozen(state):
            return "localization is frozen: it stays where it was while the wheels turn"
        age = (inputs.stamp_ns - state.stamp_ns) * 1e-9
        if self._odometer.away(state, age) > self._config.max_pose_jump:
            if not self._standing:  # the wheels know better for as long as a stop takes
                return f"localization jumped by more than {self._config.max_pose_jump:.1f} m"
            self._trajectory = None  # it was made for another place
        self._odometer.correct(state, age)
        self._pose_speed = state.speed
        return ""

    def _is_frozen(self, state: EgoState) -> bool:
        """Whether new stamps come with the old place although the car has driven on."""
        place = (state.x, state.y, state.yaw)
        if place != self._place[1:4]:
            self._place = (state.stamp_ns, *place, self._odometer.distance)
        way = abs(self._odometer.distance - self._place[4])
        return state.stamp_ns > self._place[0] and way > self._config.max_frozen_way

    def _take_trajectory(self, inputs: GateInput, astray: bool) -> str:
        """Keep a good trajectory, but none that was made while the planner had to believe a wrong place."""
        fault = self._inputs.trajectory_fault(inputs)
        if not fault and not astray and inputs.trajectory is not None and inputs.trajectory is not self._taken:
            self._taken = inputs.trajectory
            self._trajectory = GoodTrajectory(inputs.trajectory)
        return fault

    def _look(self, sweep: LidarSweep, now_ns: int) -> None:
        """Measure what stands in the way, seen from where the car was at the sweep."""
        if not self._inputs.take_sweep(sweep):
            return
        along, tyres, vehicle = self._along, self._tyres, self._vehicle
        if self._backwards:
            vehicle, sweep = self._turned_vehicle, turned_sweep(sweep)
        back = along * min(max((now_ns - sweep.stamp_ns) * 1e-9, 0.0), self._config.max_sweep_age)
        pose = self._pose
        if pose is not None:
            pose = Pose2(pose.x - back * math.cos(pose.yaw), pose.y - back * math.sin(pose.yaw), pose.yaw)
        ahead = max(along, 0.0)
        length = self._emergency.needed(ahead) + 2.0 * _SWEEP_PERIOD * ahead + _CORRIDOR_SPARE
        way = way_ahead(
            self._trajectory,
            on_path(self._config, self._trajectory, pose),
            pose,
            tyres,
            vehicle.wheelbase,
            min(length, self._config.max_corridor_length),
        )
        motion = along, along * math.tan(tyres) / vehicle.wheelbase
        seen = obstacles(self._config, vehicle, sweep, way, motion)
        self._emergency.sweep(sweep.stamp_ns * 1e-9, seen, self._way - back)

    def _threat(self, now_ns: int) -> str:
        threat = self._emergency.threat(now_ns * 1e-9, self._way, self._along)
        if threat is None:
            return ""
        where = "behind the car, backwards" if self._backwards else "ahead of the bumper"
        return (
            f"Emergency stop: obstacle {threat.distance:.1f} m {where} "
            f"at {self._along:.1f} m/s, itself at {threat.speed:.1f} m/s."
        )

    def _act(self, mode: SystemMode, reason: str, inputs: GateInput, dt: float) -> GateOutput:
        """Who drives in this mode: the stack, a person, or the gate itself."""
        if mode in (SystemMode.AUTONOMOUS, SystemMode.PULL_OVER) and inputs.command is not None:
            health = inputs.health or _HEALTHY
            cap = health.speed_cap if health.speed_cap > 0.0 else 0.0  # also for NaN
            if mode is SystemMode.AUTONOMOUS and math.isfinite(cap):
                reason = f"Driving at {cap * KMPH:.0f} km/h at most: {health.sentence}"
            if mode is SystemMode.PULL_OVER:
                cap = min(cap, self._config.pull_over_speed)
            return self._pass(inputs.command, "controller", mode, reason, inputs.stamp_ns, dt, cap)
        if mode is SystemMode.MANUAL and inputs.manual is not None:
            return self._pass(inputs.manual, "manual", mode, reason, inputs.stamp_ns, dt, math.inf)
        return self._stop(mode, reason, inputs.stamp_ns, dt)

    def _pass(
        self, command: Command, source: str, mode: SystemMode, reason: str, now: int, dt: float, cap: float
    ) -> GateOutput:
        """Somebody's command within the limits."""
        wanted = command.acceleration if self._shift(command, mode) else min(command.acceleration, self._shift_braking)
        along = -self._speed if self._reverse else self._speed
        if self._reverse:
            cap = min(cap, self._config.max_reverse_speed)
        steering, acceleration, limited = self._limits.apply(command.steering, wanted, along, dt, speed_cap=cap)
        limited = limited or wanted != command.acceleration
        aim = -command.speed if self._reverse else command.speed
        aim = min(max(aim, 0.0), self._config.max_speed, cap) if math.isfinite(aim) else 0.0
        if limited and mode is SystemMode.AUTONOMOUS and math.isinf(cap):
            reason = "Driving: the command was limited."
        aim = -aim if self._reverse else aim
        return GateOutput(Command(now, steering, acceleration, aim, self._reverse), mode, reason, limited, source)

    @property
    def _shift_braking(self) -> float:
        """What is asked for (m/s^2, negative) as long as the gear that is wanted may not be engaged."""
        return -self._config.hold_deceleration

    def _shift(self, command: Command, mode: SystemMode) -> bool:
        """Whether the gear that the command wants is engaged. It is changed at standstill, and the stack's to reverse
        only for a trajectory that leads backwards."""
        if command.reverse is self._reverse:
            return not command.reverse or mode is SystemMode.MANUAL or self._leads_back
        allowed = not command.reverse or mode is SystemMode.MANUAL or self._leads_back
        if self._standing and allowed:
            self._reverse = command.reverse
            self._limits.let_go()
            return True
        return False

    @property
    def _leads_back(self) -> bool:
        """Whether the trajectory leads backwards, or stays where the car is."""
        trajectory = self._trajectory
        return trajectory is not None and (trajectory.backwards or not trajectory.moves)

    def _stop(self, mode: SystemMode, reason: str, now: int, dt: float) -> GateOutput:
        """The gate's own braking: along the lane as long as that is known, hard only in an emergency."""
        emergency = mode is SystemMode.EMERGENCY_STOP
        if self._standing or mode is SystemMode.STOP:
            self._limits.let_go()
        if self._standing:
            steering, wanted = self._limits.steering, -self._config.hold_deceleration
        elif emergency:
            steering, wanted = self._follow(), -self._limits.max_deceleration
        elif mode is SystemMode.STOP_IN_LANE:
            steering, wanted = self._follow(), -self._config.lane_stop_deceleration
        else:
            steering, wanted = self._follow(), self._comfortable(dt)
        along = -self._speed if self._reverse else self._speed
        steering, acceleration, _ = self._limits.apply(steering, wanted, along, dt, jerk_limited=not emergency)
        return GateOutput(Command(now, steering, acceleration, 0.0, self._reverse), mode, reason, False)

    def _follow(self) -> float:
        """Steering along the last good trajectory; as it is when there is none."""
        pose, trajectory = self._pose, self._trajectory
        s = on_path(self._config, trajectory, pose, nearly=True)
        if s is None or trajectory is None or pose is None:
            return self._limits.steering
        along = -self._pose_speed if self._backwards else self._pose_speed
        angle = pursue(self._config, self._vehicle, trajectory, pose, s, along, self._tyres)
        return -angle if self._backwards else angle

    def _comfortable(self, dt: float) -> float:
        """Deceleration (negative) of the comfortable stop: its onset limited in jerk, its end tapered,
        harder only where the trajectory itself would have ended at rest sooner."""
        config = self._config
        wanted = min(config.stop_deceleration, config.stop_taper + config.stop_taper_rate * abs(self._speed))
        pose, trajectory = self._pose, self._trajectory
        s = on_path(config, trajectory, pose)
        if s is not None and trajectory is not None and trajectory.stops:
            left = max(float(trajectory.s[-1]) - s, 0.1)
            needed = self._speed * self._speed / (2.0 * left)
            if needed > config.stop_deceleration:
                wanted = min(needed, config.stop_deceleration_most)
        last = min(self._limits.acceleration, 0.0)
        return max(-wanted, last - config.stop_jerk * dt)

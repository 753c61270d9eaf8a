"""The whole car in one process without DDS: world, perfect perception, and the real planner, controller,
health monitor and command gate, joined by wires that faults can cut.

Time runs as on a car: nobody waits, a consumer takes the newest message that has arrived.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from robotaxi.control import ControlConfig, Controller
from robotaxi.evaluation.errand import Errand
from robotaxi.evaluation.perfect import Blur, Perceiver
from robotaxi.faults.catalog import SLOWER, SWEEP, WRONG_SPEED, Fault
from robotaxi.faults.points import surface_points
from robotaxi.faults.wire import Wire, corrupted
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.interfaces import INTERFACES, MS, TICK_NS
from robotaxi.nodes.let import is_scheduled
from robotaxi.planning import Planner, PlannerConfig, PlanningInput, PlanningOutput
from robotaxi.safety import CommandGate, GateConfig, GateInput, GateOutput, HealthConfig, HealthMonitor
from robotaxi.safety.health import WATCHED
from robotaxi.sensor_rig import load_rig
from robotaxi.sim.ride_plan import RidePlan
from robotaxi.sim.sensors.wheels import Wheels
from robotaxi.sim.view import WorldView
from robotaxi.sim.watchdog import watchdog_command
from robotaxi.sim.world import World
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import (
    Command,
    EgoState,
    GnssFix,
    Health,
    ImuSample,
    LidarSweep,
    Permit,
    RecordArray,
    SystemMode,
    VehicleParams,
    VehicleReport,
)

_STATUS, _IMU, _GNSS = "vehicle/status", "sensing/imu/data", "sensing/gnss/fix"
_STATE, _OBJECTS, _LIGHTS = "localization/kinematic_state", "perception/objects", "perception/traffic_lights"
_GOAL, _TRAJECTORY, _RAW = "dispatch/goal", "planning/trajectory", "control/command_raw"
_HEALTH, _MODE, _COMMAND = "system/health", "system/mode", "vehicle/command"
# what an activation takes on an idle machine (ms); a slow node takes ten times as long
_NOMINAL_MS = {"localization": 2.0, "lidar_perception": 35.0, "camera_perception": 30.0, "planner": 20.0,
               "controller": 2.5, "command_gate": 1.0, "health_monitor": 2.0, "dispatch_bridge": 2.0}  # fmt: skip
_SCHEDULE = {"localization": (TICK_NS, 0), "lidar_perception": (100 * MS, 0), "camera_perception": (200 * MS, 40 * MS),
             "planner": (100 * MS, 60 * MS), "controller": (TICK_NS, 0), "command_gate": (TICK_NS, 0),
             "health_monitor": (100 * MS, 80 * MS), "dispatch_bridge": (100 * MS, 0)}  # fmt: skip
_HOG = 4.0  # times slower with every core taken
_NO_HEALTH = "Cannot go yet: waiting for health_monitor."
_WATCHDOG_NS = 100 * MS  # without commands, then the drive-by-wire interface brakes by itself
_IMU_HOLD_NS, _IMU_LOST_NS = 100 * MS, 300 * MS
_SIGMA, _SIGMA_GROWTH = 0.03, 0.05  # m; m/s without satellites


@dataclass
class Machine:
    """One node as a process: dead until, busy until."""

    role: str
    down: bool = False
    busy_until_ns: int = 0


@dataclass
class Twin:
    """See the module. ``step`` advances by one tick; ``reports`` holds what was said."""

    lane_map: LaneMap
    vehicle: VehicleParams
    plan: RidePlan
    parked: RecordArray
    seed: int
    faults: list[Fault] = field(default_factory=list)
    watchdog_ns: int | None = None  # since when the vehicle brakes by itself
    wheels_wrong_ns: int | None = None  # when the reported speed was first so wrong that it must be noticed

    def __post_init__(self) -> None:
        self.world = World(self.lane_map, self.vehicle, WorldConfig(), self.seed, self.plan.start, parked=self.parked)
        self._wheels = Wheels(load_rig("robotaxi").wheels, self.seed)
        self.perceiver = Perceiver(self.parked, self.seed, Blur())
        self.wires = {topic: Wire(INTERFACES[topic], self.faults) for topic in (*WATCHED, SWEEP, _HEALTH, _COMMAND)}
        for wire in self.wires.values():
            wire.faults = self.faults  # one list for all: an injection reaches every wire
        self.machines = {role: Machine(role) for role in _SCHEDULE}
        self.errand = Errand(self.plan)
        self.output: GateOutput | None = None
        self.health = Health(0)
        self.planned: PlanningOutput | None = None
        self._build = {"planner": self._new_planner, "controller": self._new_controller,
                       "health_monitor": lambda: HealthMonitor(HealthConfig()),
                       "command_gate": lambda: CommandGate(GateConfig(), self.vehicle)}  # fmt: skip
        self.cores: dict[str, Any] = {role: build() for role, build in self._build.items()}
        self._run: dict[str, Callable[[int, WorldView], None]] = {
            "localization": self._localize, "lidar_perception": self._perceive, "camera_perception": self._see_lights,
            "dispatch_bridge": self._dispatch, "planner": self._plan, "controller": self._control,
            "health_monitor": self._watch, "command_gate": self._guard,
        }  # fmt: skip
        self._seen_sweep_ns = -1
        self._controlled_ns = -1
        self._fix_ns = 0
        self._imu_ns = 0
        self._stuck: VehicleReport | None = None
        self._last_command: Command | None = None

    def _new_planner(self) -> Planner:
        return Planner(PlannerConfig(), self.lane_map, self.vehicle)

    def _new_controller(self) -> Controller:
        controller = Controller(ControlConfig(), self.vehicle)
        controller.warm_up()
        return controller

    # ------------------------------------------------------------------ one tick

    def step(self) -> None:
        now, view = self.world.stamp_ns, self.world.view()
        self._sense(now, view)
        for role in _SCHEDULE:
            self._activate(role, now, view)
        self.world.step(self._actuate(now))

    def active(self, kind: str, now: int) -> Fault | None:
        return next((fault for fault in self.faults if fault.kind == kind and fault.active(now)), None)

    def _activate(self, role: str, now: int, view: WorldView) -> None:
        machine = self.machines[role]
        mine = [fault for fault in self.faults if fault.target == role and fault.active(now)]
        if any(fault.kind in ("kill", "stop") for fault in mine):
            machine.down = machine.down or any(fault.kind == "kill" for fault in mine)
            return
        if machine.down:  # its successor starts with nothing but its parameters
            machine.down = False
            if role in self._build:
                self.cores[role] = self._build[role]()
        if not is_scheduled(now, *_SCHEDULE[role]) or now < machine.busy_until_ns:
            return
        self._slowness = SLOWER if any(fault.kind == "slow" for fault in mine) else 1.0
        if self.active("cpu_hog", now):
            self._slowness *= _HOG
        if self._slowness > 1.0:
            machine.busy_until_ns = now + round(_NOMINAL_MS[role] * self._slowness * MS)
        self._role = role
        self._run[role](now, view)

    def _send(self, topic: str, now: int, content: Any) -> None:
        """Published by the node that runs; a slow one's messages come after its work."""
        latency = INTERFACES[topic].let_ns
        if self._slowness > 1.0:
            latency = max(latency, round(_NOMINAL_MS[self._role] * self._slowness * MS))
        self.wires[topic].send(now, content, latency)

    def _get(self, topic: str, now: int) -> Any:
        found = self.wires[topic].newest(now)
        return None if found is None else found[1]

    # ------------------------------------------------------------------ vehicle and sensors

    def _noise(self, now: int, name: int, count: int) -> np.ndarray:
        """The same for the same time, whoever asks first and whatever has broken."""
        return np.random.default_rng([self.seed, name, now // TICK_NS]).standard_normal(count)

    def _sense(self, now: int, view: WorldView) -> None:
        ego, measured = view.ego, self._wheels.measure(view.ego)
        report = replace(self.world.report(), speed=measured.speed, steering=measured.steering)
        if self.active("wheel_stuck", now):
            self._stuck = self._stuck or report
            report = replace(
                self._stuck, stamp_ns=now, speed=self._stuck.speed + 0.01 * float(self._noise(now, 1, 1)[0])
            )
        else:
            self._stuck = None
        scaled = self.active("wheel_scaled", now)
        if scaled:
            report = replace(report, speed=report.speed * scaled.value)
        if self.wheels_wrong_ns is None and abs(report.speed - ego.speed) > WRONG_SPEED:
            self.wheels_wrong_ns = now
        self.wires[_STATUS].send(now, report, 0)
        shake = self._noise(now, 2, 6) * 0.05
        force = np.array([ego.acceleration, ego.lateral_acceleration, 9.81]) + shake[:3]
        imu = ImuSample(now, force, np.array([0.0, 0.0, ego.yaw_rate]) + 0.01 * shake[3:])
        if self.active("imu_nan", now):
            imu = corrupted(imu, math.nan)
        self.wires[_IMU].send(now, imu, 0)
        if is_scheduled(now, INTERFACES[_GNSS].period_ns, 0):
            place = self._noise(now, 3, 2) * 1e-7
            fix = GnssFix(now, 49.0 + float(place[0]), 8.4 + float(place[1]), 115.0, np.full(3, 0.05),
                          valid=self.active("gnss_lost", now) is None)  # fmt: skip
            self.wires[_GNSS].send(now, fix, 0)
        if is_scheduled(now, INTERFACES[SWEEP].period_ns, 0):
            points = surface_points(view, self.parked, self._noise(now, 4, 3))
            if self.active("lidar_blind", now):
                points = points[:20]
            if self.active("lidar_ghost", now):
                points = np.concatenate([points, _ghost(now)])
            self.wires[SWEEP].send(now, LidarSweep(now, points, np.eye(4)), INTERFACES[SWEEP].let_ns)

    def _actuate(self, now: int) -> Command:
        """What the vehicle does: the newest command, or its own watchdog when commands cease."""
        found = self.wires[_COMMAND].newest(now)
        if found is not None and -TICK_NS <= now - found[0] <= _WATCHDOG_NS:
            self.watchdog_ns, self._last_command = None, found[1]
            return replace(found[1], stamp_ns=now)
        if found is not None or now > _WATCHDOG_NS:
            self.watchdog_ns = now if self.watchdog_ns is None else self.watchdog_ns
        return watchdog_command(now, self._last_command, self.vehicle)

    # ------------------------------------------------------------------ nodes

    def _localize(self, now: int, view: WorldView) -> None:
        """A localization that is as good as its readings: silent without inertial ones, vague without satellites."""
        imu, fix = self.wires[_IMU].newest(now), self.wires[_GNSS].newest(now)
        if imu is not None and abs(now - imu[0]) <= _IMU_HOLD_NS and imu[1] is not None:
            if not np.isfinite(imu[1].acceleration).all() or np.abs(imu[1].acceleration).max() > 200.0:
                imu = (imu[0] if now - self._imu_ns < _IMU_LOST_NS else -1, None)
            else:
                self._imu_ns = now
        if imu is None or abs(now - imu[0]) > _IMU_HOLD_NS:
            if now - self._imu_ns > _IMU_LOST_NS:
                self._send(_STATE, now, None)
            return
        if fix is not None and fix[1] is not None and fix[1].valid and abs(now - fix[0]) < 300 * MS:
            self._fix_ns = now
        sigma = _SIGMA + _SIGMA_GROWTH * max(now - self._fix_ns - 500 * MS, 0) * 1e-9
        ego, noise = view.ego, self._noise(now, 5, 4)
        state = EgoState(
            now, ego.x + 0.02 * float(noise[0]), ego.y + 0.02 * float(noise[1]), ego.yaw + 0.002 * float(noise[2]),
            ego.speed + 0.01 * float(noise[3]), ego.acceleration, ego.yaw_rate, ego.steering, ego.z,
            np.diag([sigma**2, sigma**2, 1e-5]),
        )  # fmt: skip
        self._send(_STATE, now, state)

    def _perceive(self, now: int, view: WorldView) -> None:
        sweep = self.wires[SWEEP].newest(now)
        fresh = sweep is None or sweep[1] is None or (abs(now - sweep[0]) <= 200 * MS and len(sweep[1].points) > 100)
        if fresh and self._get(_STATE, now) is not None:
            seen = self.perceiver.objects(view)
            wobble = self._noise(now, 6, 2 * len(seen)).astype(np.float32) * 0.02
            seen["x"] += wobble[: len(seen)]
            seen["y"] += wobble[len(seen) :]
            self._send(_OBJECTS, now, seen)

    def _see_lights(self, now: int, view: WorldView) -> None:
        lights = self.perceiver.lights(view, self.lane_map)
        if self.active("camera_black", now):
            lights["state"] = 0
        self._send(_LIGHTS, now, lights)

    def _dispatch(self, now: int, view: WorldView) -> None:
        if self.planned is not None:
            self.errand.update(self.planned.mission.state, self.planned.mission.goal_id, now)
        self._send(_GOAL, now, self.errand.goal(now))

    def _plan(self, now: int, view: WorldView) -> None:
        objects, lights = self.wires[_OBJECTS].newest(now), self.wires[_LIGHTS].newest(now)
        mode = self._get(_MODE, now)
        self.planned = self.cores["planner"].step(
            PlanningInput(
                now, self._get(_STATE, now), objects[1] if objects else None, objects[0] if objects else 0,
                lights[1] if lights else None, lights[0] if lights else 0, self._get(_GOAL, now),
                mode=mode[0] if mode is not None else SystemMode.AUTONOMOUS,
                mode_reason=mode[1] if mode is not None else "",
            )
        )  # fmt: skip
        self._send(_TRAJECTORY, now, self.planned.trajectory)

    def _control(self, now: int, view: WorldView) -> None:
        state, trajectory = self.wires[_STATE].newest(now), self._get(_TRAJECTORY, now)
        if state is None or state[0] == self._controlled_ns:
            return  # its trigger is silent
        self._controlled_ns = state[0]
        if state[1] is None:
            self._send(_RAW, now, Command(now, view.ego.steering, -2.0))
            return
        self._send(_RAW, now, self.cores["controller"].step(state[1], trajectory, self._get(_STATUS, now)).command)

    def _watch(self, now: int, view: WorldView) -> None:
        readings = {topic: self.wires[topic].newest(now) for topic in WATCHED}
        self.health = self.cores["health_monitor"].step(now, readings)
        self._send(_HEALTH, now, self.health)

    def _guard(self, now: int, view: WorldView) -> None:
        report = self._get(_STATUS, now)
        if report is None:
            return
        sweep = self.wires[SWEEP].newest(now)
        if sweep is not None and (sweep[1] is None or sweep[0] <= self._seen_sweep_ns):
            sweep = None
        if sweep is not None:
            self._seen_sweep_ns = sweep[0]
        health = self._get(_HEALTH, now) or Health(now, Permit.STOP, "health_monitor", _NO_HEALTH)
        output = self.cores["command_gate"].step(
            GateInput(now, report, self._get(_RAW, now), self._get(_STATE, now), self._get(_TRAJECTORY, now),
                      sweep[1] if sweep else None, health=health)
        )  # fmt: skip
        self.output = output
        self._send(_COMMAND, now, output.command)
        if is_scheduled(now, INTERFACES[_MODE].period_ns, 0):
            self._send(_MODE, now, (output.mode, output.reason))


def _ghost(now: int) -> RecordArray:
    """A cloud that is not there, 12 m ahead: spray, exhaust, a reflection."""
    rng = np.random.default_rng([now // TICK_NS, 12])
    ghost = np.zeros(60, [("x", "<f4"), ("y", "<f4"), ("z", "<f4")])
    ghost["x"], ghost["y"], ghost["z"] = 12.0 + rng.normal(0, 0.2, 60), rng.normal(0, 0.3, 60), 0.9
    return ghost

"""Injections into whole rides: every node a process of its own, real DDS, simulated sensors, broker and desk.

One ride a seed, several injections one after the other. What is noticed is timed on the ride's clock, and
on the wall's too: the world waits for a process that died or hangs, but not for ever (docs/determinism.md).
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from robotaxi.faults.catalog import DOWN, MACHINE_KINDS, NODES, SLOWER, SWEEP, Fault, make, with_symptoms
from robotaxi.faults.judge import Verdict, Word, illegal_place, judge, row, speaks
from robotaxi.hdmap import load_map
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.interfaces import INTERFACES, TRUTH_PREFIX
from robotaxi.nodes import convert
from robotaxi.nodes.qos import qos_profile
from robotaxi.nodes.records import from_record, to_ns
from robotaxi.ride.cloud import Cloud
from robotaxi.ride.guardian import PROCESS_OF
from robotaxi.ride.monitor import Monitor, Progress
from robotaxi.ride.options import RideOptions
from robotaxi.ride.session import Outcome, drive
from robotaxi.sim.infractions import Infraction
from robotaxi.sim.ride_plan import plan_ride
from robotaxi.supervisor import Supervisor, die_with
from robotaxi.types import SystemMode, VehicleParams
from robotaxi.vehicle import load_vehicle

_FIRST_S, _APART_S, _TAIL_S = 7.0, 14.0, 12.0  # ride time: first injection, between two, after the last
_WAIT_BOUND_S = 25.0  # wall time: two waits of the chain one after the other (7 and 9 s), on a busy machine
_STOPPED_S = 20.0  # wall time that a stopped process is left so, if nobody kills it
_STANDING = 0.1
_NOT_THE_CAR = ("simulator", "carla_bridge", "recorder")
_MEMORY_SHARE, _CHUNK_BYTES = 0.7, 16 << 20
_TRIP_GOES_ON = ("EN_ROUTE_TO_PICKUP", "WAITING_FOR_RIDER", "BOARDING", "EN_ROUTE", "ARRIVED", "COMPLETED", "CANCELLED",
                 "ABORTED", "NO_SHOW")  # fmt: skip
# what can be done to a message of the stack's own processes, and to its sensors where they leave the simulator
MESSAGE_KINDS = ("drop", "delay", "duplicate", "freeze", "corrupt_nan", "corrupt_huge", "clock_jump")
MESSAGE_TOPICS = ("sensing/imu/data", "sensing/gnss/fix", "localization/kinematic_state", "perception/objects",
                   "perception/traffic_lights", "planning/trajectory", "control/command_raw", SWEEP)  # fmt: skip
_SENSORS = {"lidar_blind": SWEEP, "camera_black": "sensing/camera/front/image_raw", "gnss_lost": "sensing/gnss/fix",
            "imu_nan": "sensing/imu/data", "wheel_scaled": "vehicle/status"}  # fmt: skip


def full_faults(number: int, from_s: float, rng: np.random.Generator) -> tuple[Fault, ...]:
    """The injection with this running number: every tenth time two faults at once."""
    first = _single(number, from_s, rng)
    if number % 10 != 9:
        return (first,)
    soon = from_s + float(rng.uniform(0.0, 0.5))
    return (first, _single(number + 1 + int(rng.integers(2)), soon, rng))  # of another sort: they come in turn


def _single(number: int, from_s: float, rng: np.random.Generator) -> Fault:
    """Processes, messages, sensors and the machine in turn."""
    from_ns = round(from_s * 50) * 20_000_000
    cycle, turn = divmod(number, 4)
    if turn < 2:
        kind = ("kill", "stop", "slow")[cycle % 3] if turn == 0 else ("kill", "stop")[cycle % 2]
        fault = make(kind, NODES[(cycle + 3 * turn) % len(NODES)], from_ns, rng)
        # nodes of one process die and stop together; one that is slow is so by itself
        return fault if kind == "slow" else replace(fault, parts=_in_process_of(fault.target))
    if turn == 2:
        kind = MESSAGE_KINDS[cycle % len(MESSAGE_KINDS)]
        return make(kind, MESSAGE_TOPICS[(cycle * 3) % len(MESSAGE_TOPICS)], from_ns, rng)
    kinds = (*_SENSORS, *MACHINE_KINDS)
    return make(kinds[cycle % len(kinds)], "", from_ns, rng)


def _in_process_of(role: str) -> tuple[str, ...]:
    return tuple(other for other, process in PROCESS_OF.items() if process == PROCESS_OF[role])


def injection_row(fault: Fault) -> str:
    """The fault as a row of `nodes.inject`, "" for one that is done to processes from outside."""
    if fault.kind in ("kill", "stop", *MACHINE_KINDS):
        return ""
    target, value = fault.target, fault.value
    if fault.kind == "slow":
        value = float(SLOWER)
    if fault.kind in _SENSORS:
        target = _SENSORS[fault.kind]
    kind = {"delay": "delay", "imu_nan": "corrupt_nan"}.get(fault.kind, fault.kind)
    return f"{kind} {target} {fault.from_ns * 1e-9:.3f} {fault.until_ns * 1e-9:.3f} {value}"


@dataclass
class Saboteur:
    """Breaks processes when their time comes, and listens to what the car says of it."""

    faults: list[Fault]
    said: list[tuple[float, Word]] = field(default_factory=list)  # wall time, word
    struck: dict[int, tuple[float, int]] = field(default_factory=dict)  # index -> wall time (s), ride time (ns)
    infractions: list[Infraction] = field(default_factory=list)
    poses: list[tuple[float, float, float, float, float]] = field(default_factory=list)  # s, true x, y, yaw, speed
    _stopped: list[tuple[int, float]] = field(default_factory=list)  # process id, wall time to go on
    _hogs: list[tuple[Fault, Any]] = field(default_factory=list)
    _limited: list[tuple[Fault, int, int]] = field(default_factory=list)  # fault, process id, its limit before
    _listening: bool = False

    def look(self, supervisor: Supervisor, monitor: Monitor, cloud: Cloud) -> None:
        """Called ten times a second during the drive."""
        if not self._listening:
            self._listen(monitor)
        now, ride_ns = time.monotonic(), monitor.progress.stamp_ns
        self._hear(monitor.progress, now)
        for index, fault in enumerate(self.faults):
            if index not in self.struck and ride_ns >= fault.from_ns:
                self.struck[index] = (now, ride_ns)
                self._strike(fault, supervisor, cloud)
        for pid, until in list(self._stopped):
            if now >= until:
                self._stopped.remove((pid, until))
                _signal(pid, signal.SIGCONT)
        self._relieve(lambda fault: ride_ns >= fault.until_ns)

    def release(self) -> None:
        """End what this campaign itself started or stopped."""
        self._relieve(lambda fault: True)
        for pid, _ in self._stopped:
            _signal(pid, signal.SIGCONT)
        self._stopped.clear()

    def _relieve(self, over: Callable[[Fault], bool]) -> None:
        for fault, hog in self._hogs:
            if over(fault):
                hog.kill()
        for fault, pid, limit in self._limited:
            if over(fault):
                _limit_files(pid, limit)
        self._hogs = [row for row in self._hogs if not over(row[0])]
        self._limited = [row for row in self._limited if not over(row[0])]

    def _strike(self, fault: Fault, supervisor: Supervisor, cloud: Cloud) -> None:
        child = supervisor.children.get(PROCESS_OF.get(fault.target, ""))
        match fault.kind:
            case "kill" if child is not None:
                _signal(child.process.pid, signal.SIGKILL)
            case "stop" if child is not None:
                _signal(child.process.pid, signal.SIGSTOP)
                self._stopped.append((child.process.pid, time.monotonic() + _STOPPED_S))
            case "network_loss" if cloud.broker_pid is not None:
                _signal(cloud.broker_pid, signal.SIGSTOP)
                self._stopped.append((cloud.broker_pid, time.monotonic() + DOWN))
            case "disk_full":  # nothing that the car's processes write gets to the disk
                for name, part in supervisor.children.items():
                    if name not in _NOT_THE_CAR and (limit := _limit_files(part.process.pid, 0)) is not None:
                        self._limited.append((fault, part.process.pid, limit))
            case "cpu_hog":
                self._hogs += [(fault, _started(_hog_cores)) for _ in range(2 * (os.cpu_count() or 1))]
            case "memory_hog":
                self._hogs.append((fault, _started(_hog_memory)))

    def _hear(self, progress: Progress, now: float) -> None:
        word = Word(progress.stamp_ns * 1e-9, progress.mode.name, progress.mode_reason, progress.health.part,
                    progress.health.sentence)  # fmt: skip
        if not self.said or replace(word, time=0.0) != replace(self.said[-1][1], time=0.0):
            self.said.append((now, word))

    def _listen(self, monitor: Monitor) -> None:
        self._listening = True
        for topic, handler in (
            (TRUTH_PREFIX + "infraction", self._on_infraction),
            (TRUTH_PREFIX + "ego", self._on_ego),
        ):
            monitor.listen(
                INTERFACES[topic], handler, qos_profile(INTERFACES[topic].qos, lockstep=True, publisher=False)
            )

    def _on_infraction(self, message: Any) -> None:
        detail, values = from_record(message)
        x, y, value = (float(values[name]) for name in ("x", "y", "value"))
        subject_id, stamp_ns = int(values["subject_id"]), to_ns(message.header.stamp)
        self.infractions.append(
            Infraction(stamp_ns, values["kind"], values["at_fault"] == "1", subject_id, x, y, detail, value)
        )

    def _on_ego(self, message: Any) -> None:
        state = convert.ego_state(message)
        if state is not None:
            stamp_s = to_ns(message.header.stamp) * 1e-9
            self.poses.append((stamp_s, state.x, state.y, state.yaw, state.speed))


def run_seed(
    seed: int, first: int, count: int, runs: Path, map_name: str = "town", vehicle: str = "robotaxi"
) -> list[dict[str, Any]]:
    """``count`` injections into one whole ride, with the running numbers from ``first``."""
    lane_map, car = load_map(map_name), load_vehicle(vehicle)
    rng = np.random.default_rng([seed, 608])
    times = [_FIRST_S + _APART_S * i + float(rng.uniform(0.0, 3.0)) for i in range(count)]
    groups = [full_faults(first + i, at, rng) for i, at in enumerate(times)]
    faults = [fault for group in groups for fault in group]
    saboteur = Saboteur(faults)
    folder = runs / f"faults-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    options = RideOptions(
        map=map_name, vehicle=vehicle, seed=seed, record="", runs=runs, max_duration=times[-1] + DOWN + _TAIL_S,
        inject=tuple(filter(None, map(injection_row, faults))),
    )  # fmt: skip
    try:
        outcome = drive(options, lane_map, plan_ride(lane_map, seed), folder, lambda *_: None, saboteur.look)
    finally:
        saboteur.release()
    ends = [group[0].from_ns * 1e-9 for group in groups[1:]] + [math.inf]
    earlier = [tuple(fault for group in groups[:index] for fault in group) for index in range(count)]
    scenes = zip(groups, ends, earlier, strict=True)
    return [_judge(*scene, saboteur, outcome, lane_map, car, seed) for scene in scenes]


def _judge(
    group: tuple[Fault, ...], end: float, earlier: tuple[Fault, ...], saboteur: Saboteur, outcome: Outcome,
    lane_map: LaneMap, car: VehicleParams, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """What came of the faults that were injected together, after ``earlier`` ones; the next come at ``end`` (s)."""
    struck = saboteur.struck.get(saboteur.faults.index(group[0]))
    poses = [pose for pose in saboteur.poses if pose[0] <= end]
    if struck is None or not poses:
        why = f"never injected: {outcome.failure or 'the ride ended before'}"
        group = tuple(replace(fault, bound=math.inf) for fault in group)
        verdict = judge(group, [], [], why, moving_on=False, standing=True)
        return row(group, verdict, "full", seed)
    wall, struck_ns = struck
    group = tuple(  # what is done from outside begins when the moment was seen to have come
        replace(fault, from_ns=max(struck_ns, fault.from_ns)) if fault.kind in ("kill", "stop") else fault
        for fault in group
    )
    moved = [(round(stamp_s * 1e9), speed) for stamp_s, *_, speed in poses]
    group = tuple(with_symptoms(fault, moved) for fault in group)
    from_ns = min(fault.from_ns for fault in group)
    before = [word for at, word in saboteur.said if at < wall]
    if before and speaks(before[-1]):  # not yet over the earlier ones: naming those is right as well
        known = tuple(part for fault in earlier for part in fault.parts)
        group = tuple(replace(fault, parts=fault.parts + known) for fault in group)
        if before[-1].mode == SystemMode.STOP.name:  # it stands for those already: what comes on top is told when it is
            group = tuple(replace(fault, bound=math.inf) for fault in group)
    words = [(at, word) for at, word in saboteur.said if at >= wall and word.time < end]
    heard = [word for _, word in words]
    _, x, y, yaw, speed = poses[-1]
    last = (before + heard)[-1] if before or heard else None
    infractions = [item for item in saboteur.infractions if from_ns <= item.stamp_ns < end * 1e9]
    verdict = judge(
        group, heard, infractions, illegal_place(lane_map, car, x, y, yaw),
        moving_on=last is not None and last.mode == SystemMode.AUTONOMOUS.name, standing=abs(speed) < _STANDING,
    )  # fmt: skip
    first = next((at for at, word in words if speaks(word)), None)
    waited = None if first is None else round(first - wall, 1)
    if verdict.must_notice and waited is not None and waited > _WAIT_BOUND_S:
        verdict = replace(verdict, in_time=False)
    books = str((outcome.order or {}).get("state", "unknown"))
    if books not in _TRIP_GOES_ON:
        verdict = replace(verdict, safe=False, why_not=f"the dispatcher's books say {books}")
    if verdict.must_notice and verdict.noticed is None:
        verdict = _seen_by_guardian(group, end, outcome, verdict)
    story = [f"{word.time:.2f} {word.mode}: {word.reason} | {word.sentence}" for _, word in words[:12]]
    return row(
        group,
        verdict,
        "full",
        seed,
        story=story,
        noticed_wall_s=waited,
        books=books,
        incidents=[incident.sentence for incident in outcome.incidents],
    )


def _seen_by_guardian(group: tuple[Fault, ...], end: float, outcome: Outcome, verdict: Verdict) -> Verdict:
    """A process that was started again before the world had to wait for it: no message was missing, so that the car has
    nothing to say, and whoever watches over the processes is who must have noticed."""
    for fault in group:
        process = PROCESS_OF.get(fault.target, "")
        for incident in outcome.incidents:
            after = (incident.stamp_ns - fault.from_ns) * 1e-9
            if incident.process == process and after >= 0.0 and incident.stamp_ns < end * 1e9:
                return replace(verdict, noticed=round(after, 3), in_time=after <= fault.bound, named=fault.target,
                               named_right=True)  # fmt: skip
    return verdict


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
        os.kill(pid, number)


def _limit_files(pid: int, size: int) -> int | None:
    """Let a process write files up to a size (bytes) only; its limit before, None when it has ended."""
    try:
        before, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
    except (ProcessLookupError, PermissionError):
        return None
    return before


def _started(work: Callable[[], None]) -> Any:
    process = multiprocessing.get_context("spawn").Process(target=work, daemon=True)
    process.start()
    return process


def _hog_cores() -> None:
    die_with(os.getppid())
    while True:
        sum(range(100_000))


def _hog_memory() -> None:
    """Take most of the memory that is free, page by page, and hold it."""
    die_with(os.getppid())
    words = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
    held = [bytearray(_CHUNK_BYTES) for _ in range(int(_MEMORY_SHARE * int(words.split()[1]) * 1024 / _CHUNK_BYTES))]
    for chunk in held:
        chunk[::4096] = b"x" * len(range(0, _CHUNK_BYTES, 4096))
    signal.pause()

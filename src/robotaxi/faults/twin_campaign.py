"""Injections into twins: one ride a seed, and at each random moment a fork of the process goes on with a fault."""

from __future__ import annotations

import json
import math
import os
import signal
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from robotaxi.faults.catalog import CONTRADICTION, Fault, draw, with_symptoms
from robotaxi.faults.judge import Word, illegal_place, judge, row
from robotaxi.faults.twin import Twin
from robotaxi.hdmap import load_map
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.interfaces import TICK_NS
from robotaxi.sim.ride_plan import plan_ride
from robotaxi.sim.scenery.config import SceneryConfig
from robotaxi.sim.scenery.parking import place_parked
from robotaxi.supervisor import die_with
from robotaxi.types import RecordArray, SystemMode, VehicleParams
from robotaxi.vehicle import load_vehicle

_FIRST_S, _LAST_S = 4.0, 45.0  # of the ride, between which things break
_AFTER_S = 8.0  # driven on after the fault has ended
_HANG_S = 240  # wall time of one injection; longer is a hang, and a failure
_STANDING = 0.1  # m/s
_ATTEMPTS = 250  # ticks that an injection waits for the car to move


@cache
def _world(map_name: str, vehicle: str) -> tuple[LaneMap, RecordArray, VehicleParams]:
    lane_map = load_map(map_name)
    return lane_map, place_parked(lane_map, SceneryConfig())[0], load_vehicle(vehicle)


def run_seed(
    seed: int, first: int, count: int, map_name: str = "town", vehicle: str = "robotaxi",
    tell: Callable[[dict[str, Any]], None] = lambda row: None,
) -> list[dict[str, Any]]:  # fmt: skip
    """``count`` injections into the ride of this seed, with the running numbers from ``first``."""
    lane_map, parked, car = _world(map_name, vehicle)
    twin = Twin(lane_map, car, plan_ride(lane_map, seed), parked, seed)
    rng = np.random.default_rng([seed, 606])
    moments = sorted(int(t / (TICK_NS * 1e-9)) for t in rng.uniform(_FIRST_S, _LAST_S, count))
    rows: list[dict[str, Any]] = []
    for number, moment in enumerate(moments):
        while twin.world.stamp_ns // TICK_NS < moment:
            twin.step()
        for _ in range(_ATTEMPTS):  # a standing car has little to lose
            if twin.world.view().ego.speed > 2.0:
                break
            twin.step()
        faults = draw(first + number, twin.world.stamp_ns, np.random.default_rng([seed, number, 607]))
        rows.append(in_fork(lambda faults=faults: inject(twin, faults, seed), faults, seed))  # type: ignore[misc]
        tell(rows[-1])
    return rows


def inject(twin: Twin, faults: tuple[Fault, ...], seed: int) -> dict[str, Any]:
    """Drive on with the faults and judge. Changes the twin: call it in a fork."""
    twin.faults += faults
    before = len(twin.world.infractions)
    speed = twin.world.view().ego.speed
    said: list[Word] = []
    moved: list[tuple[int, float]] = []
    ends_ns = max(fault.until_ns for fault in faults) + round(_AFTER_S * 1e9)
    while twin.world.stamp_ns < ends_ns:
        now = twin.world.stamp_ns * 1e-9
        moved.append((twin.world.stamp_ns, twin.world.view().ego.speed))
        twin.step()
        word = _word(twin, now)
        if not said or (word.mode, word.reason, word.part) != (said[-1].mode, said[-1].reason, said[-1].part):
            said.append(word)
    ego = twin.world.view().ego
    faults = tuple(with_symptoms(_wheels_wrong(fault, twin), moved) for fault in faults)
    verdict = judge(
        faults, said, list(twin.world.infractions[before:]),
        illegal_place(twin.lane_map, twin.vehicle, ego.x, ego.y, ego.yaw),
        moving_on=said[-1].mode == SystemMode.AUTONOMOUS.name, standing=abs(ego.speed) < _STANDING,
    )  # fmt: skip
    story = [f"{word.time:.2f} {word.mode}: {word.reason} | {word.sentence}" for word in said[:12]]
    return row(faults, verdict, "twin", seed, speed_mps=round(speed, 2), story=story)


def _wheels_wrong(fault: Fault, twin: Twin) -> Fault:
    """Stuck wheels that report nearly the true speed, as they do while the car keeps it, need not be noticed; others
    within the bound from when they are wrong."""
    if fault.kind != "wheel_stuck":
        return fault
    wrong_ns = twin.wheels_wrong_ns
    if wrong_ns is None or wrong_ns + round(CONTRADICTION * 1e9) > fault.until_ns:
        return replace(fault, bound=math.inf)
    return replace(fault, bound=(wrong_ns - fault.from_ns) * 1e-9 + CONTRADICTION)


def _word(twin: Twin, now: float) -> Word:
    if twin.watchdog_ns is not None:
        return Word(now, "WATCHDOG", "No commands: the vehicle's own watchdog brakes.", twin.health.part,
                    twin.health.sentence)  # fmt: skip
    assert twin.output is not None
    return Word(now, twin.output.mode.name, twin.output.reason, twin.health.part, twin.health.sentence)


def in_fork(work: Callable[[], dict[str, Any]], faults: tuple[Fault, ...], seed: int) -> dict[str, Any]:
    """The result of ``work`` done by a fork of this process, whose own state stays as it is."""
    reader, writer = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            die_with(parent)
            os.close(reader)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(_HANG_S)  # whatever hangs dies
            try:
                text = json.dumps(work())
            except Exception:
                text = json.dumps({"error": traceback.format_exc(limit=6)})
            with os.fdopen(writer, "w") as pipe:
                pipe.write(text)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    result = json.loads(text) if text else {"error": f"hung: nothing after {_HANG_S} s"}
    if "error" in result:
        result |= {"seed": seed, "scene": "twin", "safe": False, "good": False, "why_not": result["error"],
                   "must_notice": True, "in_time": False, "named": "", "named_right": False, "noticed": None,
                   "recovered": False,
                   "faults": [{"kind": fault.kind, "target": fault.target} for fault in faults]}  # fmt: skip
    return dict(result)

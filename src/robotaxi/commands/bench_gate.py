"""`robotaxi bench gate`: a million hostile commands, and the age of commands at the actuator under load."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from robotaxi.commands.bench import add_json, finish
from robotaxi.commands.progress import bar, until_interrupted
from robotaxi.crew import run_jobs
from robotaxi.environment import AlreadyRunning
from robotaxi.evaluation.hostile import attack, blocks
from robotaxi.params import ParameterError
from robotaxi.safety import GateConfig
from robotaxi.vehicle import load_vehicle

_MAX_AGE_P99_MS = 40.0
_MIN_RATE_HZ = 49.5  # 50 wanted; the seconds that count may cut one off at either end
_MIN_MODE_RATE_HZ = 9.5
_BLOCKS_A_JOB = 5
_PATIENCE_S = 300.0  # wall time without a word of a process that attacks
_EXAMPLES = 20


def register(benches: Any) -> None:
    parser = benches.add_parser(
        "gate",
        help="hostile commands against the command gate, and its latency under full load",
        description="Drives the command gate with hostile commands and checks every output against the limits; then "
        "runs the gate's process on the wall clock with every core kept busy and measures how old its commands are.",
    )
    parser.add_argument("--commands", type=int, default=1_000_000, help="hostile commands (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=20.0, help="of wall-clock driving; 0 leaves it out")
    parser.add_argument("--vehicle", default="robotaxi", help="vehicle name or path (default %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1,
                        help="processes that attack at the same time (default: one a core, %(default)s)")  # fmt: skip
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        load_vehicle(args.vehicle)
    except (ParameterError, OSError) as error:
        print(f"robotaxi bench gate: {error}", file=sys.stderr)
        return 2
    if args.commands < 1:
        print(f"robotaxi bench gate: --commands is {args.commands}, expected at least 1", file=sys.stderr)
        return 2
    figures = _attack(args)
    holds = figures["out_of_limit_outputs"] == 0 and figures["commands"] == args.commands
    words = f"{figures['out_of_limit_outputs']} of {figures['commands']} outputs out of limits"
    for failure in figures["failures"]:
        print(f"robotaxi bench gate: {failure}", file=sys.stderr)
    if args.seconds > 0.0 and not figures["failures"]:
        from robotaxi.faults.gate_latency import measure

        try:
            age = measure(args.vehicle, args.seconds)
        except (TimeoutError, AlreadyRunning) as error:
            age = {"error": str(error), "age_ms_p99": None, "rate_hz": 0.0, "mode_rate_hz": 0.0, "load_processes": 0}
        figures["command_age"] = age
        fine = age["age_ms_p99"] is not None and age["age_ms_p99"] < _MAX_AGE_P99_MS and age["rate_hz"] >= _MIN_RATE_HZ
        fine = fine and age["mode_rate_hz"] >= _MIN_MODE_RATE_HZ
        if not fine:
            print(f"command age or rate falls short: {age}", file=sys.stderr)
        holds = holds and fine
        words += f", command age p99 {age['age_ms_p99']} ms at {age['rate_hz']} Hz "
        words += f"with {age['load_processes']} busy loops"
    return finish(args, figures, words, holds)


def _attack(args: argparse.Namespace) -> dict[str, Any]:
    """Figures of the hostile commands, from as many processes as there are workers."""
    todo = blocks(args.commands)
    jobs = [todo[i : i + _BLOCKS_A_JOB] for i in range(0, len(todo), _BLOCKS_A_JOB)]
    work = partial(_attack_some, vehicle=args.vehicle, seed=args.seed)
    modes: Counter[str] = Counter()
    examples: list[str] = []
    failures: list[str] = []
    steps: list[float] = []
    commands = violations = 0
    with until_interrupted() as interrupted, bar("hostile commands", args.commands) as progress:
        chunk = max(1, len(jobs) // max(args.workers, 1))
        for row in run_jobs(jobs, work, lambda job: 1, lambda job, why: {"failure": why}, workers=args.workers,
                            chunk=chunk, patience_s=_PATIENCE_S):  # fmt: skip
            if "failure" in row:
                failures.append(row["failure"])
                continue
            commands, violations = commands + row["commands"], violations + row["violation_count"]
            modes.update(row["modes"])
            examples += row["violations"]
            steps += row["step_us"]
            progress(commands)
    step = np.array(steps) if steps else np.zeros(1)
    return {
        "commands": commands,
        "out_of_limit_outputs": violations,
        "examples": sorted(examples)[:_EXAMPLES],
        "failures": failures + interrupted,
        "modes": dict(sorted(modes.items())),
        "step_us": {"p50": float(np.percentile(step, 50)), "p99": float(np.percentile(step, 99))},
    }


def _attack_some(
    job: list[tuple[int, int]], tell: Callable[[dict[str, Any]], None], *, vehicle: str, seed: int
) -> None:
    tell(asdict(attack(GateConfig(), load_vehicle(vehicle), job, seed)))

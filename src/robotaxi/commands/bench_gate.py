"""`robotaxi bench gate`: a million hostile commands, and the age of commands at the actuator under load."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from robotaxi.commands.bench import add_json, finish
from robotaxi.environment import AlreadyRunning
from robotaxi.evaluation.hostile import attack
from robotaxi.params import ParameterError
from robotaxi.safety import GateConfig
from robotaxi.vehicle import load_vehicle

_MAX_AGE_P99_MS = 40.0
_MIN_RATE_HZ = 49.0


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
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        vehicle = load_vehicle(args.vehicle)
    except (ParameterError, OSError) as error:
        print(f"robotaxi bench gate: {error}", file=sys.stderr)
        return 2
    if args.commands < 1:
        print(f"robotaxi bench gate: --commands is {args.commands}, expected at least 1", file=sys.stderr)
        return 2
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("hostile commands", total=args.commands)
        result = attack(GateConfig(), vehicle, args.commands, args.seed, lambda n: progress.update(task, completed=n))
    step = np.array(result.step_us) if result.step_us else np.zeros(1)
    figures: dict[str, Any] = {
        "commands": result.commands,
        "out_of_limit_outputs": result.violation_count,
        "examples": result.violations,
        "modes": result.modes,
        "step_us": {"p50": float(np.percentile(step, 50)), "p99": float(np.percentile(step, 99))},
    }
    holds = result.violation_count == 0 and result.commands == args.commands
    words = f"{result.violation_count} of {result.commands} outputs out of limits"
    if args.seconds > 0.0:
        from robotaxi.faults.gate_latency import measure

        try:
            age = measure(args.vehicle, args.seconds)
        except (TimeoutError, AlreadyRunning) as error:
            age = {"error": str(error), "age_ms_p99": None, "rate_hz": 0.0, "load_processes": 0}
        figures["command_age"] = age
        fine = age["age_ms_p99"] is not None and age["age_ms_p99"] < _MAX_AGE_P99_MS and age["rate_hz"] >= _MIN_RATE_HZ
        if not fine:
            print(f"command age or rate falls short: {age}", file=sys.stderr)
        holds = holds and fine
        words += f", command age p99 {age['age_ms_p99']} ms at {age['rate_hz']} Hz "
        words += f"with {age['load_processes']} busy loops"
    return finish(args, figures, words, holds)

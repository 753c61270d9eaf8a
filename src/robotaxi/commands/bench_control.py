"""`robotaxi bench control`: how near the path does the car stay, beside other steering laws?"""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from robotaxi.commands.bench import add_json, finish


def register(benches: Any) -> None:
    parser = benches.add_parser(
        "control",
        help="path tracking of cars that differ from their data sheet, beside four other steering laws",
        description="Drives randomised cars (lag 0.1-0.4 s, delay 0.1-0.3 s, mass and tyres within 20 %, steering "
        "bias, pose noise) at 5 to 20 m/s. Holds when lateral RMS is at most 2 cm, peak 6 cm and stop error 10 cm at "
        "every speed, and every peer is worse in the same run.",
    )
    parser.add_argument("--trials", type=int, default=4, help="cars and roads for each speed (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--miss", type=float, default=0.1, help="how far lag and delay are from calibration (default %(default)s)"
    )
    parser.add_argument("--no-peers", action="store_true", help="only our controller")
    parser.add_argument("--vehicle", default="robotaxi", help="vehicle name or file (default %(default)s)")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from robotaxi.evaluation import control_bench
    from robotaxi.vehicle import load_vehicle

    if args.trials < 1 or not 0.0 <= args.miss <= 0.5:
        print("robotaxi: --trials must be at least 1 and --miss between 0 and 0.5")
        return 2
    vehicle = load_vehicle(args.vehicle)
    controllers = 1 if args.no_peers else 1 + len(control_bench.PEERS)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("drives", total=controllers * len(control_bench.SPEEDS) * args.trials)
        figures = control_bench.measure(
            vehicle, args.trials, args.seed, args.miss, not args.no_peers, lambda: progress.advance(task)
        )
    table = Table("controller", "m/s", "RMS cm", "worst RMS cm", "peak cm", "stop cm", "lost", "step p99 ms")
    for name, rows in figures.items():
        for speed, row in rows["by_speed"].items():
            lengths = ("lateral_rms_m", "worst_trial_rms_m", "lateral_peak_m", "stop_error_max_m")
            cells = [f"{100.0 * row[key]:.1f}" for key in lengths]
            table.add_row(name, speed, *cells, str(row["lost"]), f"{row['step_ms_p99']:.2f}")
    Console().print(table)
    problems = control_bench.verdict(figures)
    own = figures["robotaxi"]["all"]
    summary = (
        f"lateral RMS {100.0 * own['lateral_rms_m']:.1f} cm, peak {100.0 * own['lateral_peak_m']:.1f} cm, "
        f"stop error {100.0 * own['stop_error_max_m']:.1f} cm" + (f"; {'; '.join(problems)}" if problems else "")
    )
    return finish(args, {"controllers": figures, "problems": problems}, summary, not problems)

"""``robotaxi dispatch torture|conformance|export``: the guarantees put to the test, and the books for others."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any


def add_torture(commands: Any) -> None:
    torture = commands.add_parser(
        "torture",
        help="many orders while everything breaks; then compare the books",
        description=(
            "Real bridges, broker and desk as processes, through a TCP proxy that cuts and delays, on links that "
            "duplicate and reorder, each car in a network namespace whose link goes down where the machine allows it; "
            "bridges, broker and desk are killed at random. At the end no order may be lost, none driven twice, no "
            "state have gone backwards, and both sides' books must be equal."
        ),
    )
    torture.add_argument("--orders", type=_count, default=500, help="how many rides (default %(default)s)")
    torture.add_argument("--cars", type=_count, default=10, help="how many bridges (default %(default)s)")
    torture.add_argument("--seed", type=int, default=0, help="of orders and faults (default %(default)s)")
    torture.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    torture.add_argument("--folder", type=Path, help="keep books, outboxes and logs there (default: nowhere)")
    torture.add_argument("--patience", type=float, default=3600.0, help="longest run, s (default %(default)s)")
    torture.set_defaults(run=run_torture)


def run_torture(args: argparse.Namespace) -> int:
    from robotaxi.dispatch.torture.run import Torture, TortureOptions

    if args.folder is not None and args.folder.exists() and any(args.folder.iterdir()):
        print(f"robotaxi: --folder {args.folder} is not empty", file=sys.stderr)
        return 2
    begun = time.monotonic()

    def show(done: int, orders: int, faults: int) -> None:
        if sys.stderr.isatty():
            line = f"{done}/{orders} orders over, {faults} faults, {time.monotonic() - begun:.0f} s"
            print(f"\r{line}   ", end="", file=sys.stderr, flush=True)

    options = TortureOptions(args.orders, args.cars, args.seed, args.folder, args.patience)
    figures = Torture(options, show).run()
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    for sentence in figures["findings"]:
        print(sentence)
    faults = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in figures["faults"].items())
    print(
        f"torture: {'holds' if figures['holds'] else 'FAILS'}: {figures['orders']} orders, {figures['cars']} cars, "
        f"seed {figures['seed']}, {figures['seconds']:.0f} s; lost {figures['lost']}, driven twice "
        f"{figures['driven_twice']}, backwards {figures['state_backwards']}, books differ {figures['books_differ']}; "
        f"{faults}{'; ' + figures['failure'] if figures['failure'] else ''}"
    )
    return 0 if figures["holds"] else 1


def add_conformance(commands: Any) -> None:
    conformance = commands.add_parser(
        "conformance",
        help="check any broker and dispatcher against the protocol",
        description="Connects as vehicles and as a dispatcher with certificates of --pki, and checks what must hold.",
    )
    conformance.add_argument("--broker", default="mqtts://localhost:8883", help="URL or HOST:PORT (%(default)s)")
    conformance.add_argument("--pki", default="~/.local/share/robotaxi/pki", help="test authority (%(default)s)")
    conformance.add_argument("--operator", default="demo", help="operator in the certificates (default %(default)s)")
    conformance.add_argument("--dispatcher", action="store_true", help="check also the dispatcher behind the broker")
    conformance.add_argument(
        "--order",
        default="",
        metavar="COMMAND",
        help="with --dispatcher: a program that makes it order a ride for the vehicle conformance1, "
        "e.g. 'robotaxi dispatch order --vehicle conformance1 --pickup .. --dropoff ..'",
    )
    conformance.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    conformance.set_defaults(run=run_conformance)


def run_conformance(args: argparse.Namespace) -> int:
    from robotaxi.dispatch.conformance import ONE, OTHER, Conformance, figures
    from robotaxi.dispatch.conformance_dispatcher import DispatcherConformance
    from robotaxi.dispatch.pki import PkiError, make_test_pki

    host, _, port = args.broker.removeprefix("mqtts://").rstrip("/").rpartition(":")
    if not host or not port.isdecimal():
        print(f"robotaxi: --broker {args.broker!r}: expected mqtts://HOST:PORT", file=sys.stderr)
        return 2
    try:
        pki = make_test_pki(Path(args.pki).expanduser(), args.operator, [ONE, OTHER])
    except PkiError as error:
        print(f"robotaxi: {error}", file=sys.stderr)
        return 2
    checks = Conformance(pki, host, int(port)).run()
    if args.dispatcher or args.order:
        checks += DispatcherConformance(pki, host, int(port)).run(args.order)
    result = figures(checks)
    if args.json is not None:
        args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for check in checks:
        print(f"{'holds' if check.held else 'FAILS':<6} {check.part:<11} {check.name} {check.words}".rstrip())
    print(f"conformance: {sum(bool(check.held) for check in checks)} of {len(checks)} checks hold")
    return 0 if result["holds"] else 1


def add_export(commands: Any) -> None:
    export = commands.add_parser("export", help="trips, history and events as CSV, Parquet or GeoJSON")
    export.add_argument("--book", default="dispatch.sqlite", help="order book, file or PostgreSQL URL (%(default)s)")
    export.add_argument("--output", type=Path, default=Path("export"), help="folder (default %(default)s)")
    export.add_argument(
        "--format",
        action="append",
        choices=("csv", "parquet", "geojson"),
        help="may be repeated (default csv, geojson)",
    )
    export.add_argument("--order-id", default="", help="just this trip")
    export.add_argument("--json", type=Path, metavar="FILE", help="write the number of rows there")
    export.set_defaults(run=run_export)


def run_export(args: argparse.Namespace) -> int:
    from robotaxi.dispatch.export import export
    from robotaxi.params import ParameterError

    try:
        rows = export(args.book, args.output, args.format or ["csv", "geojson"], args.order_id)
    except (ParameterError, OSError) as error:
        print(f"robotaxi: {error}", file=sys.stderr)
        return 2
    if args.json is not None:
        args.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    print(f"export: {', '.join(f'{count} {name}' for name, count in rows.items())} into {args.output}")
    return 0


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 1 to 1000000")
    return int(text)

"""`robotaxi bench dispatch`: a thousand vehicles, one bridge, a blackout, spoofing, fuzzing."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from robotaxi.commands.bench import add_json, finish

PARTS = ("fleet", "bridge", "blackout", "spoofing", "fuzz")


def register(benches: Any) -> None:
    parser = benches.add_parser(
        "dispatch",
        help="the dispatch link under load, without a link, under attack",
        description="Measures the dispatch link on this machine: real broker, desk and bridges, mutual TLS.",
    )
    parser.add_argument("--vehicles", type=int, default=1000, help="connected at 1 Hz (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of measuring the fleet (default %(default)s)")
    parser.add_argument("--blackout", type=float, default=20.0, help="s without a link (default %(default)s)")
    parser.add_argument("--fuzz", type=int, default=1_000_000, help="messages (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the fuzzed messages (default %(default)s)")
    parser.add_argument("--only", choices=PARTS, action="append", help="just this part; may be repeated")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    figures: dict[str, Any] = {}
    words = []
    for part in args.only or PARTS:
        _show(f"{part} ...")
        result = _PARTS[part](args)
        figures[part] = result
        words.append(f"{part} {_SUMMARIES[part](result)}{'' if result['holds'] else ' (short)'}")
    _show("")
    holds = all(result["holds"] for result in figures.values())
    return finish(args, figures, "; ".join(words), holds)


def _fleet(args: argparse.Namespace) -> dict[str, Any]:
    from robotaxi.dispatch.measure.fleet import fleet

    return fleet(args.vehicles, args.seconds, _show)


def _bridge(args: argparse.Namespace) -> dict[str, Any]:
    from robotaxi.dispatch.measure.fleet import bridge

    return bridge(10.0)


def _blackout(args: argparse.Namespace) -> dict[str, Any]:
    from robotaxi.dispatch.measure.blackout import blackout

    return blackout(args.blackout)


def _spoofing(args: argparse.Namespace) -> dict[str, Any]:
    from robotaxi.dispatch.measure.spoofing import spoofing

    return spoofing()


def _fuzz(args: argparse.Namespace) -> dict[str, Any]:
    from robotaxi.dispatch.measure.fuzz import fuzz

    return fuzz(args.fuzz, args.seed, lambda done: _show(f"fuzz {done} of {args.fuzz}"))


_PARTS = {"fleet": _fleet, "bridge": _bridge, "blackout": _blackout, "spoofing": _spoofing, "fuzz": _fuzz}
_SUMMARIES = {
    "fleet": lambda r: (
        f"{r.get('vehicles')} at 1 Hz: p99 {r.get('latency_p99_ms')} ms, broker {r.get('broker_core')} and "
        f"desk {r.get('desk_core')} of a core"
    ),
    "bridge": lambda r: f"{100 * r['core']:.1f} % of a core, {r['mb']:.0f} MB",
    "blackout": lambda r: (
        f"{r['events_delivered']} of {r['events_sent']} events, {r['events_twice']} twice, live state after "
        f"{r['live_state_after_s']} s"
    ),
    "spoofing": lambda r: f"{sum(a['refused'] for a in r['attempts'].values())} of {len(r['attempts'])} refused",
    "fuzz": lambda r: f"{r['messages']} messages, {r['crashes']} crashes, {r['state_changes']} state changes",
}


def _show(words: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{words:<60}", end="" if words else "\r", file=sys.stderr, flush=True)

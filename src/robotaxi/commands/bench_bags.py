"""`robotaxi bench bags`: how fast are replay, recording and index, and are the bytes the same?"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from robotaxi.bags.writer import BagError
from robotaxi.commands.bench import add_json, finish, unusable
from robotaxi.commands.progress import bar, until_interrupted

_FULL, _CAMERA, _PART = 5.0, 2.0, 50.0  # times real time, wanted
_INDEX_RATIO = 0.8
_RECORD_CORE, _RECORD_MB, _RECORD_S = 0.2, 200.0, 1800.0
_RIDES = 20
_PARTS = {
    "full": "replay of the whole stack, without and with the camera",
    "planning": "replay of planning and control alone",
    "record": "`robotaxi record` under full sensor load",
    "index": "index and query beside the raw read of rosbags",
    "exact": "replay in separate processes, idle and under a processor hog: the same bytes",
}


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "bags",
        help="replay, recording and index: speed, memory, the same bytes",
        description="Measures on the bags given (of `robotaxi ride --record all`), or on one that it records first. "
        "Figures are written as they come; Ctrl-C keeps those that are there. Exit status 0 only if every part asked "
        "for was measured and reaches what is wanted.",
        epilog="parts:\n" + "".join(f"  {name:9} {what}\n" for name, what in _PARTS.items())
        + "\nthe whole of what is wanted:\n  robotaxi bench bags --record-s 1800 --rides 20 --limit-s 0",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("bags", nargs="*", type=Path, metavar="BAG", help="none: a short ride is recorded first")
    parser.add_argument("--only", type=_parts, default=tuple(_PARTS), metavar="PART,...",
                        help="only these parts (default: " + ",".join(_PARTS) + ")")  # fmt: skip
    parser.add_argument("--seed", type=int, default=7, help="of the first ride that is recorded (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of a ride that is recorded (default %(default)s)")
    parser.add_argument("--record-s", type=float, default=60.0,
                        help="s of full sensor load (default %(default)s; wanted are 1800)")  # fmt: skip
    parser.add_argument("--rides", type=int, default=1,
                        help="rides replayed for the same bytes; what the bags given lack is recorded, by further "
                        "seeds (default %(default)s; wanted are 20)")  # fmt: skip
    parser.add_argument("--limit-s", type=float, default=900.0,
                        help="no measurement begins later than so many s after the start; 0: no limit "
                        "(default %(default)s)")  # fmt: skip
    parser.add_argument("--load", action="store_true", help="keep every core busy in every part")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs' folders go")
    add_json(parser)
    parser.set_defaults(run=run)


def _parts(text: str) -> tuple[str, ...]:
    named = tuple(part.strip() for part in text.split(",") if part.strip())
    unknown = [part for part in named if part not in _PARTS]
    if unknown or not named:
        raise argparse.ArgumentTypeError(f"'{text}': parts are {', '.join(_PARTS)}")
    return named


def run(args: argparse.Namespace) -> int:
    from robotaxi.bags.reader import bag_info

    try:
        for bag in args.bags:
            if not bag_info(bag).native:
                raise BagError(
                    f"bag {bag} was not recorded by this stack; `robotaxi bag adapt {bag} -o NEW` makes one of it"
                )
        if args.seconds <= 0.0 or args.record_s <= 0.0 or args.rides < 1 or args.limit_s < 0.0:
            raise BagError("--seconds, --record-s and --rides must be above 0, --limit-s not below")
    except (BagError, OSError) as error:
        return unusable(args, error)
    bench = _Bench(args)
    with bar("bench bags", bench.steps) as progress:
        bench.progress = progress
        with until_interrupted() as interrupted:
            bench.run()
    if interrupted or bench.interrupted:
        bench.left_out.append("the rest: interrupted by the user")
    return _report(args, bench)


class _Bench:
    """The measurements, one after the other; what is there is written at once."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.figures: dict[str, Any] = {"asked": list(args.only), "load": args.load}
        self.left_out: list[str] = []
        self.interrupted = False
        self.progress: Any = None
        self._bags: list[Path] = [bag.resolve() for bag in args.bags]
        self._runs: Path = args.runs.resolve()
        self._begun = time.monotonic()
        self._done = 0
        first = max(len(self._bags), 1)
        exact = 2 * args.rides + max(args.rides - first, 0)  # the rides that lack are recorded
        count = {"full": 2 * first, "planning": first, "record": 1, "index": 1, "exact": exact}
        self.steps = sum(count[part] for part in args.only) + (not self._bags)

    def run(self) -> None:
        from robotaxi.replay.bench import hogs, index_speed
        from robotaxi.replay.record_load import measure

        args, asked = self.args, self.args.only
        if not self._bags and not self._record_one(args.seed):
            return
        bags = list(self._bags)
        with hogs(args.load):
            for bag in bags if "full" in asked else ():
                self._row("full_without_camera", self._stack, bag, False)
                self._row("full_with_camera", self._stack, bag, True)
            for bag in bags if "planning" in asked else ():
                self._row("planning_control", self._decide, bag)
            if "record" in asked:
                self._row("record", measure, bags[0], args.record_s, self.show)
            if "index" in asked:
                self._row("index", index_speed, bags[0])
        for number in range(args.rides if "exact" in asked else 0):
            if number < len(self._bags) or self._record_one(args.seed + number):
                self._row("exact", self._separate, self._bags[number], False)
                self._row("exact", self._separate, self._bags[number], True)

    def _stack(self, bag: Path, camera: bool) -> dict[str, Any]:
        from robotaxi.replay.bench import replay_rate, whole_stack

        return replay_rate(bag, whole_stack(bag, camera), self._runs, self.show)

    def _decide(self, bag: Path) -> dict[str, Any]:
        from robotaxi.replay.bench import replay_rate

        return replay_rate(bag, "planning,control", self._runs, self.show)

    def _separate(self, bag: Path, load: bool) -> dict[str, Any]:
        from robotaxi.replay.bench import hogs, replay_rate, whole_stack

        with hogs(load):
            row = replay_rate(bag, whole_stack(bag, None), self._runs, self.show, direct=False)
        return {"load": load, **row}

    def _record_one(self, seed: int) -> bool:
        self.progress.say(f"recording {self.args.seconds:g} s of a ride with seed {seed} ...")
        return self._row("recorded", self._record, seed)

    def _record(self, seed: int) -> dict[str, Any]:
        from robotaxi.replay.bench import record_a_ride

        self._bags.append(record_a_ride(seed, self.args.seconds, self._runs))
        return {"seed": seed, "bag": str(self._bags[-1])}

    def _row(self, name: str, measure: Callable[..., dict[str, Any]], *given: Any) -> bool:
        """One measurement; what cannot be measured is named, and the next one goes on."""
        from robotaxi.environment import AlreadyRunning
        from robotaxi.replay.session import ReplayInterrupted

        if self.interrupted:
            return False
        limit = self.args.limit_s
        if limit and time.monotonic() - self._begun > limit:
            self.left_out.append(f"{name}: begun too late, --limit-s is {limit:g}")
            return False
        try:
            row = measure(*given)
        except ReplayInterrupted:
            self.interrupted = True
            return False
        except ModuleNotFoundError as error:
            self.left_out.append(f"{name}: {error.name} is missing: pip install robotaxi[mine]")
            return False
        except (AlreadyRunning, BagError, OSError, RuntimeError, ValueError) as error:
            self.left_out.append(f"{name}: {error}")
            return False
        finally:
            self._done += 1
            self.progress(self._done)
        self.figures.setdefault(name, []).append(row)
        self.progress.say(_sentence(name, row))
        self.write()
        return True

    def show(self, _: float) -> None:
        self.progress(self._done)

    def write(self) -> None:
        if self.args.json is not None:
            self.args.json.parent.mkdir(parents=True, exist_ok=True)
            body = {**self.figures, "left_out": self.left_out, "holds": False, "finished": False}
            self.args.json.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")


def _sentence(name: str, row: dict[str, Any]) -> str:
    if name == "recorded":
        return f"recorded {row['bag']}"
    if name == "record":
        late = (
            f"; the sender was up to {row['late_s']:.1f} s late: the machine is too busy" if row["late_s"] > 1 else ""
        )
        return (f"record: {row['messages']} messages in {row['seconds']:.0f} s, {row['lost']} lost, "
                f"{row['core_share']:.2f} of a core, {row['memory_mb']:.0f} MB{late}")  # fmt: skip
    if name == "index":
        return f"index: {row['ratio']:.2f} of the speed of the raw read"
    same = f"the same {row['messages']} messages" if row["same"] else "NOT THE SAME"
    load = ", under a hog" if row.get("load") else ""
    return f"{name}: {row['recorded_s']:.0f} s at {row['rate']:.1f} times real time{load}, {same}"


def checks(figures: dict[str, Any]) -> dict[str, bool]:
    """What is wanted of each figure that is there."""
    out: dict[str, bool] = {}
    for name, wanted in (("full_without_camera", _FULL), ("full_with_camera", _CAMERA), ("planning_control", _PART)):
        rows = [row for row in figures.get(name, ()) if name == "planning_control" or row["sweeps"]]
        if rows:
            out[name + "_rate"] = min(row["rate"] for row in rows) >= wanted
    replays = [row for name in ("full_without_camera", "full_with_camera", "planning_control", "exact")
               for row in figures.get(name, ())]  # fmt: skip
    if replays:
        out["same_bytes"] = all(row["same"] for row in replays)
    for row in figures.get("record", ()):
        out["record_loss"] = row["lost"] == 0
        out["record_core"] = row["core_share"] <= _RECORD_CORE
        out["record_memory"] = row["memory_mb"] <= _RECORD_MB
    for row in figures.get("index", ()):
        out["index_ratio"] = row["ratio"] >= _INDEX_RATIO
    return out


def _report(args: argparse.Namespace, bench: _Bench) -> int:
    figures = bench.figures
    held = checks(figures)
    exact = figures.get("exact", ())
    measured: dict[str, Any] = {}
    words = []
    for name, title in (("full_without_camera", "whole stack without camera"), ("full_with_camera", "with camera"),
                        ("planning_control", "planning and control")):  # fmt: skip
        if name in figures:
            rate = min(row["rate"] for row in figures[name])
            words.append(f"{title} {rate:.1f} times real time")
    for row in figures.get("record", ()):
        measured["record_s"] = row["seconds"]
        words.append(f"{row['lost']} messages lost in {row['seconds']:.0f} s of full load (of {_RECORD_S:.0f} wanted), "
                     f"{row['core_share']:.2f} of a core, {row['memory_mb']:.0f} MB")  # fmt: skip
    for row in figures.get("index", ()):
        words.append(f"index at {row['ratio']:.2f} of the raw read")
    if exact:
        rides = {row["bag"] for row in exact}
        good = [bag for bag in rides if all(row["same"] for row in exact if row["bag"] == bag)]
        measured["exact_rides"], measured["exact_same"] = len(rides), len(good)
        words.append(f"{len(good)} of {len(rides)} rides (of {_RIDES} wanted) the same bytes idle and under load")
    short = [name for name, good in held.items() if not good]
    left = bench.left_out
    figures.update(left_out=left, checks=held, finished=True, **measured)
    if not words:
        print(f"robotaxi bench bags: {'; '.join(left)}", file=sys.stderr)
        finish(args, figures, f"not measured: {'; '.join(left)}", False)
        return 2
    tail = (f"; FELL SHORT: {', '.join(short)}" if short else "") + (f"; LEFT OUT: {'; '.join(left)}" if left else "")
    return finish(args, figures, ", ".join(words) + tail, not short and not left)

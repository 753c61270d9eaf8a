"""Measurements of `robotaxi bench bags`."""

from __future__ import annotations

import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robotaxi.bags.compare import compare
from robotaxi.bags.mine import TOPICS, rows_of
from robotaxi.bags.reader import bag_info, open_bag, table_topic
from robotaxi.bags.writer import BagError, BagWriter
from robotaxi.replay.session import ReplayOptions, replay

_REPEATS = 3


@contextmanager
def hogs(wanted: bool) -> Iterator[None]:
    """One busy process a core."""
    started = [
        multiprocessing.get_context("spawn").Process(target=_hog, daemon=True)
        for _ in range(multiprocessing.cpu_count() if wanted else 0)
    ]
    for hog in started:
        hog.start()
    try:
        yield
    finally:
        for hog in started:
            hog.kill()


def _hog() -> None:
    while True:
        sum(range(100_000))


def record_a_ride(seed: int, seconds: float, runs: Path) -> Path:
    """The bag of a ride that is cut off after ``seconds``, with its sensors. BagError when there is none."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ride.json"
        command = [sys.executable, "-m", "robotaxi", "ride", "--seed", str(seed), "--max-duration", str(seconds),
                   "--record", "all", "--runs", str(runs), "--json", str(file)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        figures = json.loads(file.read_text()) if file.exists() else {}
    if "bag" not in figures or "distance_m" not in figures:
        raise BagError(f"no ride was recorded: {figures.get('error') or done.stderr[-300:]}")
    return Path(figures["bag"])


def replay_speed(bag: Path, runs: Path, separate: bool) -> dict[str, Any]:
    """Rates and sameness of the whole stack and of planning and control."""
    out: dict[str, Any] = {}
    plans = [("full", "", True), ("planning_control", "planning,control", True)]
    if separate:
        plans.append(("separate", "", False))
    runs.mkdir(parents=True, exist_ok=True)
    same = True
    for name, nodes, direct in plans:
        folder = Path(tempfile.mkdtemp(prefix=f"bench-{name}-", dir=runs))
        result = replay(ReplayOptions(bag, folder, nodes, direct=direct), lambda _: None, lambda _: None)
        found = compare(bag, result.capture, _recorded(bag, result.plan.fresh))
        same = same and found.same and result.complete
        out[f"{name}_rate"], out[f"{name}_cpu_s"] = round(result.rate, 2), round(result.cpu_s, 2)
        out[f"{name}_same"], out[f"{name}_messages"] = found.same, found.compared
        out["recorded_s"], out["camera"] = result.recorded_s, out.get("camera") or _plays_images(result)
        if found.first is not None:
            out[f"{name}_first_difference"] = found.first.sentence()
    return {**out, "same": same}


def _recorded(bag: Path, topics: tuple[str, ...]) -> list[str]:
    """Those of the topics that the bag holds."""
    held = {table_topic(topic) for topic, (_, count) in bag_info(bag).topics.items() if count}
    return [topic for topic in topics if topic in held]


def _plays_images(result: Any) -> bool:
    return "sensing/camera/front/image_raw" in result.plan.played


def write_load(bag: Path, seconds: float) -> dict[str, Any]:
    """The bag's messages written again at the recorder's settings, for ``seconds`` of recorded time.

    ``core_share``: of one core, at real time. ``lost``: messages that did not arrive in the new bag.
    """
    with tempfile.TemporaryDirectory() as folder:
        script = [sys.executable, "-m", "robotaxi.replay.bench", str(bag), str(seconds), str(Path(folder) / "bag")]
        done = subprocess.run(script, capture_output=True, text=True)
        if done.returncode != 0:
            raise BagError(f"the load could not be written: {done.stderr.strip()[-300:]}")
        figures: dict[str, Any] = json.loads(done.stdout)
        with open_bag(Path(folder) / "bag") as reader:
            figures["lost"] = figures["messages"] - reader.message_count
    return figures


def _write_load(bag: Path, seconds: float, out: Path) -> dict[str, Any]:
    writer = BagWriter(out, tf=False)
    spent, count, last_ns, size = 0.0, 0, 0, 0
    with open_bag(bag) as reader:
        for connection in reader.connections:
            writer.add_topic(connection.topic, connection.msgtype)
        first = reader.start_time
        while last_ns < seconds * 1e9:
            offset = last_ns
            for connection, stamp_ns, raw in reader.messages():
                last_ns = offset + stamp_ns - first
                before = time.process_time()
                writer.write(connection.topic, raw, last_ns)
                spent += time.process_time() - before
                count, size = count + 1, size + len(raw)
                if last_ns >= seconds * 1e9:
                    break
            last_ns += 1
    writer.close()
    return {
        "seconds": last_ns / 1e9, "messages": count, "megabytes": round(size / 1e6, 1),
        "core_share": round(spent / (last_ns / 1e9), 4),
        "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0, 1),
    }  # fmt: skip


def index_speed(bag: Path) -> dict[str, Any]:
    """Index beside the raw read of the same topics with rosbags, in turns; the best of each counts.

    ``ratio`` is of processor times, which other work on the machine does not move.
    """
    read, index, size, rows = [], [], 0, 0
    for _ in range(_REPEATS):
        begun = time.process_time()
        with open_bag(bag) as reader:
            chosen = [c for c in reader.connections if table_topic(c.topic) in TOPICS]
            size = sum(len(raw) for _, _, raw in reader.messages(chosen)) if chosen else 0
        read.append(time.process_time() - begun)
        begun = time.process_time()
        rows = len(rows_of(bag)["t"])
        index.append(time.process_time() - begun)
    return {"raw_read_cpu_s": round(min(read), 4), "index_cpu_s": round(min(index), 4),
            "ratio": round(min(read) / min(index), 3), "megabytes": round(size / 1e6, 2), "rows": rows}  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(_write_load(Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]))))

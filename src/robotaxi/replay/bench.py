"""Measurements of `robotaxi bench bags`."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robotaxi.bags.compare import compare
from robotaxi.bags.mine import TOPICS, build_index, find, rows_of
from robotaxi.bags.reader import bag_info, custom_data, open_bag, table_topic
from robotaxi.bags.writer import BagError
from robotaxi.replay.session import ReplayOptions, replay
from robotaxi.stack import plan_bag
from robotaxi.supervisor import die_with

_REPEATS = 3
_END_S = 60.0  # wall time that a ride which is stopped may take to end
_CAMERA, _LIDAR = "camera_perception", "lidar_perception"
_IMAGES = "sensing/camera/front/image_raw"
_QUERY = "ttc < 1.5 or hard_brake or disengagement"
_GIGABYTES = 100.0
Show = Callable[[float], None]


@contextmanager
def hogs(wanted: bool) -> Iterator[None]:
    """One busy process a core."""
    started = [
        multiprocessing.get_context("spawn").Process(target=_hog, daemon=True)
        for _ in range(os.cpu_count() or 1 if wanted else 0)
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
        file, said = Path(folder) / "ride.json", Path(folder) / "said"
        command = [sys.executable, "-m", "robotaxi", "ride", "--seed", str(seed), "--max-duration", str(seconds),
                   "--record", "all", "--runs", str(runs), "--json", str(file)]  # fmt: skip
        with open(said, "w", encoding="utf-8") as out:
            parent = os.getpid()
            ride = subprocess.Popen(
                command, stdout=out, stderr=out, start_new_session=True, preexec_fn=lambda: die_with(parent)
            )
            try:
                ride.wait()
            finally:  # Ctrl-C: the ride ends in order
                if ride.poll() is None:
                    ride.send_signal(signal.SIGINT)
                    ride.wait(_END_S)
        figures = json.loads(file.read_text()) if file.exists() else {}
        if "bag" not in figures or "distance_m" not in figures:
            words = said.read_text(encoding="utf-8", errors="replace").strip()
            raise BagError(f"no ride was recorded: {figures.get('error') or words[-300:]}")
    return Path(figures["bag"])


def whole_stack(bag: Path, camera: bool | None) -> str:
    """The nodes that the bag can feed, by comma, with or without the camera's (None: as the bag is).

    Without the camera's node the recorded lights are played. BagError when it shall be there and has no images.
    """
    roles = plan_bag(str(bag), "" if custom_data(bag).get("map") else "perception").roles
    if camera and _CAMERA not in roles:
        raise BagError(f"bag {bag} has no images")
    return ",".join(role for role in roles if camera is not False or role != _CAMERA)


def replay_rate(bag: Path, nodes: str, runs: Path, show: Show, direct: bool = True) -> dict[str, Any]:
    """Rate and sameness of a replay of the nodes. ``same``: every output that the bag holds came again, bit for bit.

    ``direct``: without middleware; else in separate processes over it.
    """
    runs.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-bags-", dir=runs))
    result = replay(ReplayOptions(bag, folder, nodes, direct=direct), show, lambda _: None)
    held = {table_topic(topic) for topic, (_, count) in bag_info(bag).topics.items() if count}
    found = compare(bag, result.capture, [topic for topic in result.plan.fresh if topic in held])
    row = {
        "bag": str(bag), "nodes": list(result.plan.roles), "rate": round(result.rate, 2),
        "cpu_s": round(result.cpu_s, 2), "played_s": result.played_s, "recorded_s": result.recorded_s,
        "sweeps": _LIDAR in result.plan.roles, "images": _IMAGES in result.plan.played, "messages": found.compared,
        "same": found.same and result.complete,
    }  # fmt: skip
    if found.first is not None:
        row["first_difference"] = found.first.sentence()
    if result.given_up:
        row["no_answer"] = result.given_up
    return row


def index_speed(bag: Path) -> dict[str, Any]:
    """Index and query beside the raw read of the same topics with rosbags, in turns; the best of each counts.

    ``ratio`` is of processor times, which other work on the machine does not move. What is done once a process
    (compiled readers of the message types) is done before: it does not grow with the bags.
    """
    read, index, query, size, rows, moments = [], [], [], 0, 0, 0
    rows_of(bag)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(_REPEATS):
            begun = time.process_time()
            with open_bag(bag) as reader:
                chosen = [c for c in reader.connections if table_topic(c.topic) in TOPICS]
                size = sum(len(raw) for _, _, raw in reader.messages(chosen)) if chosen else 0
            read.append(time.process_time() - begun)
            begun = time.process_time()
            made = build_index([bag], Path(folder) / str(number))
            index.append(time.process_time() - begun)
            begun = time.process_time()
            moments = len(find(made, _QUERY))
            query.append(time.process_time() - begun)
    rows = len(rows_of(bag)["t"])
    bag_mb = sum(file.stat().st_size for file in bag.iterdir()) / 1e6 if bag.is_dir() else bag.stat().st_size / 1e6
    spent = min(index) + min(query)
    return {
        "raw_read_cpu_s": round(min(read), 4), "index_cpu_s": round(min(index), 4),
        "query_cpu_s": round(min(query), 4), "ratio": round(min(read) / spent, 3), "megabytes": round(size / 1e6, 2),
        "bag_mb": round(bag_mb, 1), "rows": rows, "moments": moments,
        "cpu_s_for_100_gb": round(spent / bag_mb * 1e3 * _GIGABYTES, 0),
    }  # fmt: skip

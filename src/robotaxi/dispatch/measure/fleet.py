"""Delivery times and processor shares with a fleet connected; what one bridge costs."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from robotaxi.dispatch import client, process
from robotaxi.dispatch.measure.load import OPERATOR
from robotaxi.dispatch.pki import make_test_pki
from robotaxi.dispatch.torture.car import CarSetup, run_car
from robotaxi.dispatch.torture.chaos import Chaos

TICKS = os.sysconf("SC_CLK_TCK")
SETTLE_S = 3.0


def cpu_s(pid: int) -> float:
    """Processor time (s) that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(pid: int) -> float:
    """Proportional share of memory (MB): pages that several processes share count in part."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) / 1024.0 for line in text.splitlines() if line.startswith("Pss:"))


def fleet(vehicles: int, seconds: float, show: Callable[[str], None]) -> dict[str, Any]:
    """``vehicles`` connected with mutual TLS at 1 Hz for ``seconds``."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet-")))
        show(f"making {vehicles} certificates")
        pki = make_test_pki(folder / "pki", OPERATOR, [f"load{n}" for n in range(vehicles)])
        broker = process.start_broker(pki.folder, folder / "broker.log", operator=OPERATOR)
        stack.callback(broker.stop)
        desk = process.start_desk(pki.folder, broker.ready["port"], folder / "book.sqlite", folder / "desk.log")
        stack.callback(desk.stop)
        url = str(desk.ready["url"])
        show(f"connecting {vehicles} vehicles")
        command = [sys.executable, "-m", "robotaxi.dispatch.measure.load", str(pki.folder)]
        load = subprocess.Popen(
            [*command, str(broker.ready["port"]), str(vehicles)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        stack.callback(load.kill)
        assert load.stdout is not None and load.stdin is not None
        line = load.stdout.readline()
        if not line:
            return {"holds": False, "why": "the vehicles were not let in"}
        connected = json.loads(line)
        time.sleep(SETTLE_S)
        client.call(url, "POST", "/metrics/reset")
        before = [cpu_s(child.pid) for child in (broker, desk)]
        count, begun = client.call(url, "GET", "/metrics")["messages"], time.monotonic()
        show(f"measuring for {seconds:g} s")
        time.sleep(seconds)
        wall = time.monotonic() - begun
        after = [cpu_s(child.pid) for child in (broker, desk)]
        metrics = client.call(url, "GET", "/metrics")
        memory = [memory_mb(child.pid) for child in (broker, desk)]
        load.stdin.close()
        ended = json.loads(load.stdout.readline() or b"{}")
        load.wait(10.0)
        shares = [(b - a) / wall for a, b in zip(before, after, strict=True)]
        messages = metrics["messages"] - count
        expected = vehicles * wall
        p99 = metrics["latency_p99_ms"]
        return {
            "vehicles": vehicles,
            "seconds": round(wall, 1),
            "connect_seconds": connected["seconds"],
            "messages": messages,
            "messages_expected": round(expected),
            "latency_p50_ms": _rounded(metrics["latency_p50_ms"]),
            "latency_p99_ms": _rounded(p99),
            "latency_max_ms": _rounded(metrics["latency_max_ms"]),
            "broker_core": round(shares[0], 3),
            "desk_core": round(shares[1], 3),
            "broker_mb": round(memory[0], 1),
            "desk_mb": round(memory[1], 1),
            "lost_connections": ended.get("lost_connections"),
            "holds": p99 is not None
            and p99 < 20.0
            and shares[1] < 1.0
            and ended.get("lost_connections") == 0
            and messages > 0.98 * expected,
        }


def bridge(seconds: float) -> dict[str, Any]:
    """One bridge, connected, stepped at 20 Hz: its share of a core and its memory."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bridge-")))
        for name in ("log", "journal", "outbox"):
            (folder / name).mkdir()
        pki = make_test_pki(folder / "pki", OPERATOR, ["car1"])
        broker = process.start_broker(pki.folder, folder / "broker.log", operator=OPERATOR)
        stack.callback(broker.stop)
        setup = CarSetup(
            "car1", str(folder), str(pki.folder), int(broker.ready["port"]), 0, Chaos(0.0, 0.0), period_s=0.1
        )
        running = multiprocessing.get_context("spawn").Process(target=run_car, args=(setup,), daemon=True)
        running.start()
        stack.callback(running.kill)
        assert running.pid is not None
        time.sleep(SETTLE_S)
        before, begun = cpu_s(running.pid), time.monotonic()
        time.sleep(seconds)
        share = (cpu_s(running.pid) - before) / (time.monotonic() - begun)
        memory = memory_mb(running.pid)
        return {"core": round(share, 4), "mb": round(memory, 1), "holds": share < 0.03 and memory < 80.0}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)

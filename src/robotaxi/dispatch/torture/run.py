"""The torture itself: start everything, place the orders, break things, heal them, wait, compare."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robotaxi.dispatch import client, process
from robotaxi.dispatch.pki import make_test_pki
from robotaxi.dispatch.torture import namespaces
from robotaxi.dispatch.torture.car import OPERATOR, PERIOD_S, CarSetup, run_car
from robotaxi.dispatch.torture.chaos import Chaos
from robotaxi.dispatch.torture.check import Findings, compare
from robotaxi.dispatch.torture.proxy import Proxy

TICK_S = 0.05
CARS_PERIOD_S = 0.004  # between two steps of a bridge, for each car of the fleet
CALM_S = 120.0  # after the last order: until every book is closed
STALL_S = 180.0  # without any progress the torture gives up
CANCELLED_SHARE = 0.08
DESK = "desk"


@dataclass(frozen=True)
class TortureOptions:
    """Faults a second over the whole fleet, scaled to its size; ``patience_s``: longest run."""

    orders: int
    cars: int
    seed: int
    folder: Path | None = None
    patience_s: float = 3600.0
    kill_rate: float = 0.05  # a car and second
    fault_rate: float = 0.1  # a car and second: partitions, silences, delays
    namespaces: bool = True  # where the machine allows; else the proxy alone
    broker_period_s: float = 25.0
    desk_period_s: float = 20.0


class Torture:
    """``show(done, orders, faults)`` is called about once a second."""

    def __init__(self, options: TortureOptions, show: Callable[[int, int, int], None]) -> None:
        self._options = options
        self._show = show
        self._rng = random.Random(f"torture/{options.seed}")
        self.cars = [f"car{number}" for number in range(1, options.cars + 1)]
        self.order_ids = [f"t{options.seed}-{number}" for number in range(options.orders)]
        self.faults: Counter[str] = Counter()
        self._backwards: list[str] = []
        self._progress: dict[str, tuple[int, int]] = {}

    def run(self) -> dict[str, Any]:
        with contextlib.ExitStack() as stack:
            folder = self._options.folder
            if folder is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="torture-")))
            self._folder = folder
            return self._run(stack)

    def _run(self, stack: contextlib.ExitStack) -> dict[str, Any]:
        folder, options = self._folder, self._options
        for name in ("log", "journal", "outbox"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._pki = make_test_pki(folder / "pki", OPERATOR, self.cars)
        self._broker = process.start_broker(self._pki.folder, folder / "log" / "broker.log", operator=OPERATOR)
        self._broker_port = int(self._broker.ready["port"])
        stack.callback(lambda: self._broker.stop())
        self._homes = namespaces.make(self.cars) if options.namespaces else {}
        for home in self._homes.values():
            stack.callback(home.close)
        self._proxy = Proxy(("127.0.0.1", self._broker_port), [*self.cars, DESK], self._homes)
        stack.callback(self._proxy.close)
        self._desk_port, self._desk_count = 0, 0
        self._desk = self._start_desk()
        self._desk_port = int(self._desk.ready["port"])
        self._url = str(self._desk.ready["url"])
        stack.callback(lambda: self._desk.stop())
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["robotaxi.dispatch.torture.car"])
        self._processes: dict[str, Any] = {}
        self._down: dict[str, float] = {}  # car -> when it starts again
        self._healing: dict[str, float] = {}  # door -> when it heals
        stack.callback(self._kill_cars)
        for car in self.cars:
            self._start_car(car)
        begun, cpu = time.monotonic(), time.process_time()
        failure = self._drive(begun)
        self._calm(begun)
        seconds = time.monotonic() - begun
        self._end_cars()
        self._desk.stop()
        found = compare(folder, self.order_ids, self.cars)
        found.backwards += self._backwards
        return self._figures(found, seconds, time.process_time() - cpu, failure, options)

    def _figures(
        self, found: Findings, seconds: float, cpu_s: float, failure: str, options: TortureOptions
    ) -> dict[str, Any]:
        return {
            "orders": options.orders,
            "cars": options.cars,
            "seed": options.seed,
            "network": "namespaces" if self._homes else "proxy",
            "seconds": round(seconds, 1),
            "driver_cpu_s": round(cpu_s, 1),
            "faults": dict(sorted(self.faults.items())),
            **found.as_dict(),
            "failure": failure,
            "holds": found.holds and not failure,
        }

    # ------------------------------------------------------------------ the storm

    def _drive(self, begun: float) -> str:
        """Place every order while things break, until all are over. Returns why it gave up, or ""."""
        options, rng = self._options, self._rng
        placed, done, cancels = 0, 0, [(0.0, "")][:0]
        moved, shown = time.monotonic(), 0.0
        broker_due = begun + options.broker_period_s * rng.uniform(0.5, 1.0)
        desk_due = begun + options.desk_period_s * rng.uniform(0.5, 1.0)
        while True:
            now = time.monotonic()
            while placed < options.orders and placed - done < 2 * options.cars and self._place(self.order_ids[placed]):
                if rng.random() < CANCELLED_SHARE:
                    cancels.append((now + rng.uniform(0.0, 4.0), self.order_ids[placed]))
                placed += 1
            for item in [item for item in cancels if item[0] <= now]:
                if self._cancel(item[1]):
                    cancels.remove(item)
            finished = self._done()
            if finished != done:
                done, moved = finished, now
            if now - shown > 1.0:
                shown = now
                self._show(done, options.orders, sum(self.faults.values()))
            if done >= options.orders:
                return ""
            if now - moved > STALL_S:
                return f"no order ended for {STALL_S:g} s"
            if now - begun > options.patience_s:
                return f"not done after {options.patience_s:g} s"
            self._break_something(now)
            if now >= broker_due:
                self._restart_broker()
                broker_due = now + options.broker_period_s * rng.uniform(0.5, 1.5)
            if now >= desk_due:
                self._restart_desk()
                desk_due = now + options.desk_period_s * rng.uniform(0.5, 1.5)
            time.sleep(TICK_S)

    def _break_something(self, now: float) -> None:
        rng, options = self._rng, self._options
        for car, at in list(self._down.items()):
            if now >= at:
                del self._down[car]
                self._start_car(car)
        for door, at in list(self._healing.items()):
            if now >= at:
                del self._healing[door]
                self._proxy.heal(door)
        if rng.random() < options.kill_rate * options.cars * TICK_S:
            car = rng.choice(self.cars)
            if car not in self._down:
                self._kill(self._processes[car].pid)
                self._processes[car].join()
                self._down[car] = now + rng.uniform(0.05, 1.0)
                self.faults["bridge_kills"] += 1
        if rng.random() < options.fault_rate * options.cars * TICK_S:
            door = rng.choice([*self.cars, DESK])
            if door not in self._healing:
                kind = rng.choice(("cut", "silence", "slow"))
                {"cut": self._proxy.cut, "silence": self._proxy.silence}.get(kind, self._slow)(door)
                self._healing[door] = now + rng.uniform(0.2, 4.0)
                self.faults[{"cut": "partitions", "silence": "tunnels", "slow": "delays"}[kind]] += 1

    def _slow(self, door: str) -> None:
        self._proxy.slow(door, self._rng.uniform(0.02, 0.4))

    def _calm(self, begun: float) -> None:
        """Everything works again; until the cars have nothing left to tell."""
        for door in [*self.cars, DESK]:
            self._proxy.heal(door)
        for car in list(self._down):
            del self._down[car]
            self._start_car(car)
        end = time.monotonic() + CALM_S
        while time.monotonic() < end and self._backlog():
            time.sleep(0.2)

    def _backlog(self) -> int:
        """Messages without a receipt, over all cars' outboxes as they are on disk."""
        left = 0
        for car in self.cars:
            with (
                contextlib.suppress(sqlite3.Error),
                contextlib.closing(self._read(self._folder / "outbox" / car)) as db,
            ):
                left += int(db.execute("SELECT count(*) FROM message").fetchone()[0])
        return left

    # ------------------------------------------------------------------ orders

    def _place(self, order_id: str) -> bool:
        rng = random.Random(order_id)
        here = {"lat": 48.137 + rng.uniform(-0.01, 0.01), "lon": 11.575 + rng.uniform(-0.01, 0.01)}
        there = {"lat": 48.137 + rng.uniform(-0.01, 0.01), "lon": 11.575 + rng.uniform(-0.01, 0.01)}
        try:
            client.place_order(self._url, here, there, order_id=order_id)
            return True
        except client.OrderError:
            return False  # the desk is down; the same order again is harmless

    def _cancel(self, order_id: str) -> bool:
        try:
            client.cancel_order(self._url, order_id, by="rider", reason="changed my mind")
        except client.OrderError as error:
            return "already" in str(error)
        self.faults["cancellations"] += 1
        return True

    def _done(self) -> int:
        """How many orders are over; also looks whether one has gone backwards."""
        try:
            with contextlib.closing(self._read(self._folder / "book.sqlite")) as db:
                for order_id, attempt, number in db.execute(
                    "SELECT order_id, attempt, event_no FROM orders WHERE final = 0"
                ):
                    before = self._progress.get(order_id, (0, 0))
                    after = (attempt, number if number or attempt > before[0] else before[1])
                    if after < before:
                        self._backwards.append(f"{order_id}: the book went from event {before} back to {after}")
                    self._progress[order_id] = after
                return int(db.execute("SELECT count(*) FROM orders WHERE final = 1").fetchone()[0])
        except sqlite3.Error:
            return -1

    @staticmethod
    def _read(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2.0)

    # ------------------------------------------------------------------ processes

    def _start_car(self, car: str) -> None:
        period = max(PERIOD_S, CARS_PERIOD_S * self._options.cars)  # a big fleet on few cores
        setup = CarSetup(
            car,
            str(self._folder),
            str(self._pki.folder),
            self._proxy.port(car),
            self._options.seed,
            Chaos(),
            period,
            self._homes[car].path if car in self._homes else "",
        )
        running = self._context.Process(target=run_car, args=(setup,), name=car, daemon=True)
        running.start()
        self._processes[car] = running

    def _start_desk(self) -> process.Child:
        self._desk_count += 1
        arguments = ["--pki", str(self._pki.folder), "--broker-port", str(self._proxy.port(DESK))]
        arguments += ["--book", str(self._folder / "book.sqlite"), "--port", str(self._desk_port)]
        arguments += ["--seed", str(self._options.seed)]
        log = self._folder / "log" / f"desk-{self._desk_count}.log"
        return process.start(arguments, log, module="robotaxi.dispatch.torture.desk")

    def _restart_desk(self) -> None:
        self._kill(self._desk.pid)
        self._desk.stop()
        time.sleep(self._rng.uniform(0.0, 1.0))
        self._desk = self._start_desk()
        self.faults["desk_kills"] += 1

    def _restart_broker(self) -> None:
        self._kill(self._broker.pid)
        self._broker.stop()
        time.sleep(self._rng.uniform(0.0, 1.0))
        log = self._folder / "log" / "broker.log"
        self._broker = process.start_broker(self._pki.folder, log, port=self._broker_port, operator=OPERATOR)
        self.faults["broker_kills"] += 1

    @staticmethod
    def _kill(pid: int | None) -> None:
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _end_cars(self) -> None:
        for running in self._processes.values():
            running.terminate()
        for running in self._processes.values():
            running.join(10.0)

    def _kill_cars(self) -> None:
        for running in self._processes.values():
            if running.is_alive():
                running.kill()
            running.join()

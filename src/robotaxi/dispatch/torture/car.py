"""One car of the torture: a real bridge with its outbox, on a vehicle whose journal survives the bridge.

The journal is the evidence of what was physically done: it is written by the vehicle, not by the bridge.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from robotaxi.dispatch.bridge import Bridge, BridgeConfig
from robotaxi.dispatch.messages import Clock
from robotaxi.dispatch.outbox import Outbox
from robotaxi.dispatch.pki import TestPki
from robotaxi.dispatch.report import BridgeInput
from robotaxi.dispatch.signing import FolderVerifier
from robotaxi.dispatch.torture.chaos import Chaos, ChaosLink
from robotaxi.dispatch.torture.namespaces import enter
from robotaxi.dispatch.transport import MqttConfig, MqttLink
from robotaxi.types import EgoState, Goal, MissionState, MissionStatus, SystemMode, TripState, VehicleReport

OPERATOR = "demo"
ORIGIN = (48.137, 11.575, 520.0)
PERIOD_S = 0.05
NO_SHOWS = 0.03  # share of riders who do not come


@dataclass(frozen=True)
class CarSetup:
    vehicle: str
    folder: str
    pki: str
    port: int
    seed: int
    chaos: Chaos
    period_s: float = PERIOD_S
    namespace: str = ""  # to enter; see `robotaxi.dispatch.torture.namespaces`


class Vehicle:
    """Drives to goals in a few steps, boards and drops riders. ``journal``: one line a deed."""

    def __init__(self, journal: Path) -> None:
        self._file = journal.open("a", buffering=1)
        self.at, self.rider = "", ""
        for line in journal.read_text().splitlines():
            deed, _, what = line.partition(" ")
            if deed == "arrive":
                self.at = what
            elif deed == "board":
                self.rider = what
            elif deed == "alight":
                self.rider = ""
        self._goal: Goal | None = None
        self._state = TripState.IDLE
        self._steps = 0

    def _do(self, deed: str, what: str) -> None:
        self._file.write(f"{deed} {what}\n")

    def take(self, goal: Goal | None, state: TripState) -> None:
        """What the bridge wants now."""
        changed = state is not self._state or (goal and goal.goal_id) != (self._goal and self._goal.goal_id)
        self._steps = 0 if changed else self._steps + 1
        self._goal, self._state = goal, state
        if goal is not None and not goal.hold and goal.goal_id != self.at and self._steps >= 2:
            self.at = goal.goal_id
            self._do("arrive", goal.goal_id)

    def inputs(self, stamp_ns: int, x: float) -> BridgeInput:
        goal, state, steps = self._goal, self._state, self._steps
        order_id = goal.goal_id.rsplit("/", 1)[0] if goal else ""
        door = False
        if state is TripState.WAITING_FOR_RIDER:
            door = steps >= 1 and not no_show(order_id)
        elif state is TripState.BOARDING:
            door = steps < 2
            if steps >= 1 and self.rider != order_id:
                self.rider = order_id
                self._do("board", order_id)
        elif state is TripState.ARRIVED:
            door = steps < 2
            if steps >= 1 and self.rider:
                self._do("alight", self.rider)
                self.rider = ""
        mission = MissionStatus(MissionState.IDLE)
        if goal is not None:
            there = goal.goal_id == self.at
            mission = MissionStatus(MissionState.ARRIVED if there else MissionState.DRIVING, goal.goal_id, 10.0)
        belt = bool(self.rider) and not door
        report = VehicleReport(stamp_ns, 0.0, 0.0, 0.0, door, bool(self.rider), belt)
        ego = EgoState(stamp_ns, x, 0.0, 0.0, 0.0)
        return BridgeInput(stamp_ns, ego, mission, report, SystemMode.AUTONOMOUS, "", "Driving.")


def no_show(order_id: str) -> bool:
    """Whether this order's rider does not come: the order's own luck, the same for every car and process."""
    return random.Random(order_id).random() < NO_SHOWS


def run_car(setup: CarSetup) -> None:
    """Until SIGTERM; then what waits is sent for a few seconds."""
    if setup.namespace:
        enter(setup.namespace)  # before any thread or socket
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    folder, vehicle = Path(setup.folder), setup.vehicle
    sys.stderr = (folder / "log" / f"{vehicle}.log").open("a", buffering=1)
    pki = TestPki(Path(setup.pki), OPERATOR)
    rng = random.Random(f"{setup.seed}/{vehicle}/{time.monotonic_ns()}")
    mqtt = MqttConfig(port=setup.port, retry_min=0.1, retry_max=1.0, keep_alive=4)
    link = ChaosLink(MqttLink(mqtt, pki.vehicle(vehicle), vehicle), setup.chaos, rng)
    body = Vehicle(folder / "journal" / vehicle)
    bridge = Bridge(
        BridgeConfig(vehicle=vehicle, rider_wait=1.0, resend_after=2.0),
        ORIGIN,
        link,
        Outbox(folder / "outbox" / vehicle),
        lambda *_: None,
        FolderVerifier(pki.signers, pki.ca, pki.crl, OPERATOR),
        clock=lambda: Clock(synced=True, err_ms=1.0),
    )
    x = 50.0 * int(vehicle.removeprefix("car"))
    due = time.monotonic()
    while not stopping:
        output = bridge.step(body.inputs(time.monotonic_ns(), x))
        body.take(output.goal, output.trip_state)
        due = max(due + setup.period_s, time.monotonic())
        bridge.wait_for_message(max(due - time.monotonic(), 0.0))
    bridge.close(5.0)

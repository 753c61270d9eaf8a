"""Both sides' books, and what the vehicles did, side by side."""

from __future__ import annotations

import itertools
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robotaxi.dispatch.outbox import Outbox, OutboxConfig
from robotaxi.dispatch.trip import TRANSITIONS
from robotaxi.types import TripState

LEGAL = {(t.source.name, t.target.name) for t in TRANSITIONS} | {("", TripState.OFFERED.name), ("", "CANCELLED")}
LEGAL |= {(TripState.OFFERED.name, TripState.REJECTED.name)}
SHOWN = 20


@dataclass
class Findings:
    """Each list holds sentences about what does not hold."""

    lost: list[str] = field(default_factory=list)
    driven_twice: list[str] = field(default_factory=list)
    backwards: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    events: int = 0
    left_in_outboxes: int = 0

    @property
    def holds(self) -> bool:
        return not (self.lost or self.driven_twice or self.backwards or self.differing or self.left_in_outboxes)

    def as_dict(self) -> dict[str, Any]:
        return {
            "lost": len(self.lost),
            "driven_twice": len(self.driven_twice),
            "state_backwards": len(self.backwards),
            "books_differ": len(self.differing),
            "left_in_outboxes": self.left_in_outboxes,
            "events": self.events,
            "outcomes": dict(sorted(self.outcomes.items())),
            "findings": (self.lost + self.driven_twice + self.backwards + self.differing)[:SHOWN],
        }


def compare(folder: Path, order_ids: list[str], cars: list[str]) -> Findings:
    """``folder``: book.sqlite, outbox/, journal/ as the torture leaves them; nothing may run any more."""
    found = Findings()
    book = sqlite3.connect(f"file:{folder / 'book.sqlite'}?mode=ro", uri=True)
    orders = {row[0]: row[1:] for row in book.execute("SELECT order_id, state, final, vehicle FROM orders")}
    offers: dict[str, list[str]] = {}
    for order_id, vehicle in book.execute("SELECT order_id, vehicle FROM offers"):
        offers.setdefault(order_id, []).append(vehicle)
    events: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for order_id, vehicle, number, state in book.execute(
        "SELECT order_id, vehicle, event_no, state FROM events ORDER BY event_no"
    ):
        events.setdefault((order_id, vehicle), []).append((number, state))
        found.events += 1
    book.close()
    records = {}
    for car in cars:
        outbox = Outbox(folder / "outbox" / car, OutboxConfig(trips_kept=10_000_000))
        found.left_in_outboxes += len(outbox)
        records.update({(trip.order_id, car): trip for trip in outbox.trips()})
        outbox.close()
    boarded, alighted = _journals(folder, cars)
    for order_id in order_ids:
        if order_id not in orders:
            found.lost.append(f"{order_id}: not in the book")
            continue
        state, final, vehicle = orders[order_id]
        found.outcomes[state] += 1
        if not final:
            found.lost.append(f"{order_id}: still {state} with {vehicle or 'no car'}")
        if boarded[order_id] > 1 or alighted[order_id] > 1:
            found.driven_twice.append(
                f"{order_id}: boarded {boarded[order_id]} times, alighted {alighted[order_id]} times"
            )
        if (state == "COMPLETED") != (alighted[order_id] == 1):
            found.differing.append(f"{order_id}: {state} in the book, {alighted[order_id]} riders brought")
        for car in offers.get(order_id, []):
            _compare_trip(found, order_id, car, events.get((order_id, car), []), records.get((order_id, car)))
    for (order_id, car), record in records.items():
        if car not in offers.get(order_id, []):
            found.differing.append(f"{order_id}: {car} has it as {record.state}, the book never offered it to {car}")
    return found


def _compare_trip(found: Findings, order_id: str, car: str, events: list[tuple[int, str]], record: Any) -> None:
    if record is None:
        found.differing.append(f"{order_id}: offered to {car}, which knows nothing of it")
        return
    numbers = [number for number, _ in events]
    if numbers != list(range(1, record.events + 1)):
        found.differing.append(f"{order_id}: {car} sent {record.events} events, the book has {numbers}")
    elif events and events[-1][1] != record.state:
        found.differing.append(f"{order_id}: {record.state} in {car}, {events[-1][1]} in the book")
    states = ["", *(state for _, state in events)]
    for before, after in itertools.pairwise(states):
        if (before, after) not in LEGAL:
            found.backwards.append(f"{order_id}: {car} went from {before or 'nothing'} to {after}")


def _journals(folder: Path, cars: list[str]) -> tuple[Counter[str], Counter[str]]:
    boarded: Counter[str] = Counter()
    alighted: Counter[str] = Counter()
    for car in cars:
        path = folder / "journal" / car
        for line in path.read_text().splitlines() if path.exists() else ():
            deed, _, what = line.partition(" ")
            if deed == "board":
                boarded[what] += 1
            elif deed == "alight":
                alighted[what] += 1
    return boarded, alighted

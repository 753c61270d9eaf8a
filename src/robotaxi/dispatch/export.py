"""What a regulator or an operator wants of the books: trips, history, events; as CSV, Parquet and GeoJSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from robotaxi.dispatch.database import Database, DatabaseError, Row
from robotaxi.dispatch.export_files import WRITERS, arrow
from robotaxi.dispatch.messages import DATUM
from robotaxi.params import ParameterError

FORMATS = tuple(WRITERS)
SECOND_NS = 1_000_000_000
BEFORE_S, AFTER_S = 60.0, 30.0  # the 90 s event package
SEVERE = ("disengagement", "minimal_risk", "collision", "package")
DISENGAGED = ("disengagement", "minimal_risk")

Columns = dict[str, type]
_EVENT: Columns = {
    "message_id": str, "vehicle": str, "kind": str, "severity": str, "text": str, "order_id": str, "stamp_ns": int,
    "received_ns": int, "acknowledged": int, "lat": float, "lon": float, "datum": str,
}  # fmt: skip
TABLES: dict[str, Columns] = {
    "trips": {
        "order_id": str, "vehicle": str, "state": str, "reason": str, "attempts": int, "created_utc_ns": int,
        "accepted_utc_ns": int, "waiting_utc_ns": int, "on_board_utc_ns": int, "arrived_utc_ns": int,
        "ended_utc_ns": int, "lat": float, "lon": float, "dropoff_lat": float, "dropoff_lon": float, "datum": str,
    },
    "trip_events": {
        "order_id": str, "vehicle": str, "event_no": int, "state": str, "reason": str, "stamp_ns": int,
        "received_ns": int, "lat": float, "lon": float, "datum": str,
    },
    "history": {
        "vehicle": str, "stamp_ns": int, "sent_utc_ns": int, "received_utc_ns": int, "lat": float, "lon": float,
        "datum": str, "position_sigma": float, "speed": float, "acceleration": float, "heading_deg": float,
        "mode": str, "minimal_risk": bool, "sentence": str, "energy": float, "door_open": bool,
        "seat_occupied": bool, "belt_fastened": bool, "order_id": str, "trip_state": str,
    },
    "events": _EVENT,
    "disengagements": _EVENT,
}  # fmt: skip
"""Columns and their types; the same with and without rows."""


def export(book: str, folder: Path, formats: Sequence[str], order_id: str = "") -> dict[str, int]:
    """Write each table into ``folder`` in each format; returns rows a table. ``order_id``: just this trip.

    Raises ParameterError for a book that is not there or not one, and for Parquet without pyarrow.
    """
    if "://" not in book and not Path(book).is_file():
        raise ParameterError(f"order book {book} does not exist")
    if "parquet" in formats:
        arrow()
    readers: dict[str, Callable[[Database, str], Iterator[Row]]] = {
        "trips": _trips,
        "trip_events": _trip_events,
        "history": _history,
        "events": _events,
        "disengagements": lambda db, order: (row for row in _events(db, order) if row["kind"] in DISENGAGED),
    }
    counts = {}
    try:
        db = Database(book, ())
        for reader in readers.values():
            next(reader(db, order_id), None)  # a book that is none is told before a file is written
        folder.mkdir(parents=True, exist_ok=True)
        for name, columns in TABLES.items():
            for kind in formats:
                counts[name] = WRITERS[kind](folder / f"{name}.{kind}", columns, readers[name](db, order_id))
        counts["packages"] = _write_packages(db, folder / "packages", order_id)
        db.close()
    except (ParameterError, OSError):
        raise
    except DatabaseError as error:
        raise ParameterError(str(error)) from error
    except Exception as error:  # of either database library
        raise ParameterError(f"{book} is not an order book: {error}") from error
    return counts


def _trips(db: Database, order_id: str) -> Iterator[Row]:
    for order in db.rows("SELECT * FROM orders ORDER BY created_ns"):
        if order_id and order["order_id"] != order_id:
            continue
        request = json.loads(order["request"])
        times = {
            event["state"]: event["received_ns"]
            for event in db.rows(
                "SELECT state, received_ns FROM events WHERE order_id = ? AND vehicle = ?",
                order["order_id"],
                order["vehicle"],
            )
        }
        pickup, dropoff = request["pickup"]["position"], request["dropoff"]["position"]
        yield {
            "order_id": order["order_id"],
            "vehicle": order["vehicle"],
            "state": order["state"],
            "reason": order["reason"],
            "attempts": order["attempt"],
            "created_utc_ns": order["created_ns"],
            "accepted_utc_ns": times.get("ACCEPTED"),
            "waiting_utc_ns": times.get("WAITING_FOR_RIDER"),
            "on_board_utc_ns": times.get("EN_ROUTE"),
            "arrived_utc_ns": times.get("ARRIVED"),
            "ended_utc_ns": times.get(order["state"]),
            "lat": pickup["lat"],
            "lon": pickup["lon"],
            "dropoff_lat": dropoff["lat"],
            "dropoff_lon": dropoff["lon"],
            "datum": pickup["datum"],
        }


def _trip_events(db: Database, order_id: str) -> Iterator[Row]:
    for row in db.stream("SELECT * FROM events ORDER BY order_id, vehicle, event_no"):
        if order_id and row["order_id"] != order_id:
            continue
        lat, lon = (float(row[name]) if row[name] else None for name in ("lat", "lon"))
        yield {**row, "lat": lat, "lon": lon, "datum": DATUM if lat is not None else ""}  # the book's own datum


def _history(db: Database, order_id: str) -> Iterator[Row]:
    for row in db.stream("SELECT * FROM history ORDER BY vehicle, sent_ns"):
        state = json.loads(row["state"])
        position, trip = state.get("position") or {}, state.get("trip") or {}
        if order_id and trip.get("order_id") != order_id:
            continue
        yield {
            **{name: state.get(name) for name in TABLES["history"]},
            "vehicle": row["vehicle"],
            "stamp_ns": row["stamp_ns"],
            "sent_utc_ns": row["sent_ns"],
            "received_utc_ns": row["received_ns"],
            "lat": position.get("lat"),
            "lon": position.get("lon"),
            "datum": position.get("datum", ""),
            "order_id": trip.get("order_id", ""),
            "trip_state": trip.get("state", ""),
        }


def _events(db: Database, order_id: str) -> Iterator[Row]:
    for row in db.stream("SELECT * FROM reports ORDER BY received_ns"):
        position = json.loads(row.pop("body")).get("position") or {}
        if not order_id or row["order_id"] == order_id:
            yield {**row, "lat": position.get("lat"), "lon": position.get("lon"), "datum": position.get("datum", "")}


def _write_packages(db: Database, folder: Path, order_id: str) -> int:
    """For each severe event a file with what the desk has of the 60 s before and the 30 s after it."""
    number = 0
    for event in [event for event in _events(db, order_id) if event["kind"] in SEVERE]:
        number += 1
        rows = db.rows(
            "SELECT stamp_ns, sent_ns, state FROM history WHERE vehicle = ? AND stamp_ns BETWEEN ? AND ? "
            "AND abs(received_ns - ?) < ? ORDER BY sent_ns",
            event["vehicle"],
            event["stamp_ns"] - round(BEFORE_S * SECOND_NS),
            event["stamp_ns"] + round(AFTER_S * SECOND_NS),
            event["received_ns"],
            86_400 * SECOND_NS,
        )
        states: list[dict[str, Any]] = [{**json.loads(row["state"]), "sent_utc_ns": row["sent_ns"]} for row in rows]
        path = folder / f"{number:04d}-{event['vehicle']}-{event['kind']}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({**event, "states": states}, indent=1) + "\n", encoding="utf-8")
    return number

"""What a regulator or an operator wants of the books: trips, history, events; as CSV, Parquet and GeoJSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robotaxi.dispatch.database import Database, DatabaseError, Row
from robotaxi.params import ParameterError

FORMATS = ("csv", "parquet", "geojson")
SECOND_NS = 1_000_000_000
BEFORE_S, AFTER_S = 60.0, 30.0  # the 90 s event package
SEVERE = ("disengagement", "minimal_risk", "collision", "package")


def export(book: str, folder: Path, formats: Sequence[str], order_id: str = "") -> dict[str, int]:
    """Write each table into ``folder`` in each format; returns rows a table. ``order_id``: just this trip.

    Raises ParameterError for a book that is not there or not one, and for Parquet without pyarrow.
    """
    if "://" not in book and not Path(book).is_file():
        raise ParameterError(f"order book {book} does not exist")
    if "parquet" in formats:
        _pyarrow()
    try:
        db = Database(book, ())
        tables = {
            "trips": _trips(db, order_id),
            "trip_events": _trip_events(db, order_id),
            "history": _history(db, order_id),
            "events": _events(db, order_id),
        }
    except DatabaseError as error:
        raise ParameterError(str(error)) from error
    except Exception as error:  # of either database library
        raise ParameterError(f"{book} is not an order book: {error}") from error
    tables["disengagements"] = [row for row in tables["events"] if row["kind"] in ("disengagement", "minimal_risk")]
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        for kind in formats:
            _WRITERS[kind](folder / f"{name}.{kind}", rows)
    packages = _packages(db, tables["events"])
    for number, package in enumerate(packages, 1):
        path = folder / "packages" / f"{number:04d}-{package['vehicle']}-{package['kind']}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(package, indent=1) + "\n", encoding="utf-8")
    db.close()
    return {**{name: len(rows) for name, rows in tables.items()}, "packages": len(packages)}


def _trips(db: Database, order_id: str) -> list[Row]:
    rows = []
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
        rows.append(
            {
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
        )
    return rows


def _trip_events(db: Database, order_id: str) -> list[Row]:
    rows = db.rows("SELECT * FROM events ORDER BY order_id, vehicle, event_no")
    for row in rows:
        row["lat"] = float(row["lat"]) if row["lat"] else None
        row["lon"] = float(row["lon"]) if row["lon"] else None
    return [row for row in rows if not order_id or row["order_id"] == order_id]


def _history(db: Database, order_id: str) -> list[Row]:
    rows = []
    for row in db.rows("SELECT * FROM history ORDER BY vehicle, sent_ns"):
        state = json.loads(row["state"])
        position, trip = state.get("position") or {}, state.get("trip") or {}
        if order_id and trip.get("order_id") != order_id:
            continue
        rows.append(
            {
                "vehicle": row["vehicle"],
                "stamp_ns": row["stamp_ns"],
                "sent_utc_ns": row["sent_ns"],
                "received_utc_ns": row["received_ns"],
                "lat": position.get("lat"),
                "lon": position.get("lon"),
                "datum": position.get("datum", ""),
                "speed": state.get("speed"),
                "acceleration": state.get("acceleration"),
                "heading_deg": state.get("heading_deg"),
                "mode": state.get("mode", ""),
                "sentence": state.get("sentence", ""),
                "order_id": trip.get("order_id", ""),
                "trip_state": trip.get("state", ""),
            }
        )
    return rows


def _events(db: Database, order_id: str) -> list[Row]:
    rows = []
    for row in db.rows("SELECT * FROM reports ORDER BY received_ns"):
        position = json.loads(row.pop("body")).get("position") or {}
        if not order_id or row["order_id"] == order_id:
            rows.append({**row, "lat": position.get("lat"), "lon": position.get("lon")})
    return rows


def _packages(db: Database, events: Sequence[Row]) -> list[dict[str, Any]]:
    """For each severe event what the desk has of the 60 s before and the 30 s after it."""
    packages = []
    for event in (event for event in events if event["kind"] in SEVERE):
        rows = db.rows(
            "SELECT stamp_ns, sent_ns, state FROM history WHERE vehicle = ? AND stamp_ns BETWEEN ? AND ? "
            "AND abs(received_ns - ?) < ? ORDER BY sent_ns",
            event["vehicle"],
            event["stamp_ns"] - round(BEFORE_S * SECOND_NS),
            event["stamp_ns"] + round(AFTER_S * SECOND_NS),
            event["received_ns"],
            86_400 * SECOND_NS,
        )
        states = [{**json.loads(row["state"]), "sent_utc_ns": row["sent_ns"]} for row in rows]
        packages.append({**event, "states": states})
    return packages


# ---------------------------------------------------------------------------- files


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)


def _write_parquet(path: Path, rows: Sequence[Row]) -> None:
    arrow, parquet = _pyarrow()
    parquet.write_table(arrow.Table.from_pylist(list(rows)), path)


def _write_geojson(path: Path, rows: Sequence[Row]) -> None:
    """Points; trips are lines from pick-up to drop-off."""
    features = []
    for row in rows:
        geometry: dict[str, Any] | None = None
        if row.get("lat") is not None:
            geometry = {"type": "Point", "coordinates": [row["lon"], row["lat"]]}
        if row.get("dropoff_lat") is not None:
            ends = [[row["lon"], row["lat"]], [row["dropoff_lon"], row["dropoff_lat"]]]
            geometry = {"type": "LineString", "coordinates": ends}
        features.append({"type": "Feature", "geometry": geometry, "properties": row})
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}) + "\n", encoding="utf-8")


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ParameterError("Parquet needs pyarrow: pip install robotaxi[mine]") from error
    return pyarrow, pyarrow.parquet


_WRITERS = {"csv": _write_csv, "parquet": _write_parquet, "geojson": _write_geojson}

"""What the desk knows of its cars, for others: exports, closed areas, cars that speak GCJ-02."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from typing import Any

import pytest
from dispatch_helpers import SIGNER
from test_dispatch_bridge import MemoryLink

from robotaxi.dispatch.book import OrderBook
from robotaxi.dispatch.datum import gcj02_from_wgs84
from robotaxi.dispatch.desk import Desk, DeskConfig
from robotaxi.dispatch.desk_requests import AreaRequest, OrderRequest, PlaceRequest
from robotaxi.dispatch.export import FORMATS, TABLES, export
from robotaxi.dispatch.messages import Ack, Body, Connection, Event, OrderEvent, Position, State, TripReport
from robotaxi.dispatch.protocol import Sender, body_name
from robotaxi.params import ParameterError

HERE = (31.2304, 121.4737)  # where GCJ-02 differs by half a kilometre
SECOND_NS = 1_000_000_000


class Fleet:
    def __init__(self, folder: Path) -> None:
        self.file = folder / "book.sqlite"
        self.desk = Desk(DeskConfig(), MemoryLink(), OrderBook(self.file), SIGNER)
        self.ids = iter(range(10_000))
        self.senders: dict[str, Sender] = {}

    def say(self, vehicle: str, *bodies: Body) -> None:
        for body in bodies:
            sender = self.senders.setdefault(
                vehicle, Sender(vehicle, "boot", lambda: f"up-{next(self.ids)}", time.time_ns)
            )
            self.desk._book([(f"rt/v1/demo/{vehicle}/up/{body_name(body)}", sender.wrap(body)[1])])
        self.desk._outbound.look(True)


@pytest.fixture
def fleet(tmp_path: Path) -> Any:
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.desk.book.close()


def gcj02() -> Position:
    lat, lon = gcj02_from_wgs84(*HERE)
    return Position(datum="GCJ02", lat=lat, lon=lon)


def ride(fleet: Fleet) -> None:
    """One ride with a minimal risk manoeuvre, two minutes at 1 Hz."""
    here, there = PlaceRequest(lat=HERE[0], lon=HERE[1]), PlaceRequest(lat=HERE[0] + 0.01, lon=HERE[1])
    fleet.desk.place_order(OrderRequest(here, there, vehicle="car1", order_id="r1"))
    fleet.desk._outbound.look(True)
    fleet.say("car1", Connection(state="online"))
    for number, state in enumerate(("OFFERED", "ACCEPTED", "EN_ROUTE_TO_PICKUP", "WAITING_FOR_RIDER"), 1):
        fleet.say("car1", OrderEvent(stamp_ns=number, order_id="r1", event_no=number, state=state, position=gcj02()))
    for second in range(120):
        trip = TripReport(order_id="r1", state="EN_ROUTE") if second >= 100 else None
        state_ = State(
            stamp_ns=second * SECOND_NS, mode="AUTONOMOUS", position=gcj02(), trip=trip, trajectory=((1.0, 2.0),)
        )
        fleet.say("car1", state_)
    at = Event(stamp_ns=70 * SECOND_NS, kind="minimal_risk", severity="alarm", order_id="r1", position=gcj02())
    fleet.say("car1", at, Event(stamp_ns=71 * SECOND_NS, kind="note", text="nothing"))
    fleet.desk.fleet.flush()


def test_the_books_as_csv_parquet_and_geojson(fleet: Fleet, tmp_path: Path) -> None:
    ride(fleet)
    counts = export(str(fleet.file), tmp_path / "out", ["csv", "geojson"])
    expected = {"trips": 1, "trip_events": 4, "history": 120, "events": 2, "disengagements": 1, "packages": 1}
    assert counts == expected
    for name, columns in TABLES.items():
        with (tmp_path / "out" / f"{name}.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == expected[name] and list(rows[0]) == list(columns)
        shapes = json.loads((tmp_path / "out" / f"{name}.geojson").read_text())["features"]
        assert len(shapes) == expected[name]
        for shape in shapes:
            if shape["geometry"] is None:
                continue
            points = shape["geometry"]["coordinates"]
            first = points[0] if shape["geometry"]["type"] == "LineString" else points
            assert first == pytest.approx([HERE[1], HERE[0]], abs=1e-8)  # RFC 7946 is WGS 84, whatever the car speaks
            assert shape["properties"]["datum"] in ("WGS84", "GCJ02")
    (package,) = (tmp_path / "out" / "packages").iterdir()
    states = json.loads(package.read_text())["states"]
    assert [states[0]["stamp_ns"], states[-1]["stamp_ns"]] == [10 * SECOND_NS, 100 * SECOND_NS]  # 60 s before, 30 after
    one = export(str(fleet.file), tmp_path / "one", ["csv"], "r1")
    assert (one["history"], one["events"], one["packages"]) == (20, 1, 1)
    assert export(str(fleet.file), tmp_path / "none", ["csv"], "r2")["trips"] == 0


def test_parquet_has_the_same_columns_with_and_without_rows(fleet: Fleet, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    export(str(fleet.file), tmp_path / "empty", list(FORMATS))
    ride(fleet)
    export(str(fleet.file), tmp_path / "full", list(FORMATS))
    for name, columns in TABLES.items():
        empty, full = (parquet.read_table(tmp_path / kind / f"{name}.parquet") for kind in ("empty", "full"))
        assert empty.schema == full.schema and full.column_names == list(columns)
        assert len(empty) == 0 < len(full)
        header = (tmp_path / "empty" / f"{name}.csv").read_text().strip()
        assert header == ",".join(columns)


def test_what_is_no_book_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="does not exist"):
        export(str(tmp_path / "none.sqlite"), tmp_path / "out", ["csv"])
    (tmp_path / "text").write_text("no book at all, but long enough to look at" * 50)
    with pytest.raises(ParameterError, match=r"text cannot be used|is not an order book"):
        export(str(tmp_path / "text"), tmp_path / "out", ["csv"])
    assert not (tmp_path / "out").exists()


def test_a_car_that_speaks_gcj02_is_where_it_is_for_the_desk(fleet: Fleet) -> None:
    ahead = tuple(gcj02_from_wgs84(HERE[0], HERE[1] + i * 1e-4) for i in range(3))
    trip = TripReport(order_id="r1", state="EN_ROUTE", dropoff=gcj02())
    fleet.say("car1", State(stamp_ns=1, mode="AUTONOMOUS", position=gcj02(), trip=trip, trajectory=ahead))
    assert fleet.desk.fleet.vehicles["car1"].position == pytest.approx(HERE, abs=1e-8)
    state = fleet.desk.vehicles()[0]["state"]
    for place in (state["position"], state["trip"]["dropoff"]):
        assert place["datum"] == "WGS84" and (place["lat"], place["lon"]) == pytest.approx(HERE, abs=1e-8)
    assert state["trajectory"][2] == pytest.approx((HERE[0], HERE[1] + 2e-4), abs=1e-8)


def test_a_closed_area_is_asked_of_every_car_and_known_by_their_answers(fleet: Fleet) -> None:
    for vehicle in ("car1", "car2", "car3"):
        fleet.say(vehicle, Connection(state="online"))
    flood = AreaRequest(area_id="flood", lat=HERE[0], lon=HERE[1], radius=30.0, minutes=10.0)
    assert fleet.desk.close_area(flood)["asked"] == 3
    by_car = {row["vehicle"]: row["message_id"] for row in fleet.desk.fleet.commands()}
    fleet.say("car1", Ack(message_id=by_car["car1"], status="accepted"))
    fleet.say("car2", Ack(message_id=by_car["car2"], status="refused"))
    (area,) = fleet.desk.snapshot()["areas"]
    assert (area["area_id"], area["radius"], area["obeyed"], area["asked"]) == ("flood", 30.0, ["car1"], ["car3"])
    fleet.desk.close_area(AreaRequest(area_id="flood", lat=HERE[0], lon=HERE[1], radius=30.0, minutes=0.0))
    assert fleet.desk.snapshot()["areas"] == []

"""The desk's OpenAPI document: what it says is served, and what is served is what it says."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from dispatch_helpers import DROPOFF, PICKUP, SIGNER
from test_dispatch_bridge import MemoryLink

from robotaxi.dispatch import client
from robotaxi.dispatch.book import OrderBook
from robotaxi.dispatch.desk import Desk, DeskConfig
from robotaxi.dispatch.desk_http import DeskServer
from robotaxi.dispatch.desk_openapi import OPERATIONS, openapi
from robotaxi.dispatch.messages import (
    Ack,
    AssistRequest,
    Body,
    Connection,
    Event,
    Factsheet,
    Option,
    OrderEvent,
    Place,
    Position,
    State,
    TripReport,
)
from robotaxi.dispatch.protocol import Sender, body_name

AREA = {"area_id": "flood", "lat": 48.138, "lon": 11.576, "radius": 30.0}
BODIES: dict[str, Any] = {
    "/orders": {"pickup": PICKUP, "dropoff": DROPOFF, "order_id": "r2", "stops": [PICKUP], "rider_code": "7"},
    "/orders/r1/cancel": {"by": "rider"},
    "/vehicles/car1/commands": {"command": "avoid_area", "area": AREA},
    "/vehicles/car1/answers": {"question_id": "q1", "option_id": "wait"},
    "/areas": AREA,
}


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A desk that has something of everything."""
    lane = {"id": 1, "junction": False, "left": [1.0, 2.0], "right": [1.0, 2.0], "center": [1.0, 2.0]}
    place = {"name": "Station", "lat": 48.1, "lon": 11.5, "heading_deg": 3.0}
    town = {"origin": [48.1, 11.5], "lanes": [lane], "places": [place]}
    position = Position(datum="WGS84", lat=48.138, lon=11.576)
    places = {"Station": Place(position=position, name="Station")}
    desk = Desk(DeskConfig(), MemoryLink(), OrderBook(tmp_path / "book.sqlite"), SIGNER, places, town)
    server = DeskServer(desk, "127.0.0.1", 0)
    thread = threading.Thread(target=lambda: server.serve_forever(0.01))
    thread.start()
    desk.start()
    client.place_order(server.url, PICKUP, DROPOFF, vehicle="car1", order_id="r1")
    desk._outbound.look(True)
    options = (Option(option_id="wait", text="Wait"),)
    ids = iter(range(100))
    sender = Sender("car1", "boot", lambda: f"m{next(ids)}", time.time_ns)
    said: tuple[Body, ...] = (
        Connection(state="online"),
        Factsheet(software="robotaxi"),
        State(stamp_ns=1, mode="AUTONOMOUS", position=position, trip=TripReport(order_id="r1", state="OFFERED")),
        OrderEvent(stamp_ns=1, order_id="r1", event_no=1, state="OFFERED"),
        Event(stamp_ns=1, kind="minimal_risk", severity="alarm", text="stopped"),
        AssistRequest(
            question_id="q1", stamp_ns=1, question="?", options=options, default="wait", deadline_ns=time.time_ns() * 2
        ),
    )
    for body in said:
        desk._book([(f"rt/v1/demo/car1/up/{body_name(body)}", sender.wrap(body)[1])])
    asked = client.call(server.url, "POST", "/areas", AREA)
    assert asked == {"area_id": "flood", "asked": 1}
    first = client.call(server.url, "GET", "/commands")["commands"][0]["message_id"]
    desk._book([("rt/v1/demo/car1/up/ack", sender.wrap(Ack(message_id=first, status="accepted"))[1])])
    desk.fleet.flush()
    yield server.url
    server.shutdown()
    thread.join()
    server.server_close()
    desk.close()


def test_every_operation_answers_as_the_document_says(url: str) -> None:
    names = {"order_id": "r1", "vehicle": "car1"}
    names["message_id"] = client.call(url, "GET", "/events")["events"][0]["message_id"]
    for op in OPERATIONS:
        path = re.sub(r"\{(\w+)\}", lambda found: names[found[1]], op.path)
        answer = client.call(url, op.method.upper(), path, BODIES.get(path))
        # raises for what is missing, of another kind, or not in the document
        found = msgspec.convert(answer, op.answer)
        if op.method == "get" and op.path != "/orders/{order_id}":
            lists = [value for value in msgspec.structs.asdict(found).values() if isinstance(value, list | dict)]
            assert all(lists), (op.path, "an empty list proves nothing")


def test_the_document_is_whole(url: str) -> None:
    document = client.call(url, "GET", "/openapi.json")
    assert document == json.loads(json.dumps(openapi(url)))
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)):
        found: Any = document
        for step in reference.split("/"):
            found = found[step]
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(set(ids)) == len(ids) == len(OPERATIONS)


def test_every_route_is_in_the_document() -> None:
    source = (Path(__file__).parents[2] / "src/robotaxi/dispatch/desk_http.py").read_text()
    routed = re.findall(r'case "(GET|POST)", \[(.*?)\]:', source)
    paths = set()
    for method, parts in routed:
        words = [part.strip() for part in parts.split(",")]
        path = "/" + "/".join(word.strip('"') if word.startswith('"') else "{" + word + "}" for word in words)
        paths.add((method.lower(), path))
    assert paths - {("get", "/openapi.json")} == {(op.method, op.path) for op in OPERATIONS}

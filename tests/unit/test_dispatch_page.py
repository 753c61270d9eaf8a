"""The desk's page in a real headless Chromium: the map, an order by two clicks, a question, a phone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import chromium
import pytest
from dispatch_helpers import SIGNER
from test_dispatch_bridge import MemoryLink

from robotaxi.dispatch import client
from robotaxi.dispatch.book import OrderBook
from robotaxi.dispatch.desk import Desk, DeskConfig
from robotaxi.dispatch.desk_http import DeskServer
from robotaxi.dispatch.desk_map import map_of
from robotaxi.dispatch.messages import AssistRequest, Body, Connection, Event, Option, Position, State, TripReport
from robotaxi.dispatch.protocol import Sender, body_name
from robotaxi.hdmap import load_map

PROGRAM = chromium.find()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine")


class Town:
    def __init__(self, folder: Path) -> None:
        lane_map = load_map("town")
        self.link = MemoryLink()
        book = OrderBook(folder / "book.sqlite")
        self.desk = Desk(DeskConfig(), self.link, book, SIGNER, lane_map=map_of(lane_map))
        self.server = DeskServer(self.desk, "127.0.0.1", 0)
        self.lat, self.lon, _ = lane_map.origin
        numbers = iter(range(10_000))
        self.sender = Sender("car1", "boot", lambda: f"up-{next(numbers)}", time.time_ns)
        self.say(Connection(state="online"))
        position = Position(datum="WGS84", lat=self.lat, lon=self.lon)
        self.say(State(stamp_ns=1, mode="AUTONOMOUS", position=position, sentence="Stopping: <b>red</b> light."))

    def say(self, body: Body) -> None:
        self.desk._book([(f"rt/v1/demo/car1/up/{body_name(body)}", self.sender.wrap(body)[1])])


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path)
    thread = threading.Thread(target=lambda: town.server.serve_forever(0.01))
    thread.start()
    town.desk.start()
    yield town
    town.server.shutdown()
    thread.join()
    town.server.server_close()
    town.desk.close()


def test_a_ride_is_ordered_by_clicking_and_a_question_answered(town: Town, tmp_path: Path) -> None:
    assert PROGRAM is not None
    browser = chromium.Chromium(PROGRAM, tmp_path / "profile", 1200, 800)
    try:
        browser.open(town.server.url + "/")
        browser.wait("typeof fitted !== 'undefined' && fitted && news.vehicles.length === 1")
        assert "Stopping: <b>red</b> light." in browser.run("document.querySelector('#cars').innerText")  # as text
        browser.run("document.getElementById('order').click()")
        for index in (0, 40):
            x, y = browser.run(
                f"(() => {{ const l = town.lanes.filter(l => !l.junction)[{index}].center;"
                "const m = l.length >> 2 << 1;"
                "const p = toPixel(l[m], l[m + 1]), r = canvas.getBoundingClientRect();"
                "return [p[0] + r.left, p[1] + r.top]; })()"
            )
            browser.click(x, y)
        browser.wait("document.querySelectorAll('#rides .card').length === 1")
        order = town.desk.book.orders()[0]
        assert order["request"]["pickup"]["heading_deg"] is not None and order["vehicle"] in ("", "car1")
        options = (Option(option_id="wait", text="Wait"), Option(option_id="overtake", text="Overtake"))
        deadline = time.time_ns() + 60_000_000_000
        town.say(
            AssistRequest(
                question_id="q1", stamp_ns=1, question="Lane blocked?", options=options, default="wait",
                deadline_ns=deadline,
            )
        )  # fmt: skip
        town.say(Event(stamp_ns=1, kind="minimal_risk", severity="alarm", text="EMERGENCY_STOP: obstacle"))
        browser.wait("document.querySelectorAll('#questions .ask button').length === 2")
        browser.wait("document.querySelector('#alarms').innerText.includes('EMERGENCY_STOP')")
        browser.run("document.querySelectorAll('#questions .ask button')[1].click()")
        browser.run("document.querySelector('#alarms button').click()")
        browser.wait("document.querySelectorAll('#alarms .card').length === 0")
        answers = [item for item in town.desk.fleet.commands() if item["kind"] == "assist_answer"]
        assert '"option_id":"overtake"' in answers[0]["body"]
        assert browser.errors == []
    finally:
        browser.close()


def test_it_fits_a_phone(town: Town, tmp_path: Path) -> None:
    assert PROGRAM is not None
    browser = chromium.Chromium(PROGRAM, tmp_path / "profile", 390, 780)
    try:
        browser.open(town.server.url + "/")
        browser.wait("typeof fitted !== 'undefined' && fitted && document.querySelectorAll('#cars .card').length === 1")
        assert browser.run("document.documentElement.scrollWidth <= window.innerWidth")
        assert browser.run("canvas.clientHeight > 200 && canvas.clientWidth >= 380")
        assert browser.errors == []
    finally:
        browser.close()


def test_a_car_shows_all_that_it_says_and_its_trajectory_lies_on_the_map(town: Town, tmp_path: Path) -> None:
    assert PROGRAM is not None
    position = Position(datum="WGS84", lat=town.lat, lon=town.lon)
    ahead = tuple((town.lat, town.lon + i * 2e-4) for i in range(10))  # 135 m to the east
    trip = TripReport(order_id="r7", state="EN_ROUTE", revision=2, distance_to_go=512.0, eta_s=61.0)
    town.say(
        State(
            stamp_ns=2, mode="PULL_OVER", minimal_risk=True, mode_reason="no lidar", position=position,
            position_sigma=0.07, speed=5.0, acceleration=-0.4, energy=0.62, range=186_000.0, trip=trip,
            trajectory=ahead, faults=("seeing objects",), avoided=("flood",),
        )
    )  # fmt: skip
    browser = chromium.Chromium(PROGRAM, tmp_path / "profile", 1200, 800)
    try:
        browser.open(town.server.url + "/")
        browser.wait("typeof fitted !== 'undefined' && fitted && document.querySelectorAll('#cars .card').length === 1")
        browser.run("document.querySelector('#cars .card').click()")
        text = browser.run("document.querySelector('#vehicle').innerText")
        for words in ("Pull over, minimal risk: no lidar", "18 km/h, -0.4 m/s²", "62 %, 186 km", "changed 2 times",
                      "512 m, about 61 s", "±0.07 m, WGS84", "seeing objects", "flood"):  # fmt: skip
            assert words in text, (words, text)
        # alone on an empty map, half way along the trajectory the canvas has ink; beside it there is none
        painted = browser.run(
            "(() => { town = { lanes: [], places: [] }; const t = news.vehicles[0].state.trajectory[5];"
            "view.lat = t[0]; view.lon = t[1]; view.scale = 3; draw(); const r = window.devicePixelRatio;"
            "const [x, y] = toPixel(t[0], t[1]);"
            "return [0, 60].map(d => brush.getImageData(x * r, (y + d) * r, 1, 1).data[3]); })()"
        )
        assert painted[0] > 50 and painted[1] == 0
        assert browser.errors == []
    finally:
        browser.close()


def test_two_operators_on_one_desk_see_only_their_own_cars(town: Town, tmp_path: Path) -> None:
    assert PROGRAM is not None
    other = Desk(DeskConfig(operator="blue"), MemoryLink(), OrderBook(tmp_path / "blue.sqlite"), SIGNER)
    sender = Sender("blue9", "boot", lambda: "up-1", time.time_ns, operator="blue")
    other._book([("rt/v1/blue/blue9/up/connection", sender.wrap(Connection(state="online"))[1])])
    other._book([("rt/v1/demo/car1/up/connection", sender.wrap(Connection(state="online"))[1])])  # not its car
    keys = {"d" * 24: town.desk, "b" * 24: other}
    server = DeskServer(keys, "127.0.0.1", 0)
    thread = threading.Thread(target=lambda: server.serve_forever(0.01))
    thread.start()
    try:
        with pytest.raises(client.OrderError, match="several operators"):
            client.list_vehicles(server.url)
        with pytest.raises(client.OrderError, match="several operators"):
            client.list_vehicles(f"{server.url}/?key={'x' * 24}")
        for key, operator, car in (("d" * 24, "demo", "car1"), ("b" * 24, "blue", "blue9")):
            assert [v["vehicle"] for v in client.list_vehicles(f"{server.url}/?key={key}")] == [car]
            browser = chromium.Chromium(PROGRAM, tmp_path / operator, 1200, 800)
            try:
                browser.open(f"{server.url}/?key={key}")
                browser.wait("typeof news !== 'undefined' && news.operator && !!document.querySelector('#cars .card')")
                assert browser.run("document.querySelector('#operator').innerText") == operator
                names = browser.run("[...document.querySelectorAll('#cars h3')].map(e => e.innerText)")
                assert names == [car]
                assert browser.run("location.search") == ""  # the key is not left in the address
                assert browser.run("document.cookie") == ""  # and no script can read it
                assert browser.errors == []
            finally:
                browser.close()
        status = client.call(f"{server.url}/?key={'b' * 24}", "GET", "/history/car1")
        assert status == {"history": []}
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        other.book.close()

"""The desk's page in a real headless Chromium: the map, an order by two clicks, a question, a phone."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromium
import cv2
import numpy as np
import pytest
from dispatch_helpers import SIGNER
from test_dispatch_bridge import MemoryLink

from robotaxi.dispatch import client, desk_http, desk_web
from robotaxi.dispatch.book import OrderBook
from robotaxi.dispatch.desk import Desk, DeskConfig
from robotaxi.dispatch.desk_http import DeskServer
from robotaxi.dispatch.desk_map import map_of
from robotaxi.dispatch.messages import Ack, AssistRequest, Body, Connection, Event, Option, Position, State, TripReport
from robotaxi.dispatch.protocol import Sender, body_name
from robotaxi.hdmap import load_map

PROGRAM = chromium.find()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine")
ON_MAP = "map.queryRenderedFeatures({layers: ['%s']}).length"
DRAWN = f"mapReady && {ON_MAP % 'road'} > 50 && {ON_MAP % 'car'}"


@pytest.fixture(scope="module")
def drawn() -> dict[str, Any]:
    return map_of(load_map("town"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Chromium]:
    assert PROGRAM is not None
    browser = chromium.Chromium(PROGRAM, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


class Town:
    def __init__(self, folder: Path, drawn: dict[str, Any]) -> None:
        self.link = MemoryLink()
        book = OrderBook(folder / "book.sqlite")
        self.desk = Desk(DeskConfig(), self.link, book, SIGNER, lane_map=drawn)
        self.server = DeskServer(self.desk, "127.0.0.1", 0)
        self.lat, self.lon = drawn["origin"]
        numbers = iter(range(10_000))
        self.sender = Sender("car1", "boot", lambda: f"up-{next(numbers)}", time.time_ns)
        self.say(Connection(state="online"))
        position = Position(datum="WGS84", lat=self.lat, lon=self.lon)
        self.say(State(stamp_ns=1, mode="AUTONOMOUS", position=position, sentence="Stopping: <b>red</b> light."))

    def say(self, body: Body) -> None:
        self.desk._book([(f"rt/v1/demo/car1/up/{body_name(body)}", self.sender.wrap(body)[1])])


@pytest.fixture
def town(tmp_path: Path, drawn: dict[str, Any], browser: chromium.Chromium) -> Iterator[Town]:
    town = Town(tmp_path, drawn)
    thread = threading.Thread(target=lambda: town.server.serve_forever(0.01))
    thread.start()
    town.desk.start()
    yield town
    browser.open("about:blank")  # no page asks a server that is gone
    town.server.shutdown()
    thread.join()
    town.server.server_close()
    town.desk.close()


def open_page(browser: chromium.Chromium, url: str, width: int = 900, height: int = 600) -> None:
    browser.open(url, width, height)
    browser.wait(DRAWN)


def click_on_lane(browser: chromium.Chromium, index: int) -> None:
    x, y = browser.run(
        f"(() => {{ const l = town.lanes.filter(l => !l.junction)[{index}].center, m = l.length >> 2 << 1;"
        "const p = toPixel(l[m], l[m + 1]), r = byId('map').getBoundingClientRect();"
        "return [p[0] + r.left, p[1] + r.top]; })()"
    )
    browser.click(x, y)


def test_a_ride_is_ordered_by_clicking_and_a_question_answered(town: Town, browser: chromium.Chromium) -> None:
    open_page(browser, town.server.url + "/")
    assert "Stopping: <b>red</b> light." in browser.run("byId('cars').innerText")  # as text
    browser.run("byId('order').click()")
    click_on_lane(browser, 0)
    browser.wait("byId('hint').innerText.includes('destination')")
    click_on_lane(browser, 40)
    browser.wait("document.querySelectorAll('#rides .card').length === 1")
    order = town.desk.book.orders()[0]
    assert order["request"]["pickup"]["heading_deg"] is not None and order["vehicle"] in ("", "car1")
    options = (Option(option_id="wait", text="Wait"), Option(option_id="overtake", text="Overtake"))
    picture = cv2.imencode(".jpg", np.full((30, 40, 3), 90, np.uint8))[1].tobytes()
    town.say(
        AssistRequest(
            question_id="q1", stamp_ns=1, question="Lane blocked?", options=options, default="wait",
            deadline_ns=time.time_ns() + 600_000_000_000, picture_jpeg=picture,
        )
    )  # fmt: skip
    town.say(Event(stamp_ns=1, kind="minimal_risk", severity="alarm", text="EMERGENCY_STOP: obstacle"))
    browser.wait("document.querySelectorAll('#questions .ask button').length === 2")
    browser.wait("document.querySelector('#questions img').naturalWidth === 40")
    browser.wait("byId('alarms').innerText.includes('EMERGENCY_STOP')")
    browser.run("document.querySelectorAll('#questions .ask button')[1].click()")
    browser.run("document.querySelector('#alarms button').click()")
    browser.wait("document.querySelectorAll('#alarms .card').length === 0")
    answers = [item for item in town.desk.fleet.commands() if item["kind"] == "assist_answer"]
    assert '"option_id":"overtake"' in answers[0]["body"]
    assert browser.errors == []


def test_a_place_is_closed_by_clicking_and_opened_again(town: Town, browser: chromium.Chromium) -> None:
    open_page(browser, town.server.url + "/")
    browser.run("byId('close').click()")
    click_on_lane(browser, 0)
    browser.wait("document.querySelectorAll('#areas .card').length === 1")
    browser.wait("map.queryRenderedFeatures({layers: ['area']}).length")
    assert "No answer yet from car1" in browser.run("byId('areas').innerText")
    asked = town.desk.fleet.commands()[0]
    town.say(Ack(message_id=asked["message_id"], status="accepted"))
    browser.wait("byId('areas').innerText.includes('car1 keeps out')")
    browser.run("document.querySelector('#areas button').click()")
    browser.wait("document.querySelectorAll('#areas .card').length === 0")
    assert browser.errors == []


def test_it_fits_a_phone(town: Town, browser: chromium.Chromium) -> None:
    open_page(browser, town.server.url + "/", 390, 780)
    assert browser.run("document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.run("map.getCanvas().clientHeight > 200 && map.getCanvas().clientWidth >= 380")
    assert browser.run("[...document.querySelectorAll('button')].every(b => !b.offsetParent || b.offsetHeight >= 40)")
    assert browser.errors == []


def test_a_car_shows_all_that_it_says_and_its_trajectory_lies_on_the_map(
    town: Town, browser: chromium.Chromium, tmp_path: Path
) -> None:
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
    open_page(browser, town.server.url + "/")
    browser.run("document.querySelector('#cars .card').click()")
    text = browser.run("byId('vehicle').innerText")
    for words in ("Pull over, minimal risk: no lidar", "18 km/h, -0.4 m/s²", "62 %, 186 km", "changed 2 times",
                  "512 m, about 61 s", "±0.07 m, WGS84", "seeing objects", "flood"):  # fmt: skip
        assert words in text, (words, text)
    fresh = "{connection: 'online', age_s: 0.1, state: {minimal_risk: %s, mode: '%s'}}"
    for risk, mode, tone in (
        ("true", "PULL_OVER", "--bad"),
        ("false", "AUTONOMOUS", "--go"),
        ("false", "STOP", "--now"),
    ):
        assert browser.run(f"tone({fresh % (risk, mode)})") == tone
    assert browser.run("tone({connection: 'online', age_s: 9, state: {}})") == "--soft"  # old news, whatever they say
    # close by and away from any road, half way along the trajectory there is ink; beside it is the bare ground
    middle = "news.vehicles[0].state.trajectory[5]"
    browser.run("choose('car1'); give('lanes', []); give('edges', []); give('marks', []); give('places', []); 0")
    browser.run(f"map.jumpTo({{center: [{middle}[1], {middle}[0]], zoom: 17}}); 0")
    browser.wait(
        "!map.isMoving() && map.areTilesLoaded() && !map.queryRenderedFeatures({layers: ['road']}).length"
        " && map.queryRenderedFeatures(map.project(map.getCenter()), {layers: ['way']}).length"
    )
    x, y = browser.run(
        f"(() => {{ const p = toPixel(...{middle}), r = byId('map').getBoundingClientRect();"
        "return [p[0] + r.left, p[1] + r.top]; })()"
    )
    browser.picture(tmp_path / "page.png")
    shot = cv2.imread(str(tmp_path / "page.png")).astype(int)
    on, beside = shot[round(y), round(x)], shot[round(y) + 60, round(x)]
    assert abs(beside - (0xF4, 0xF1, 0xED)).max() <= 2  # --page, blue first
    assert abs(on - beside).max() > 30
    assert browser.errors == []


def test_without_the_map_library_the_page_says_what_to_install_and_works_on(
    town: Town, browser: chromium.Chromium, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(desk_web, "library_file", lambda name: None)
    monkeypatch.setattr(desk_http, "library_file", lambda name: None)
    DeskServer(town.desk, "127.0.0.1", 0).server_close()
    assert "pip install robotaxi[view]" in caplog.text
    with pytest.raises(client.OrderError, match=r"pip install robotaxi\[view\]"):
        client.call(town.server.url, "GET", "/maplibre-gl.js")
    browser.open(town.server.url + "/")
    browser.wait("byId('map').innerText.includes('pip install robotaxi[view]')")
    browser.wait("document.querySelectorAll('#cars .card').length === 1")
    browser.run("document.querySelector('#cars .card').click()")
    assert "car1" in browser.run("byId('vehicle').innerText")


def test_the_page_may_load_nothing_from_elsewhere(town: Town) -> None:
    with urllib.request.urlopen(town.server.url + "/") as answer:
        policy = answer.headers["Content-Security-Policy"]
        page = answer.read().decode()
    assert "default-src 'self'" in policy and "http" not in policy
    assert "http:" not in page and "https:" not in page


def test_two_operators_on_one_desk_see_only_their_own_cars(
    town: Town, browser: chromium.Chromium, tmp_path: Path
) -> None:
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
            browser.open(f"{server.url}/?key={key}")
            browser.wait(f"news.operator === '{operator}' && !!document.querySelector('#cars .card')")
            assert browser.run("byId('operator').innerText") == operator
            assert browser.run("[...document.querySelectorAll('#cars h3')].map(e => e.innerText)") == [car]
            assert browser.run("location.search") == ""  # the key is not left in the address
            assert browser.run("document.cookie") == ""  # and no script can read it
            assert browser.errors == []
        status = client.call(f"{server.url}/?key={'b' * 24}", "GET", "/history/car1")
        assert status == {"history": []}
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        other.book.close()

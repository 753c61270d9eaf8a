"""The report page: complete, self-contained, safe against what the log says, and the same every time."""

from __future__ import annotations

import dataclasses
import math
from html.parser import HTMLParser

import numpy as np
import pytest
from test_evaluation_metrics import START, straight_ride

from robotaxi.evaluation import metrics, report_plots, svg
from robotaxi.evaluation.report import render_report, write_report
from robotaxi.evaluation.ride_log import EgoSeries, ExplanationEntry, InfractionEntry, ModeEntry, RideLog, TripEntry
from robotaxi.hdmap.lane_map import Lane, LaneMap

_VOID = {"meta", "br", "img", "link", "input", "hr"}


class _Balanced(HTMLParser):
    """Raises on tags that do not match, and collects text and references."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.references += [value for key, value in attrs if key in ("src", "href", "xlink:href")]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parse(page: str) -> _Balanced:
    parser = _Balanced()
    parser.feed(page)
    assert parser.open == []
    return parser


def lane_map() -> LaneMap:
    s = np.arange(0.0, 501.0, 2.0)

    def line(y: float) -> np.ndarray:
        return np.column_stack([s, np.full(s.size, y), np.zeros(s.size)])

    there = Lane(1, line(0.0), line(1.75), line(-1.75), s, 50.0 / 3.6, stop_line_id=None)
    back = Lane(2, line(3.5)[::-1], line(1.75)[::-1], line(5.25)[::-1], s, 30.0 / 3.6)
    return LaneMap("street", (48.0, 11.0, 0.0), {1: there, 2: back})


def page_of(log: RideLog) -> str:
    return render_report(metrics.summarise(log), log, lane_map())


def test_a_good_ride_reads_well(tmp_path):
    log = straight_ride(map_name="street", seed=7, pickup=(220.0, 0.0), dropoff=(480.0, 0.0))
    path = write_report(metrics.summarise(log), log, lane_map(), tmp_path / "runs" / "1")
    page = path.read_text(encoding="utf-8")
    parsed = parse(page)
    words = " ".join(parsed.text)
    for part in ("Ride passed", "Passenger delivered", "red light 7", "robotaxi ride --map street --seed 7"):
        assert part in words
    assert parsed.references == [] and "@import" not in page and "url(" not in page
    assert "nan" not in words.lower().replace("nanmean", "") and page == page_of(log)


def test_a_bad_ride_says_why():
    log = straight_ride(
        trip=(TripEntry(0.0, "EN_ROUTE"), TripEntry(50.0, "ABORTED", "gate stopped the car")),
        infractions=(InfractionEntry(START, "collision_vehicle", True, "hit car 3", 2.0, 100.0, 0.0),),
        modes=(ModeEntry(0.0, "AUTONOMOUS"), ModeEntry(45.0, "EMERGENCY_STOP", "obstacle")),
    )
    words = " ".join(parse(page_of(log)).text)
    for part in ("Ride failed", "not delivered", "1 collision", "aborted: gate stopped the car", "hit car 3"):
        assert part in words


def test_what_the_log_says_cannot_become_markup():
    evil = "<script>alert(1)</script>"
    log = straight_ride(
        explanations=(ExplanationEntry(10.0, evil, evil, True),),
        trip=(TripEntry(0.0, evil, evil),),
        infractions=(InfractionEntry(START, evil, True, evil),),
        map_name=evil,
        parameters={evil: evil},
        command_line=evil,
        latency_ms={evil: np.arange(3.0)},
    )
    page = page_of(log)
    parse(page)
    assert "<script>alert" not in page


def test_an_empty_log_still_gives_a_page():
    none = EgoSeries.make([], [], [], [], [])
    log = RideLog(START, none)
    words = " ".join(parse(render_report(metrics.summarise(log), log, None)).text)
    assert "not delivered" in words and "holds no positions" in words


def test_speed_limit_is_that_of_the_lane_in_our_direction():
    log = straight_ride()
    limits = report_plots.speed_limits(log, lane_map())
    assert np.all(limits == 50.0 / 3.6)
    turned = dataclasses.replace(log.truth, yaw=log.truth.yaw + math.pi)
    assert np.all(report_plots.speed_limits(dataclasses.replace(log, truth=turned), lane_map()) == 30.0 / 3.6)
    away = dataclasses.replace(log.truth, y=log.truth.y + 90.0)
    assert np.all(np.isnan(report_plots.speed_limits(dataclasses.replace(log, truth=away), lane_map())))


def test_speed_limit_is_that_of_our_way_where_lanes_lie_on_top_of_each_other():
    log, street = straight_ride(), lane_map()
    s = street.lanes[1].s
    y = np.maximum(s - 60.0, 0.0) - 0.2  # nearer to the car than its own lane, until it turns off
    turning = np.column_stack([s, y, np.zeros(s.size)])
    crossing = dataclasses.replace(street.lanes[1], id=0, centerline=turning, speed_limit=10.0 / 3.6)
    both = dataclasses.replace(street, lanes={0: crossing, **street.lanes})
    assert np.all(report_plots.speed_limits(log, both) == 50.0 / 3.6)


@pytest.mark.parametrize(
    ("lo", "hi", "expected"), [(0.0, 10.0, [0, 2, 4, 6, 8, 10]), (-1.0, 1.0, [-1, -0.5, 0, 0.5, 1]), (3.0, 3.0, [3.0])]
)
def test_ticks_are_round(lo, hi, expected):
    assert svg.nice_ticks(lo, hi) == pytest.approx(expected)


def test_thinning_keeps_every_peak():
    x = np.arange(20000.0)
    y = np.sin(x / 50.0)
    y[12345] = 9.0
    tx, ty = svg.thin(x, y)
    assert tx.size <= 1402 and ty.max() == 9.0 and np.all(np.diff(tx) > 0)

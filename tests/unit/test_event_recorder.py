"""The event recorder's parts: what is an event, and what is kept around it."""

import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from bag_helpers import RECORD, TYPES, record
from rosbags.rosbag2 import Reader

from robotaxi.bags.event_ring import EVENT, RING, EventRing, stories
from robotaxi.bags.writer import BagFormat
from robotaxi.safety.events import EventConfig, EventDetector, EventKind
from robotaxi.types import ImuSample, SystemMode, VehicleReport

S = 1_000_000_000


# ---------------------------------------------------------------------------- what is an event


def braking(decelerations: list[float], period_ms: int = 20) -> list[EventKind]:
    detector = EventDetector(EventConfig())
    reports = [VehicleReport(k * period_ms * 1_000_000, 10.0, 0.0, -a) for k, a in enumerate(decelerations)]
    return [event.kind for report in reports if (event := detector.on_report(report))]


@pytest.mark.parametrize(
    ("decelerations", "events"),
    [
        ([6.0] * 50, [EventKind.HARD_BRAKE]),
        ([6.0] * 8 + [1.0] * 8 + [6.0] * 8, []),  # never long enough
        ([3.0] * 50, []),
        ([math.nan] * 50, []),
    ],
)
def test_hard_braking_lasts(decelerations: list[float], events: list[EventKind]) -> None:
    assert braking(decelerations) == events


def test_modes_that_end_autonomous_driving_are_events_once() -> None:
    detector, found = EventDetector(EventConfig()), []
    modes = ["STOP", "AUTONOMOUS", "COMFORTABLE_STOP", "COMFORTABLE_STOP", "EMERGENCY_STOP", "STOP", "AUTONOMOUS",
             "MANUAL", "STOP", "AUTONOMOUS", "STOP_IN_LANE"]  # fmt: skip
    for k, name in enumerate(modes):
        event = detector.on_mode(k * 5 * S, SystemMode[name], "why")
        found += [(k, event.kind)] if event else []
    assert found == [(2, EventKind.MINIMAL_RISK), (7, EventKind.TAKEOVER), (10, EventKind.MINIMAL_RISK)]


@pytest.mark.parametrize(("force", "blow"), [((0.0, 0.0, 9.8), False), ((-8.0, 3.0, 9.8), False),
                                             ((-40.0, 0.0, 9.8), True), ((math.nan, 0.0, 9.8), False)])  # fmt: skip
def test_a_blow_is_more_than_tyres_can_give(force: tuple[float, ...], blow: bool) -> None:
    event = EventDetector(EventConfig()).on_imu(ImuSample(0, np.array(force), np.zeros(3)))
    assert (event is not None and event.kind is EventKind.COLLISION) == blow


# ---------------------------------------------------------------------------- what is kept


def ring(folder: Path) -> EventRing:
    out = EventRing(folder, BagFormat(), {}, 90 * S, 30 * S, 10 * S)
    for topic in ("/system/mode", "/planning/route"):
        out.add_topic(topic, RECORD)
    return out


def write(out: EventRing, stamp_ns: int, topic: str = "/system/mode") -> None:
    out.write(topic, bytes(TYPES.serialize_cdr(record(stamp_ns, "x"), RECORD)))


def stamps(bag: Path, topic: str = "/system/mode") -> list[int]:
    with Reader(bag) as reader:
        chosen = [c for c in reader.connections if c.topic == topic]
        return [stamp // S for _, stamp, _ in reader.messages(chosen)] if chosen else []


def test_what_is_around_an_event_is_kept_and_the_rest_dropped(tmp_path: Path) -> None:
    out = ring(tmp_path)
    write(out, 0, "/planning/route")
    most = 0
    for second in range(1, 400):
        write(out, second * S)
        if second == 200:
            out.keep("event", 200 * S, lambda: {"kind": "mark"})
        most = max(most, len(list((tmp_path / RING).iterdir())))
    out.close()
    kept = stamps(tmp_path / "event")
    assert kept == list(range(kept[0], kept[-1] + 1))
    assert 90 <= kept[0] <= 110 and 230 <= kept[-1] <= 240
    assert stamps(tmp_path / "event", "/planning/route"), "what is said once is in every package"
    assert yaml.safe_load((tmp_path / "event" / EVENT).read_text())["kind"] == "mark"
    assert most <= 14 and not (tmp_path / RING).exists()


def test_events_that_overlap_and_one_at_the_very_end_are_all_kept(tmp_path: Path) -> None:
    out = ring(tmp_path)
    for second in range(1, 150):
        write(out, second * S)
        if second in (100, 105, 149):
            out.keep("event", second * S, lambda: {"kind": "mark", "sentence": "x"})
    out.close()
    assert [story["package"] for story in stories(tmp_path)] == ["event", "event-2", "event-3"]
    assert stamps(tmp_path / "event-2")[-1] >= 135 and stamps(tmp_path / "event-3")[-1] == 149


def test_what_a_killed_recorder_left_becomes_a_package(tmp_path: Path) -> None:
    killed = ring(tmp_path)
    for second in range(1, 50):
        write(killed, second * S)
    # never closed
    again = ring(tmp_path)
    again.close()
    assert set(range(1, 40)) <= set(stamps(tmp_path / "interrupted-1"))


def test_a_clock_that_goes_back_starts_a_new_ring(tmp_path: Path) -> None:
    out = ring(tmp_path)
    for second in [*range(1000, 1100), *range(1, 60)]:
        write(out, second * S)
    out.keep("event", 59 * S, dict)
    out.close()
    assert stamps(tmp_path / "event") == list(range(1, 60))

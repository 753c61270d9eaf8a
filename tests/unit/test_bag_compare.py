"""Comparing runs: the first difference, both values, the node; tolerances; the page."""

import numpy as np
import pytest
from bag_helpers import cloud, every, odometry, record, write_bag

from robotaxi.bags.compare import Tolerance, compare, load_tolerance
from robotaxi.bags.compare_report import write_comparison
from robotaxi.bags.provenance import changes, origin, strangers
from robotaxi.bags.writer import BagError
from robotaxi.types import TRAJECTORY_DTYPE

TRAJECTORY, EXPLANATION, STATE = "planning/trajectory", "planning/explanation", "localization/kinematic_state"


@pytest.fixture
def bags(tmp_path):
    """A function that writes one more bag, with the changes that it is told."""
    made = []

    def build(speed=None, x=None, sentence="clear", drop=(), version=9):
        points = np.zeros(3, TRAJECTORY_DTYPE)
        rows = {TRAJECTORY: [], EXPLANATION: [], STATE: []}
        for stamp in every(100, 2000, 60):
            changed = points.copy()
            if speed is not None and stamp >= 460_000_000:
                changed["speed"][1] = speed
            rows[TRAJECTORY].append((stamp, cloud(stamp, changed)))
            rows[EXPLANATION].append((stamp, record(stamp, sentence, distance=12.5)))
        for stamp in every(20, 2000):
            rows[STATE].append((stamp, odometry(stamp, x=x if x is not None and stamp >= 800_000_000 else 1.0)))
        rows = {t: [row for row in found if (t, row[0] // 10**6) not in drop] for t, found in rows.items()}
        made.append(write_bag(tmp_path / f"bag{len(made)}", rows))
        return made[-1]

    return build


def test_the_same_runs_are_the_same(bags):
    found = compare(bags(), bags())
    assert found.same and found.first is None and found.compared > 70


def test_the_first_difference_is_named_with_both_values_and_its_node(bags):
    found = compare(bags(), bags(speed=4.5, x=3.0))
    assert not found.same
    assert found.first.sentence() == ("planning/trajectory at t=0.460 s, made by planner: [1].speed was 0.0, is 4.5")
    assert found.topics[TRAJECTORY].largest == {"[].speed": 4.5}
    assert found.topics[STATE].first.field == "pose.pose.position.x"
    assert found.topics[STATE].first.node == "localization"
    assert found.topics[EXPLANATION].same


def test_words_differ_too(bags):
    first = compare(bags(), bags(sentence="red light")).first
    assert (first.field, first.expected, first.actual) == ("explanation.sentence", "clear", "red light")


def test_missing_and_new_messages_count(bags):
    whole, short = bags(), bags(drop={(TRAJECTORY, 560)})
    assert compare(whole, short).first.sentence() == (
        "planning/trajectory at t=0.560 s, made by planner: the message is missing"
    )
    assert compare(short, whole).first.sentence().endswith("the message is new")
    assert compare(whole, short).topics[TRAJECTORY].missing == 1


def test_what_was_under_way_at_the_end_does_not_count(bags):
    assert compare(bags(), bags(drop={(TRAJECTORY, 1960), (STATE, 1980)})).same


def test_tolerances_and_ignored_fields(bags, tmp_path):
    a, b = bags(), bags(x=1.01, sentence="other")
    assert not compare(a, b).same
    file = tmp_path / "tolerance.yaml"
    file.write_text("ignore: ['*:*.sentence']\nabsolute: {'localization/*:pose.*': 0.02}\n")
    tolerance = load_tolerance(file)
    assert compare(a, b, tolerance=tolerance).same
    assert not compare(a, bags(x=1.03, sentence="other"), tolerance=tolerance).same
    assert compare(a, bags(x=float("nan")), tolerance=Tolerance(default=9.0)).topics[STATE].differing > 0


@pytest.mark.parametrize("text", ["ignor: []", "absolute: [1]", "default: -1", "default: x", "absolute: {a: nan}"])
def test_wrong_tolerances_are_named(tmp_path, text):
    file = tmp_path / "tolerance.yaml"
    file.write_text(text)
    with pytest.raises(BagError, match=r"tolerance\.yaml"):
        load_tolerance(file)


def test_bags_without_a_common_topic_are_refused(bags, tmp_path):
    other = write_bag(tmp_path / "other", {"system/mode": [(0, record(0, "on"))]})
    with pytest.raises(BagError, match="have no topic to compare"):
        compare(bags(), other)


def test_the_page_shows_both_runs(bags, tmp_path):
    found = compare(bags(), bags(speed=4.5))
    page = write_comparison(found, ["parameter planner.max_speed was 9, is 8"], "a < b", tmp_path / "x.html")
    text = page.read_text()
    assert "a &lt; b" in text and "made by planner" in text and "run-b" in text and "planner.max_speed" in text


def test_changed_parameters_are_named():
    before = {"git_revision": "a" * 40, "parameters": "planner: {max_speed: 9.0, gap: 2}"}
    after = {"git_revision": "b" * 40, "parameters": "planner: {max_speed: 8.0, gap: 2}"}
    assert changes(before, after) == [
        "git_revision was aaaaaaaaaaaa, is bbbbbbbbbbbb",
        "parameter planner.max_speed was 9.0, is 8.0",
    ]


def test_another_map_than_the_recorded_one_is_said() -> None:
    known = origin("town", "robotaxi", "robotaxi")
    assert strangers(known) == []
    assert strangers(known, vehicle="robotaxi") == []
    assert strangers({**known, "map_sha256": "0" * 64}) == ["the map 'town' has changed since the bag was recorded"]
    assert strangers({**known, "map": "gone"}) == ["the map 'gone' that the bag was recorded with is not here"]
    assert strangers({}) == []

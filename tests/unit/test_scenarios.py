"""Scenario files: what is wrong in one is named; the built-in suite reads; one drive passes its checks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from robotaxi.evaluation.scenarios.checks import judge
from robotaxi.evaluation.scenarios.model import ScenarioError, load_file, load_suite


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("goal: 10\nchecks: {}\n", "field 'name' is missing"),
        ("name: a\ngoal: [9, 3]\nchecks: {}\n", "goal is [9, 3], low is above high"),
        ("name: a\ngoal: 10\nchecks: {flies: true}\n", "unknown field 'flies'"),
        ("name: a\ngoal: 10\nchecks: {}\nactors: [{kind: cow, s: 5}]\n", "kind is 'cow', allowed are car"),
        ("name: a\ngoal: 10\nchecks: {}\nactors: [{kind: car}]\n", "field 's' is missing"),
        ("name: a\ngoal: 10\nchecks: {}\nlight: {0: pink}\n", "light is 'pink'"),
        ("name: a\ngoal: far\nchecks: {}\n", "goal is 'far', expected a number"),
        ("just words\n", "expected 'field: value' lines"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    with pytest.raises(ScenarioError) as error:
        load_file(file)
    assert "broken.yaml line " in str(error.value) and words in str(error.value)


@pytest.mark.parametrize(
    ("fields", "line", "words"),
    [
        ("  goal: 10\n  checks: {}\n  duration: long\n", 6, "duration is 'long'"),
        ("  goal: .nan\n  checks: {}\n", 4, "goal is nan"),
        ("  goal: 10\n  checks:\n    no_collision: true\n    max_speed: fast\n", 7, "max_speed is 'fast'"),
        ("  goal: 10\n  checks:\n    cause: BOREDOM\n", 6, "cause is 'BOREDOM', allowed are CRUISE"),
        ("  goal: 10\n  checks: {on_road: 3}\n", 5, "on_road is 3, allowed are true and false"),
        ("  goal: 10\n  checks: {}\n  place:\n    lane: north\n", 7, "lane is 'north'"),
        ("  goal: 10\n  checks: {}\n  place:\n    ends_with: wall\n", 7, "ends_with is 'wall', allowed are signal"),
        ("  goal: 10\n  checks: {}\n  light: red\n", 6, "light is 'red'"),
        ("  goal: 10\n  checks: {}\n  actors: 3\n", 6, "actors is 3, expected a list"),
        ("  goal: 10\n  checks: {}\n  actors:\n  - kind: car\n    s: 5\n  - kind: car\n    s: x\n", 10, "s is 'x'"),
        ("  checks: {}\n", 3, "field 'goal' is missing"),
        ("  goal: 10\n  checks: {}\n  colour: red\n", 6, "unknown field 'colour'"),
    ],
)
def test_the_line_of_what_is_wrong_is_named(tmp_path: Path, fields: str, line: int, words: str) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("# two scenarios\n- {name: a, goal: 10, checks: {}}\n- name: b\n" + fields)
    with pytest.raises(ScenarioError) as error:
        load_file(file)
    assert str(error.value).startswith(f"broken.yaml line {line} [1]") and words in str(error.value)


def test_the_built_in_suite_reads_and_an_unknown_one_is_named() -> None:
    suite = load_suite("basics")
    assert len(suite) >= 20
    assert len({scenario.name for scenario in suite}) == len(suite)
    assert all(scenario.description and scenario.checks for scenario in suite)
    with pytest.raises(ScenarioError, match="known are: basics"):
        load_suite("nowhere")


@pytest.mark.parametrize(("wanted", "fault"), [(45.0, {}), (60.0, {"distance": "drove 50 m only"})])
def test_the_distance_driven_is_checked(wanted: float, fault: dict[str, str]) -> None:
    trace = [(0.02 * k, 0.0, 0.0, 0.0, 5.0 if k < 500 else 0.0, 0.0, 0.0) for k in range(1000)]
    loop = cast(Any, SimpleNamespace(trace=trace, said=[], clearance=np.inf, hit="", arrived=False, over_red=[]))
    scenario = replace(load_suite("basics")[0], checks={"distance": wanted})
    nothing = cast(Any, None)
    assert judge(scenario, 0, nothing, nothing, loop).failed == fault

"""Drives made on the spot to measure the localizer: which of them the map is made of, what is refused, what is kept."""

import json

import numpy as np
import pytest

from robotaxi.cli import main
from robotaxi.evaluation import localization_rides
from robotaxi.evaluation.drive_log import SensorLog, Truth
from robotaxi.evaluation.localization_rides import mapping_drives


def line(seed):
    """Seeds of one remainder by 2 go the same way."""
    return np.column_stack([np.arange(0.0, 100.0), np.full(100, 50.0 * (seed % 2))])


def test_a_way_already_driven_is_not_driven_again_for_the_map(monkeypatch, tmp_path):
    driven = []

    def simulate(town, options, file):
        driven.append(options)
        xy = line(options.way_of.seed) + np.array([0.0, 1.0])
        pose = np.column_stack([xy, np.zeros((100, 2))])
        return SensorLog(f"drive {options.seed}", truth=Truth(np.arange(100), pose, np.ones(100)))

    class Town:
        lane_map = None

    monkeypatch.setattr(localization_rides, "simulate", simulate)
    monkeypatch.setattr(localization_rides, "way", lambda lane_map, options: line(options.seed))
    done = []
    logs = list(mapping_drives(Town, range(4, 8), 60.0, tmp_path, lambda k, of: done.append((k, of))))
    assert [options.way_of.seed for options in driven] == [4, 5] and len(logs) == 2
    assert done[-1] == (4, 4)
    assert all(o.day != o.way_of.day and o.seed != o.way_of.seed for o in driven), "another day, other noise"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rides", "0"], "0 rides of 80 s: at least 1"),
        (["--seconds", "nan"], "rides of nan s"),
        (["--seconds", "5"], "rides of 5 s"),
        (["--lane-map", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_driven_is_said(tmp_path, arguments, words, capsys):
    file = tmp_path / "figures.json"
    assert main(["bench", "localization", "--simulator", *arguments, "--json", str(file)]) == 2
    assert words in json.loads(file.read_text())["error"] and words in capsys.readouterr().err

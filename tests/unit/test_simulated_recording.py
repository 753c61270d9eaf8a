"""Perception measured on drives through the simulator, and the measures of headings and of the path ahead."""

import numpy as np
import pytest
from sim_maps import crossing_map

from robotaxi.evaluation.detection_metrics import PREDICTION_DTYPE
from robotaxi.evaluation.heading_errors import heading_errors
from robotaxi.evaluation.path_watch import PathWatch, path_figures
from robotaxi.evaluation.perception_bench import run_lidar
from robotaxi.evaluation.perception_case import TRUTH_DTYPE, Frame
from robotaxi.evaluation.simulated_recording import simulated_recording
from robotaxi.perception.lidar import LidarPerceptionConfig
from robotaxi.sensor_rig import load_rig
from robotaxi.sim.scenery import build_scenery
from robotaxi.types import LidarSweep, ObjectClass
from robotaxi.vehicle import load_vehicle


@pytest.fixture(scope="module")
def drive():
    lane_map = crossing_map()
    scenery = build_scenery(lane_map)
    recording = simulated_recording(lane_map, scenery, load_vehicle("robotaxi"), load_rig("robotaxi"), 5, 2.0)
    return lane_map, recording


def test_parked_cars_keep_their_place_in_the_map_and_the_path_begins_at_the_car(drive):
    _, recording = drive
    frames = list(recording.frames())
    assert len(frames) == recording.count == 20
    first, last = frames[0], frames[-1]
    assert last.state.speed > 1.0 and last.sweep.stamp_ns == 1_900_000_000

    def in_map(frame):
        cos, sin = np.cos(frame.state.yaw), np.sin(frame.state.yaw)
        rows = frame.truth[frame.truth["id"] > 1 << 30]  # parked
        x, y = cos * rows["x"] - sin * rows["y"] + frame.state.x, sin * rows["x"] + cos * rows["y"] + frame.state.y
        return {i: place for i, *place in zip(rows["id"].tolist(), x, y, rows["yaw"] + frame.state.yaw, strict=True)}

    before, after = in_map(first), in_map(last)
    both = before.keys() & after.keys()
    assert len(both) > 3 and all(before[i] == pytest.approx(after[i], abs=1e-6) for i in both)
    assert all(np.hypot(*frame.path[0]) < 2.0 for frame in frames)
    again = next(recording.frames())
    assert again.sweep.points.tobytes() == first.sweep.points.tobytes()


def test_the_bench_finds_nearly_all_of_it(drive):
    _, recording = drive
    figures = run_lidar([recording], LidarPerceptionConfig())
    near = figures["detection"]["objects"]["vehicle"]["0-25"]
    assert near["annotated"] > 0 and near["precision"] > 0.9
    assert figures["in_path"]["longest_miss_s"] <= 0.3


def rows(dtype, *values, **fields):
    out = np.zeros(len(values), dtype)
    for k, (frame, x, y) in enumerate(values):
        out[k]["frame"], out[k]["x"], out[k]["y"] = frame, x, y
    out["label"] = ObjectClass.CAR
    for name, value in fields.items():
        out[name] = value
    return out


def test_headings_are_compared_without_telling_front_from_rear():
    truth = rows(TRUTH_DTYPE, (0, 10.0, 0.0), (1, 35.0, 0.0), yaw=0.1)
    ours = rows(PREDICTION_DTYPE, (0, 10.0, 0.5), (1, 35.0, 0.0), (1, 20.0, 9.0), yaw=(0.1 + np.pi, 0.8, 0.0))
    figures = heading_errors(truth, ours)
    assert figures["0-15"]["p50_deg"] == pytest.approx(0.0, abs=1e-6) and figures["0-15"]["wrong"] == 0.0
    assert figures["30-40"]["wrong"] == 1.0 and figures["30-40"]["p50_deg"] == pytest.approx(40.1, abs=0.05)
    assert figures["15-30"]["vehicles"] == 0, "what stands nowhere near an annotated one is not compared"


def watched(places, found_in):
    """Gaps of a car at ``places`` (x, y), one a sweep, that perception finds in the sweeps ``found_in``."""
    watch, path = PathWatch(1.85), np.column_stack([np.arange(0.0, 60.0, 0.5), np.zeros(120)])
    for k, (x, y) in enumerate(places):
        truth = rows(TRUTH_DTYPE, (k, x, y), length=4.4, width=1.8, points=50, counted=True, id=3)
        sweep = LidarSweep(k * 100_000_000, np.zeros(0), np.eye(4))
        seen = rows(PREDICTION_DTYPE, (k, x + 1.0, y))[: int(k in found_in)]
        watch.step(Frame(k, sweep, None, truth, True, path=path), seen)
    return path_figures([("drive", watch)])


def test_the_longest_time_that_something_in_the_path_is_missed():
    figures = watched([(15.0, 0.0)] * 12, found_in={0, 1, 6, 10, 11})
    assert figures["watched"] == 1 and figures["longest_miss_s"] == pytest.approx(0.4)
    assert [gap["seconds"] for gap in figures["missed"]] == pytest.approx([0.4, 0.3])


@pytest.mark.parametrize("place", [(15.0, 2.5), (25.0, 0.0), (-10.0, 0.0)])
def test_beside_beyond_and_behind_is_not_in_the_path(place):
    assert watched([place] * 5, found_in=())["watched"] == 0

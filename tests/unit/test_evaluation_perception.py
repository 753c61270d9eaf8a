"""Detection and tracking figures on cases worked out by hand."""

import numpy as np
import pytest

from robotaxi.evaluation.detection_metrics import PREDICTION_DTYPE, found_within, score_detections
from robotaxi.evaluation.perception_case import TRUTH_DTYPE, points_in_boxes
from robotaxi.evaluation.tracking_metrics import score_tracks
from robotaxi.types import ObjectClass


def truth(*rows):
    """Rows (frame, id, x, y) or (frame, id, x, y, label, counted)."""
    out = np.zeros(len(rows), TRUTH_DTYPE)
    for k, row in enumerate(rows):
        frame, identity, x, y, label, counted = (*row, ObjectClass.CAR, True)[:6] if len(row) == 4 else row
        out[k]["frame"], out[k]["id"], out[k]["x"], out[k]["y"] = frame, identity, x, y
        out[k]["label"], out[k]["counted"], out[k]["points"] = label, counted, 50
    return out


def found(*rows):
    """Rows (frame, id, x, y, score[, ignored])."""
    out = np.zeros(len(rows), PREDICTION_DTYPE)
    for k, row in enumerate(rows):
        for name, value in zip(("frame", "id", "x", "y", "score", "ignored"), row, strict=False):
            out[k][name] = value
    out["label"] = ObjectClass.CAR
    return out


def vehicles(annotated, predicted, band="0-25"):
    return score_detections(annotated, predicted)["vehicle"][band]


def test_every_vehicle_found_and_nothing_else_is_an_ap_of_one():
    result = vehicles(truth((0, 1, 10, 0), (1, 1, 12, 0)), found((0, 0, 10.3, 0, 0.9), (1, 0, 12, 0, 0.8)))
    assert result["ap_0.5m"] == result["ap_4m"] == 1.0
    assert (result["precision"], result["recall"], result["annotated"]) == (1.0, 1.0, 2)
    assert result["center_error_p50_m"] == pytest.approx(0.15)


def test_a_prediction_further_off_than_the_threshold_is_wrong_there_and_right_beyond():
    result = vehicles(truth((0, 1, 10, 0)), found((0, 0, 11.5, 0, 0.9)))
    assert (result["ap_0.5m"], result["ap_1m"], result["ap_2m"]) == (0.0, 0.0, 1.0)


def test_a_false_alarm_costs_only_where_it_is_surer_than_what_is_right():
    annotated = truth((0, 1, 10, 0))
    before = vehicles(annotated, found((0, 0, 10, 0, 0.5), (0, 0, 20, 5, 0.9)))
    after = vehicles(annotated, found((0, 0, 10, 0, 0.9), (0, 0, 20, 5, 0.5)))
    # precision rises along a line from 0 at recall 0 to 1/2 at recall 1: the mean of max(r / 2 - 0.1, 0), over 0.9
    assert before["ap_2m"] == pytest.approx(0.2, abs=2e-3) and after["ap_2m"] > 0.99
    assert before["precision"] == after["precision"] == 0.5


def test_one_annotation_is_taken_once():
    result = vehicles(truth((0, 1, 10, 0)), found((0, 0, 10, 0, 0.9), (0, 0, 10.2, 0, 0.8)))
    assert (result["predicted"], result["precision"]) == (2, 0.5)


def test_what_nobody_annotated_counts_for_nothing():
    annotated = truth((0, 1, 10, 0), (0, 2, 20, 0, ObjectClass.CAR, False), (0, 3, 15, 9, ObjectClass.UNKNOWN, False))
    predicted = found((0, 0, 10, 0, 0.9), (0, 0, 20, 0, 0.9), (0, 0, 15, 9, 0.9), (0, 0, -9, 3, 0.9, True))
    result = vehicles(annotated, predicted)
    assert (result["annotated"], result["predicted"], result["ap_2m"]) == (1, 1, 1.0)


def test_bands_take_what_lies_in_them_and_an_empty_band_says_so():
    annotated, predicted = truth((0, 1, 10, 0), (0, 2, 24.5, 0)), found((0, 0, 10, 0, 0.9), (0, 0, 25.2, 0, 0.9))
    assert vehicles(annotated, predicted)["recall"] == 1.0, "found from the other side of the band's edge"
    far = vehicles(annotated, predicted, "50-75")
    assert far["annotated"] == 0 and far["ap_2m"] is None and far["recall"] is None


def test_near_vehicles_may_be_found_by_any_source():
    annotated = truth((0, 1, 10, 0), (0, 2, 0, 20), (0, 3, 40, 0))
    a, b = found((0, 0, 10.5, 0, 0.1)), found((0, 0, 0, 21.2, 0.1))
    result = found_within(annotated, [a, b], 25.0, 20, 1.0)
    assert (result["annotated"], result["share"]) == (2, 0.5)
    assert result["missed"] == [{"frame": 0, "id": 2, "points": 50, "range_m": 20.0, "closest_m": 1.2}]
    assert found_within(annotated[:0], [a], 25.0, 20, 1.0)["share"] is None


def test_points_in_boxes():
    boxes = truth((0, 1, 10, 0), (0, 2, 0, 5))
    boxes["length"], boxes["width"], boxes["height"], boxes["yaw"] = 4.0, 2.0, 1.5, np.pi / 2
    xyz = np.array([[10.9, 1.9, 1.0], [11.1, 0, 1.0], [10, 0, 1.6], [10, 0, -0.1], [0, 6.9, 0.2]])
    assert points_in_boxes(xyz, boxes).tolist() == [1, 1]


def drive(frames, x=lambda k: 10.0, identity=lambda k: 7):
    return found(*((k, identity(k), x(k), 0, 1.0) for k in frames))


def test_perfect_tracks():
    result = score_tracks(truth(*((k, 1, 10, 0) for k in range(10))), drive(range(10)), 40.0)
    assert (result["mota"], result["idf1"], result["id_switches"], result["fragmentations"]) == (1.0, 1.0, 0, 0)


def test_a_changed_id_is_one_switch_and_halves_the_identity():
    ours = drive(range(10), identity=lambda k: 7 if k < 5 else 8)
    result = score_tracks(truth(*((k, 1, 10, 0) for k in range(10))), ours, 40.0)
    assert (result["id_switches"], result["mota"], result["idf1"]) == (1, 0.9, 0.5)


def test_a_gap_is_missed_and_a_fragmentation_but_no_switch():
    ours = drive([0, 1, 2, 5, 6, 7, 8, 9])
    result = score_tracks(truth(*((k, 1, 10, 0) for k in range(10))), ours, 40.0)
    assert (result["missed"], result["fragmentations"], result["id_switches"], result["mota"]) == (2, 1, 0, 0.8)


def test_far_and_excused_tracks_are_no_false_ones():
    annotated = truth((0, 1, 10, 0), (0, 2, 20, 0, ObjectClass.CAR, False))
    ours = found((0, 1, 10, 0, 1.0), (0, 2, 20.5, 0, 1.0), (0, 3, 50, 0, 1.0), (0, 4, -5, 0, 1.0, True))
    result = score_tracks(annotated, ours, 40.0)
    assert (result["annotated"], result["false"], result["mota"]) == (1, 0, 1.0)
    assert score_tracks(annotated[:0], ours[:0], 40.0)["mota"] is None

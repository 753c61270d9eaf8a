"""What perception says of existence and class, and of lights, as other nodes read it from the bytes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sim_scenery_map import crossing_map

from robotaxi.hdmap.lane_map import Signal
from robotaxi.hdmap.light_records import light_records
from robotaxi.interfaces import INTERFACES
from robotaxi.nodes.cdr import decoder, publishable
from robotaxi.nodes.records import to_cloud
from robotaxi.perception.lidar.boxes import DETECTION_DTYPE
from robotaxi.perception.lidar.tracker_config import TrackerConfig
from robotaxi.perception.lidar.tracking import Tracker
from robotaxi.types import CLASS_FIELDS, OBJECT_DTYPE, LightShape, LightState, LightStatus, ObjectClass

SWEEP_NS, SENSOR = 100_000_000, np.zeros(2)
OBJECTS, LIGHTS = INTERFACES["perception/objects"], INTERFACES["perception/traffic_lights"]


def sent(item, records):
    """``records`` after the way over the wire."""
    return decoder(item)(publishable(to_cloud(records, 9, "map")))


def seen(label):
    out = np.zeros(1, DETECTION_DTYPE)
    out["x"], out["height"], out["length"], out["width"] = 12.0, 1.5, 4.2, 1.8
    out["points"], out["flat"], out["label"] = 80, 0.7, label
    return out


def test_objects_tell_existence_and_class_by_what_was_seen_of_them():
    tracker, told = Tracker(TrackerConfig()), []
    labels = [ObjectClass.CAR] * 12 + [ObjectClass.TRUCK] * 6
    for k, label in enumerate(labels):
        told.append(sent(OBJECTS, tracker.step(seen(label), k * SWEEP_NS, SENSOR)))
    gone = sent(OBJECTS, tracker.step(np.zeros(0, DETECTION_DTYPE), len(labels) * SWEEP_NS, SENSOR))
    first, sure, mixed = told[3][0], told[11][0], told[-1][0]
    for row in (first, sure, mixed):
        assert sum(row[name] for name in CLASS_FIELDS) == pytest.approx(1.0, abs=1e-5)
        assert row["label"] == np.argmax([row[name] for name in CLASS_FIELDS]) == ObjectClass.CAR
    assert 0.7 < first["p_car"] < sure["p_car"] and sure["p_car"] > 0.9
    assert 0.2 < mixed["p_truck"] < mixed["p_car"] < sure["p_car"]
    assert 0.5 < first["existence"] <= sure["existence"] < 1.0
    assert gone[0]["existence"] < mixed["existence"], "a miss speaks against it"


def test_bags_made_before_there_were_class_probabilities_are_still_read():
    old = np.zeros(2, np.dtype([(n, OBJECT_DTYPE[n]) for n in OBJECT_DTYPE.names if n not in CLASS_FIELDS]))
    old["id"], old["x"] = (4, 5), (1.0, 2.0)
    new = sent(OBJECTS, old)
    assert new.dtype == OBJECT_DTYPE and new["id"].tolist() == [4, 5] and not new["p_car"].any()


def test_lights_are_elements_with_colour_shape_status_and_confidence():
    arrow = Signal(7, np.array([1.0, 2.0, 4.0]), math.pi, 40, shape=LightShape.LEFT_ARROW)
    plain = crossing_map().signals[200]
    shown = [(arrow, LightState.GREEN, 0.9), (plain, LightState.OFF, 0.6), (plain, LightState.UNKNOWN, 0.0)]
    got = sent(LIGHTS, light_records(shown))
    assert got["signal_id"].tolist() == [7, 200, 200]
    assert got["state"].tolist() == [LightState.GREEN, LightState.OFF, LightState.UNKNOWN]
    assert got["shape"].tolist() == [LightShape.LEFT_ARROW, LightShape.CIRCLE, LightShape.CIRCLE]
    assert got["status"].tolist() == [LightStatus.ON, LightStatus.OFF, LightStatus.UNKNOWN]
    assert got["confidence"] == pytest.approx([0.9, 0.6, 0.0])

"""The second look: patches, what becomes of the answers, whole boxes in the tracker; and the lidar's sight."""

import numpy as np
import pytest

from robotaxi.perception.lidar import LidarPerceptionConfig
from robotaxi.perception.lidar.boxes import DETECTION_DTYPE
from robotaxi.perception.lidar.full_boxes import full_boxes
from robotaxi.perception.lidar.patches import CHANNELS, FACTS, SIDE, facts, patches
from robotaxi.perception.lidar.second_look import detections_by_look
from robotaxi.perception.lidar.sight import SECTORS, SightConfig, SightMonitor
from robotaxi.perception.lidar.tracker_config import TrackerConfig
from robotaxi.perception.lidar.tracking import Tracker
from robotaxi.types import ObjectClass

CONFIG = LidarPerceptionConfig()
SENSOR = np.zeros(2)
CAR_BOX = (0.0, 0.0, np.log(4.4), np.log(1.8), 1.0, 0.0)


def boxes(*places, length=3.0, width=0.4, height=1.4):
    out = np.zeros(len(places), DETECTION_DTYPE)
    out["x"], out["y"] = np.array(places, float).T
    out["length"], out["width"], out["height"], out["points"], out["flat"] = length, width, height, 60, 0.9
    return out


def answer(labels, values=CAR_BOX, sure=6.0):
    """A network that gives these classes whatever it sees."""

    def network(patch, fact):
        assert patch.shape[1:] == (CHANNELS, SIDE, SIDE) and fact.shape[1:] == (FACTS,)
        logits = np.zeros((len(patch), 5), np.float32)
        logits[np.arange(len(patch)), list(labels)[: len(patch)]] = sure
        return logits, np.tile(np.array(values, np.float32), (len(patch), 1))

    return network


def look(found, network):
    xyz = np.column_stack([found["x"], found["y"], np.ones(len(found))]).astype(np.float32)
    return detections_by_look(xyz, xyz[:, 2].copy(), found, SENSOR, network, CONFIG)


@pytest.mark.parametrize("bearing", [0.0, 1.0, 2.5, -2.0])
def test_a_patch_is_turned_into_the_line_of_sight(bearing):
    c, s = np.cos(bearing), np.sin(bearing)
    spread = np.stack(np.meshgrid([-0.12, 0.0, 0.12], [-0.12, 0.0, 0.12], [0.0]), axis=-1).reshape(-1, 3)
    spots = np.array([[12.6, 0.1, 0.9], [10.1, 2.1, 2.0], [10.1, 0.1, 0.1]])
    local = (spots[:, None] + spread).reshape(-1, 3).astype(np.float32)
    xyz = np.column_stack([c * local[:, 0] - s * local[:, 1], s * local[:, 0] + c * local[:, 1], local[:, 2]])
    xyz = xyz.astype(np.float32)
    patch = patches(xyz, local[:, 2].copy(), boxes((10 * c, 10 * s)), SENSOR, 70.0)[0]
    half = SIDE // 2
    for channel, along, across in ((2, 10, 0), (5, 0, 8), (0, 0, 0)):  # cells of 0.25 m from the middle
        near = patch[channel, half + along - 2 : half + along + 3, half + across - 2 : half + across + 3]
        assert near.max() > 0.0 and patch[channel].sum() == pytest.approx(near.sum()), channel
    assert facts(boxes((10 * c, 10 * s)), SENSOR)[0, 0] == pytest.approx(0.2)


def test_classes_and_boxes_are_the_networks():
    (car,) = look(boxes((10, 0)), answer([ObjectClass.CAR], (1.5, -0.2, np.log(4.4), np.log(1.8), 1.0, 0.0)))
    assert (car["label"], car["looked"]) == (ObjectClass.CAR, True) and car["score"] > 0.95
    assert [car[n] for n in ("x", "y", "length", "width")] == pytest.approx([11.5, -0.2, 4.4, 1.8], abs=1e-5)


def test_what_is_no_road_user_stays_as_an_obstacle_without_a_class():
    (thing,) = look(boxes((10, 0)), answer([ObjectClass.UNKNOWN]))
    assert thing["label"] == ObjectClass.UNKNOWN and thing["looked"] and thing["length"] == 3.0
    unsure = look(boxes((10, 0)), answer([ObjectClass.CAR], sure=0.2))
    assert unsure["label"].tolist() == [ObjectClass.UNKNOWN]


def test_pieces_of_one_car_become_one():
    found = look(boxes((10, 0), (11, 0), (20, 0)), answer([ObjectClass.CAR] * 3))
    assert found["x"].tolist() == [10.0, 20.0]


def test_far_clusters_are_judged_by_their_shape():
    far = look(boxes((CONFIG.look_range + 5.0, 0)), answer([]))
    assert far["label"].tolist() == [ObjectClass.CAR] and not far["looked"].any()
    assert len(look(boxes((10, 0))[:0], answer([]))) == 0


def track(label, score, sweeps=10, **changes):
    """A car that is seen with its whole box turned by 0.7 rad from what the first sweep said."""
    tracker, objects = Tracker(TrackerConfig(**changes)), None
    for k in range(sweeps):
        seen = boxes((15.0, 3.0), length=4.4, width=1.8)
        seen["label"], seen["score"], seen["looked"] = label, score, True
        seen["yaw"] = 0.0 if k == 0 else 0.7
        objects = tracker.step(seen, k * 100_000_000, SENSOR)
    return objects


def test_a_whole_box_is_followed_by_its_centre_and_turns_to_its_heading():
    (car,) = track(ObjectClass.CAR, 0.95, sweeps=30)
    assert [car["x"], car["y"]] == pytest.approx([15.0, 3.0], abs=0.02), "not anchored at an edge"
    assert [car["length"], car["width"]] == pytest.approx([4.4, 1.8], abs=0.05)
    assert car["yaw"] == pytest.approx(0.7, abs=0.02) and car["label"] == ObjectClass.CAR and car["static"]
    assert full_boxes(track_input(), SENSOR, TrackerConfig()).center[0].tolist() == [15.0, 3.0]


def track_input():
    seen = boxes((15.0, 3.0), length=4.4, width=1.8)
    seen["label"], seen["looked"] = ObjectClass.CAR, True
    return seen


def test_a_class_that_is_doubted_in_every_sweep_is_not_believed():
    assert track(ObjectClass.CAR, 0.6)["label"].tolist() == [ObjectClass.UNKNOWN]


def ring(sectors, points=50):
    angle = np.radians(np.repeat(np.array(sectors) * 360.0 / SECTORS, points))
    xyz = np.column_stack([20 * np.cos(angle), 20 * np.sin(angle), np.zeros(len(angle))]).astype(np.float32)
    return xyz, xyz[:, 2].copy()


def test_the_lidars_sight_is_judged():
    monitor = SightMonitor(SightConfig())
    every = list(range(SECTORS))
    sight = monitor.step(*ring(every))
    assert sight.clear and sight.road_range == 20.0 and sight.blind_deg == ()
    some = monitor.step(*ring(every[2:]))
    assert some.clear and some.blind_deg == (0, 10)
    assert "blind in 18 of 36 directions, from 180 degrees" in monitor.step(*ring(every[:18])).reason
    assert "usual are" in monitor.step(*ring(every, 15)).reason
    assert "holds 0 points" in monitor.step(np.zeros((0, 3), np.float32), np.zeros(0, np.float32)).reason


def whole(x, label=ObjectClass.CAR, score=0.95):
    """A detection that the second look judged."""
    out = boxes((x, 0.0), length=4.4, width=1.8)
    out["label"], out["score"], out["looked"] = label, score, True
    return out


def existence(detections):
    """Of the only track after each of these sweeps, from the third on; 0 where none is shown."""
    tracker, out = Tracker(TrackerConfig()), []
    for k, seen in enumerate(detections):
        objects = tracker.step(seen, k * 100_000_000, SENSOR)
        assert len(objects) <= 1
        out.append(float(objects["existence"][0]) if len(objects) else 0.0)
    return out[2:]


def test_a_vehicle_that_the_second_look_sees_no_more_goes_sooner_than_a_cluster():
    seen, none = whole(10.0), whole(10.0)[:0]
    by_shape = seen.copy()
    by_shape["looked"] = False
    looked, plain = (existence([d] * 4 + [none] * 4) for d in (seen, by_shape))
    assert looked[1] == pytest.approx(plain[1], abs=0.02) and looked[-1] < plain[-1]


def test_pieces_that_jump_about_and_no_road_users_are_no_evidence_for_a_vehicle():
    steady = existence([whole(10.0)] * 8)
    jumping = existence([whole(x) for x in (10.0, 11.5, 9.7, 11.6, 9.9, 11.4, 10.1, 11.5)])
    refuted = existence([whole(10.0)] * 4 + [whole(10.0, ObjectClass.UNKNOWN, 0.9)] * 4)
    assert jumping[-1] < steady[-1]
    assert refuted[-1] < steady[-1]
    assert refuted[-1] == pytest.approx(steady[1], abs=0.02), "seen, but not as a vehicle: as before"

"""Tracks keep the shape of a car also when its first, far view was misleading."""

import numpy as np

from robotaxi.perception.lidar.boxes import DETECTION_DTYPE
from robotaxi.perception.lidar.tracker_config import TrackerConfig
from robotaxi.perception.lidar.tracking import Tracker
from robotaxi.types import ObjectClass

SWEEP_NS = 100_000_000
SENSOR = np.array([0.0, 3.4])  # passing on the left


def view(yaw, length, width, points, flat, x=12.0):
    detection = np.zeros(1, DETECTION_DTYPE)
    detection["x"], detection["yaw"], detection["height"] = x, yaw, 1.5
    detection["length"], detection["width"], detection["points"] = length, width, points
    detection["flat"], detection["label"] = flat, ObjectClass.CAR
    return detection


def test_heading_guessed_wrong_from_afar_is_put_right_by_a_clear_view():
    tracker = Tracker(TrackerConfig())
    stamps = iter(range(0, 10**10, SWEEP_NS))
    for _ in range(6):
        tracker.step(view(np.radians(40.0), 2.4, 1.9, points=9, flat=0.5), next(stamps), SENSOR)
    for _ in range(8):
        objects = tracker.step(view(0.0, 4.1, 1.8, points=200, flat=0.9), next(stamps), SENSOR)
    (car,) = objects
    assert abs((car["yaw"] + np.pi / 2) % np.pi - np.pi / 2) < np.radians(5.0)
    assert car["width"] < 2.1
    assert 3.9 < car["length"] < 4.6
    assert abs(car["y"]) < 0.3


def test_no_car_is_wider_than_cars_are():
    tracker = Tracker(TrackerConfig())
    for k in range(20):
        objects = tracker.step(view(0.0, 4.5, 2.4 if k < 5 else 3.3, points=60, flat=0.9), k * SWEEP_NS, SENSOR)
    assert np.all(objects["width"][objects["label"] == ObjectClass.CAR] <= TrackerConfig().max_width_seen)


def wrong_by(objects, yaw=0.0):
    """Degrees between the only object's heading and ``yaw``, front and rear not told apart."""
    (car,) = objects
    return abs(np.degrees((car["yaw"] - yaw + np.pi / 2) % np.pi - np.pi / 2))


def test_round_cars_of_which_half_the_returns_lie_on_the_sides_put_a_heading_right_too():
    tracker = Tracker(TrackerConfig())
    stamps = iter(range(0, 10**10, SWEEP_NS))
    for _ in range(12):
        tracker.step(view(np.radians(43.0), 1.5, 1.2, points=8, flat=0.62), next(stamps), SENSOR)
    for _ in range(4):
        objects = tracker.step(view(0.0, 4.0, 1.3, points=30, flat=0.47, x=13.0), next(stamps), SENSOR)
    assert wrong_by(objects) < 3.0
    assert objects["width"][0] < 2.1


def test_poor_views_do_not_undo_a_good_one():
    tracker = Tracker(TrackerConfig())
    stamps = iter(range(0, 10**10, SWEEP_NS))
    for _ in range(5):
        tracker.step(view(0.0, 4.2, 1.8, points=300, flat=0.6), next(stamps), SENSOR)
    for _ in range(20):
        objects = tracker.step(view(np.radians(40.0), 1.5, 1.2, points=6, flat=0.6, x=10.8), next(stamps), SENSOR)
    assert wrong_by(objects) < 5.0


def test_a_rear_without_a_class_is_no_side_once_it_is_a_cars():
    """Seen from behind at first, hardly anything of its side, its class unclear."""
    tracker, rear, behind = Tracker(TrackerConfig()), np.pi / 2, np.array([-40.0, 3.0])
    unclear = view(rear, 1.3, 0.4, points=9, flat=1.0)
    unclear["label"] = ObjectClass.UNKNOWN
    for k in range(4):
        tracker.step(unclear, k * SWEEP_NS, behind)
    for k in range(4, 16):
        objects = tracker.step(view(rear, 1.6, 1.1, points=16, flat=0.9), k * SWEEP_NS, behind)
    assert wrong_by(objects) < 5.0
    assert objects["x"][0] > 12.0, "its rear is what we see: the car lies behind it"


def test_a_car_in_a_bend_is_followed_in_heading():
    tracker, errors = Tracker(TrackerConfig()), []
    for k in range(60):
        t = 0.1 * k
        yaw = 0.4 * t
        car = view(yaw, 4.4, 1.8, points=120, flat=0.6)
        car["x"], car["y"] = 20.0 * np.sin(yaw), 20.0 - 20.0 * np.cos(yaw)
        car["x"] += 15.0
        objects = tracker.step(car, k * SWEEP_NS, SENSOR)
        if k > 15:
            errors.append(wrong_by(objects, yaw))
    assert max(errors) < 4.0


def test_what_was_seen_thrice_is_not_carried_on_as_long_as_what_is_well_known():
    def carried_on(seen):
        tracker, nothing = Tracker(TrackerConfig()), np.zeros(0, DETECTION_DTYPE)
        for k in range(seen):
            tracker.step(view(0.0, 4.2, 1.8, points=100, flat=0.6), k * SWEEP_NS, SENSOR)
        return sum(len(tracker.step(nothing, k * SWEEP_NS, SENSOR)) for k in range(seen, seen + 12))

    assert carried_on(3) == 4
    assert carried_on(20) == 9


def passing(k):
    """Three things far apart in sweep ``k``: a car that drives, a parked one by the second look, a person."""
    seen = np.concatenate([view(0.02 * k, 4.1, 1.8, points=90, flat=0.8) for _ in range(3)])
    seen["x"], seen["y"] = (12.0 + 0.8 * k, -30.0, 5.0), (0.0, 20.0, -25.0 + 0.1 * k)
    seen["looked"][1], seen["score"][1] = True, 0.9
    seen["label"][2], seen["length"][2], seen["width"][2] = ObjectClass.PEDESTRIAN, 0.6, 0.5
    return seen


def test_things_far_apart_are_tracked_as_if_each_were_alone():
    together, alone = Tracker(TrackerConfig()), [Tracker(TrackerConfig()) for _ in range(3)]
    for k in range(15):
        objects = together.step(passing(k), k * SWEEP_NS, SENSOR)
        apart = [tracker.step(passing(k)[i : i + 1], k * SWEEP_NS, SENSOR) for i, tracker in enumerate(alone)]
        rows = np.concatenate(apart)
        rows["id"] = objects["id"]  # each tracker numbers its own
        assert rows.tobytes() == objects.tobytes()
    assert objects["label"].tolist() == [ObjectClass.CAR, ObjectClass.CAR, ObjectClass.PEDESTRIAN]
    assert objects["static"].tolist() == [0, 1, 0]


def hidden_after(places, speed=0.0, unseen=8):
    """Where a car is published from the last time on that it is seen: at ``places`` (y), ``speed`` m/s along x."""
    tracker, nothing, out = Tracker(TrackerConfig()), np.zeros(0, DETECTION_DTYPE), []
    for k in range(len(places) + unseen):
        seen = nothing
        if k < len(places):
            seen = view(0.0, 4.3, 1.8, points=100, flat=0.9, x=30.0 + 0.1 * k * speed)
            seen["y"] = places[k]
        objects = tracker.step(seen, k * SWEEP_NS, SENSOR)
        if k >= len(places) - 1:
            out += [(float(car["x"]), float(car["y"])) for car in objects]
    return np.array(out)


def test_a_parked_car_of_which_little_was_seen_waits_where_it_is():
    """Its last views slip to the side, as a corner behind other cars does: no reason to roll into the lane."""
    places = hidden_after([-3.0, -3.0, -2.95, -2.9, -2.4, -2.3])
    assert len(places) > 4 and np.abs(places - places[0]).max() < 0.05


def test_a_car_that_surely_drives_goes_on_where_it_is_hidden():
    places = hidden_after([-3.0] * 6, speed=10.0)
    assert len(places) > 4 and np.diff(places[:, 0]).mean() > 0.8

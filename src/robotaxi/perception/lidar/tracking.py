"""Multi-object tracking in the map: predict, associate, update, give birth, forget.

Global nearest neighbour with Mahalanobis gates over Kalman filters. Positions come from visible
edges (`anchor`), so that a parked car keeps its place while the ego passes it. A track counts as
static until it has left the place where it was first seen; static tracks report no velocity.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robotaxi.geometry.se2 import wrap_angles
from robotaxi.perception.lidar.anchor import BoxMeasurement, corners, measure, to_map
from robotaxi.perception.lidar.association import measurement_noise, misfit, pair
from robotaxi.perception.lidar.full_boxes import ACROSS, full_boxes, full_size, is_vehicle, is_whole
from robotaxi.perception.lidar.heading import (
    faded,
    heading,
    joined,
    side_information,
    told,
    wrap_half,
    wrap_quarter,
)
from robotaxi.perception.lidar.track_table import CLASSES, TRACK_DTYPE, doubled, predict, update
from robotaxi.perception.lidar.tracker_config import TrackerConfig
from robotaxi.types import OBJECT_DTYPE, FloatArray, ObjectClass, RecordArray

_STANDING_HITS = 8  # detections after which a track that has not moved is taken to stand
_WHOLE_GAIN = 0.2
_STICKY = 1.6
_RIGID_CHANGE = 0.3  # m
_RIGID_SHARE = 0.15
_UNCLEAR_VOTE = 0.3  # a few low returns say less than a full view
_WRONG_DEG = 25.0  # a heading this far from what is known of it is laid anew
_AGREES_DEG = 10.0  # by a view that agrees with what is known
_CLEARLY = 0.3  # m
_WHOLE_DEG = 10.0  # how well the network tells a heading
_USUAL_MISFIT = 2.0  # mean of the squared misfit of two coordinates
_COURSE_DEG = 5.0  # a car slips and turns: its course is its heading no better than this


class Tracker:
    """One call of `step` a sweep. Ids start at 1 and are never used twice."""

    def __init__(self, config: TrackerConfig) -> None:
        self._config = config
        self._tracks: RecordArray = np.zeros(0, TRACK_DTYPE)
        self._next_id = 1
        self._stamp_ns: int | None = None
        self._noise_parameters = np.array(
            [config.sigma_position, config.sigma_per_m, config.sigma_sight_per_m, np.radians(config.beam_spacing_deg),
             config.sigma_grazing, config.sigma_slack, config.sigma_whole]
        )  # fmt: skip

    def step(self, detections: RecordArray, stamp_ns: int, sensor: FloatArray) -> RecordArray:
        """Take the detections (boxes.DETECTION_DTYPE, in map) of one sweep; ``sensor`` (2,) in map.

        Returns the confirmed tracks as OBJECT_DTYPE at ``stamp_ns``. A stamp that goes back or jumps
        ahead by more than ``max_step`` drops all tracks.
        """
        config = self._config
        dt = 0.0 if self._stamp_ns is None else (stamp_ns - self._stamp_ns) * 1e-9
        if dt < 0.0 or dt > config.max_step:
            self._tracks = self._tracks[:0]
            dt = 0.0
        self._stamp_ns = stamp_ns
        person = self._tracks["label"] == ObjectClass.PEDESTRIAN
        predict(self._tracks, dt, np.where(person, config.sigma_person, config.sigma_vehicle))
        box_corners = corners(detections)
        track_index, detection_index, covered = pair(
            self._tracks, detections, box_corners, sensor, self._noise_parameters, config.gate, config.gate_distance,
            config.confirm_hits,
        )  # fmt: skip
        self._miss(track_index)
        self._update(track_index, detections[detection_index], box_corners[detection_index], stamp_ns, sensor)
        covered[detection_index] = True
        born = self._birth(detections[~covered], stamp_ns, sensor)
        self._tracks = np.concatenate([self._tracks, born])
        self._forget(stamp_ns)
        return self._publish(stamp_ns)

    def _noise(self, found: BoxMeasurement, center: FloatArray, yaw: FloatArray, sensor: FloatArray) -> FloatArray:
        return measurement_noise(found, center, yaw, sensor, self._noise_parameters)

    def _miss(self, seen: NDArray[np.intp]) -> None:
        missed = np.ones(len(self._tracks), bool)
        missed[seen] = False
        config = self._config
        cost = np.where(self._tracks["looked"], config.look_miss_log_odds, config.miss_log_odds)
        self._tracks["log_odds"][missed] -= cost[missed]
        # what has been seen standing for a while waits where it is
        standing = ~self._tracks["moved"] & (self._tracks["hits"] > _STANDING_HITS)
        self._tracks["mean"][missed & standing, 2:] = 0.0

    def _update(
        self,
        index: NDArray[np.intp],
        detections: RecordArray,
        box_corners: FloatArray,
        stamp_ns: int,
        sensor: FloatArray,
    ) -> None:
        config = self._config
        tracks = self._tracks[index]
        if len(tracks) == 0:
            return
        # a detection's position was measured at its own time within the sweep
        shift = tracks["mean"][:, 2:] * detections["time"][:, None]
        size = np.column_stack([tracks["length"], tracks["width"]])
        found = measure(tracks["mean"][:, :2] + shift, tracks["yaw"], size, box_corners, sensor)
        noise = self._noise(found, tracks["mean"][:, :2], tracks["yaw"], sensor)
        offset, whole = to_map(found.offset, tracks["yaw"]), is_whole(detections)
        if whole.any():
            centers = np.column_stack([detections["x"], detections["y"]])
            offset[whole] = (centers - tracks["mean"][:, :2] - shift)[whole]
            noise[whole] += config.sigma_whole**2 * np.eye(2)
        doubt = self._doubt(tracks, detections, offset, noise)
        update(tracks, offset, noise, 0)
        self._draw_to_rest(tracks)
        tracks["hits"] += 1
        tracks["seen_ns"] = stamp_ns
        tracks["looked"] |= detections["looked"]
        tracks["log_odds"] = np.minimum(tracks["log_odds"] + config.hit_log_odds, config.max_log_odds) - doubt
        self._classify(tracks, detections)
        self._resize(tracks, detections, found)
        self._judge_motion(tracks, found)
        self._turn(tracks, detections, found)
        self._straighten(tracks, detections, box_corners, sensor)
        self._tracks[index] = tracks

    def _doubt(self, tracks: RecordArray, detections: RecordArray, offset: FloatArray, noise: FloatArray) -> FloatArray:
        """Evidence (N,) that detections of the second look take away again: what lies far from where its track was
        expected, and what is no road user where a vehicle was, is rather a piece of a hedge than that vehicle."""
        config, looked = self._config, detections["looked"]
        if not looked.any():
            return np.zeros(len(tracks))
        squared = misfit(tracks["cov"][:, :2, :2] + noise, offset)
        far = np.clip(config.look_misfit * (squared - _USUAL_MISFIT), 0.0, 2.0 * config.hit_log_odds)
        no_user = (detections["label"] == ObjectClass.UNKNOWN) & is_vehicle(tracks["label"])
        return np.where(looked, far + np.where(no_user, config.hit_log_odds, 0.0), 0.0)

    def _draw_to_rest(self, tracks: RecordArray) -> None:
        """Pseudo-measurement of zero velocity for what is almost at rest."""
        slow = np.hypot(tracks["mean"][:, 2], tracks["mean"][:, 3]) < self._config.rest_speed
        resting = tracks[slow & (tracks["hits"] >= self._config.confirm_hits)]
        if len(resting) == 0:
            return
        noise = np.broadcast_to(np.eye(2) * self._config.rest_speed**2, (len(resting), 2, 2))
        update(resting, -resting["mean"][:, 2:], noise, 2)
        tracks[slow & (tracks["hits"] >= self._config.confirm_hits)] = resting

    def _classify(self, tracks: RecordArray, detections: RecordArray) -> None:
        tracks["votes"] *= 0.95
        rows = np.arange(len(tracks))
        unclear = detections["label"] == ObjectClass.UNKNOWN
        looked, score = detections["looked"], detections["score"]
        tracks["votes"][rows, detections["label"]] += np.where(looked, score, np.where(unclear, _UNCLEAR_VOTE, 1.0))
        vehicle = is_vehicle(detections["label"])
        weight = np.where(vehicle, self._config.look_doubt, self._config.look_doubt_small)
        tracks["votes"][:, ObjectClass.UNKNOWN] += np.where(looked & ~unclear, weight * (1.0 - score), 0.0)
        speed = np.hypot(tracks["mean"][:, 2], tracks["mean"][:, 3])
        known = tracks["moved"] & (tracks["hits"] > 2 * self._config.confirm_hits)
        # nobody walks at 5 m/s or more for long; what rolls that fast and is small has two wheels
        tracks["votes"][known & (speed > 5.0), ObjectClass.PEDESTRIAN] = 0.0
        # what was believed of the second look is believed until clearly refuted
        belief = tracks["votes"].copy()
        belief[rows, tracks["label"]] *= np.where(looked & (tracks["label"] != ObjectClass.UNKNOWN), _STICKY, 1.0)
        tracks["label"] = np.argmax(belief, axis=1)

    def _resize(self, tracks: RecordArray, detections: RecordArray, found: BoxMeasurement) -> None:
        """Grow to what is visible; the edge near the sensor stays where it is."""
        aligned = np.abs(wrap_quarter(detections["yaw"] - tracks["yaw"])) < np.radians(12.0)
        whole = is_whole(detections)
        for axis, name in enumerate(("seen_length", "seen_width")):
            seen, extent = tracks[name], found.extent[:, axis]
            # quick to grow, slow to forget a merge with a neighbour
            rate = np.where(extent > seen, np.where(aligned, 0.5, 0.1), 0.02)
            rate, extent = np.where(whole, _WHOLE_GAIN, rate), np.where(whole, detections[name[5:]], extent)
            tracks[name] = seen + rate * (extent - seen)
        before = np.column_stack([tracks["length"], tracks["width"]])
        tracks["length"], tracks["width"] = self._full_size(tracks)
        growth = np.column_stack([tracks["length"], tracks["width"]]) - before
        shift = np.where(whole[:, None], 0.0, to_map(0.5 * growth * found.away, tracks["yaw"]))
        tracks["mean"][:, :2] += shift
        tracks["anchor"] += shift
        tracks["height"] += np.where(detections["height"] > tracks["height"], 0.5, 0.05) * (
            detections["height"] - tracks["height"]
        )
        tracks["ground"] += 0.2 * (detections["z"] - detections["base"] - tracks["ground"])

    def _full_size(self, tracks: RecordArray) -> tuple[FloatArray, FloatArray]:
        return full_size(tracks["seen_length"], tracks["seen_width"], tracks["label"], self._config)

    def _judge_motion(self, tracks: RecordArray, found: BoxMeasurement) -> None:
        config = self._config
        way = tracks["mean"][:, :2] - tracks["anchor"]
        distance = np.hypot(way[:, 0], way[:, 1])
        spread = np.sqrt(np.maximum(tracks["cov"][:, 0, 0], tracks["cov"][:, 1, 1]))
        speed = np.hypot(tracks["mean"][:, 2], tracks["mean"][:, 3])
        doubt = np.sqrt(np.maximum(tracks["cov"][:, 2, 2], tracks["cov"][:, 3, 3]))
        away = (way * tracks["mean"][:, 2:]).sum(axis=1) > 0.0
        moving = (distance > np.maximum(config.moved_distance, 3.0 * spread)) & away
        moving &= speed > np.maximum(config.moved_speed, 2.0 * doubt)
        surely = speed > np.maximum(config.sure_speed, 3.0 * doubt)
        # a rigid body shows much the same of itself from sweep to sweep; pieces cut from a hedge or a wall do not
        change = np.abs(found.extent - tracks["last_extent"])
        rigid = (change < _RIGID_CHANGE + _RIGID_SHARE * found.extent).all(axis=1)
        tracks["last_extent"] = found.extent
        tracks["moving_hits"] = np.where(moving, tracks["moving_hits"] + rigid + surely, 0)
        tracks["moved"] |= tracks["moving_hits"] >= config.moved_hits
        resting = (distance < config.moved_distance) & (speed < config.rest_speed)
        tracks["rest_ns"] = np.where(resting, tracks["rest_ns"], tracks["seen_ns"])
        tracks["moved"] &= (tracks["seen_ns"] - tracks["rest_ns"]) * 1e-9 < config.false_start
        # the place follows slowly, as the map pose drifts
        tracks["anchor"] += np.where(tracks["moved"], 0.0, 0.02)[:, None] * way

    def _faces(self, found: BoxMeasurement) -> NDArray[np.bool_]:
        """Whether the side along the heading squarely faces the sensor."""
        return np.abs(found.eye[:, 0]) < ACROSS * np.hypot(found.eye[:, 0], found.eye[:, 1])

    def _turn(self, tracks: RecordArray, detections: RecordArray, found: BoxMeasurement) -> None:
        """Heading: of the box's sides, and of the motion where there is enough of it."""
        config = self._config
        course = np.arctan2(tracks["mean"][:, 3], tracks["mean"][:, 2])
        speed = np.hypot(tracks["mean"][:, 2], tracks["mean"][:, 3])
        heading_known = tracks["moved"] & (speed > config.heading_speed)
        error = wrap_angles(course - tracks["yaw"])
        # a front taken for a side: swap the axes once the motion tells
        sideways = heading_known & (np.abs(np.abs(error) - np.pi / 2) < np.radians(35.0))
        length, width = tracks["seen_length"], tracks["seen_width"]
        no_width = np.where(tracks["label"] == ObjectClass.CAR, config.wide_car, config.max_width_seen)
        wide = is_vehicle(tracks["label"]) & (width > no_width) & (width > length)
        # a face that squarely faces us shows all of itself: too short for a car's side, it is its front or rear
        short = is_vehicle(tracks["label"]) & (length < config.full_car_length - 1.2) & self._faces(found)
        narrow = short & ((length > width + _CLEARLY) | (width > length + 0.5 * _CLEARLY))
        whole = is_whole(detections)
        crosswise = (wide | narrow) & ~heading_known & ~whole
        course = np.where(crosswise, wrap_angles(tracks["yaw"] + np.pi / 2), course)
        sideways |= crosswise
        if sideways.any():
            self._swap_axes(tracks, sideways, found)
        backwards = heading_known & (np.abs(error) > np.radians(125.0))
        tracks["yaw"] = np.where(
            sideways, course, np.where(backwards, wrap_angles(tracks["yaw"] + np.pi), tracks["yaw"])
        )
        self._weigh_heading(tracks, detections, heading_known)
        known_yaw, known = heading(tracks["facing"])
        error = np.where(known, wrap_quarter(known_yaw - tracks["yaw"]), 0.0)
        # a whole box tells its sides apart
        by_whole = whole & ~heading_known
        turn = np.where(np.abs(error) < np.radians(_WRONG_DEG), error, 0.0)
        turn = np.where(by_whole, config.heading_gain * wrap_half(detections["yaw"] - tracks["yaw"]), turn)
        tracks["yaw"] = wrap_angles(tracks["yaw"] + turn)

    def _weigh_heading(self, tracks: RecordArray, detections: RecordArray, heading_known: NDArray[np.bool_]) -> None:
        config = self._config
        change = np.where(tracks["moved"], config.sigma_turn_deg, config.sigma_stand_deg)
        velocity = tracks["mean"][:, 2:]
        doubt = np.maximum(tracks["cov"][:, 2, 2], tracks["cov"][:, 3, 3])
        speed_squared = np.maximum(np.square(velocity).sum(axis=1), 1e-6)
        by_course = np.where(heading_known, 1.0 / (np.radians(_COURSE_DEG) ** 2 + doubt / speed_squared), 0.0)
        course = np.arctan2(velocity[:, 1], velocity[:, 0])
        facing = faded(tracks["facing"], np.radians(change))
        facing = joined(facing, self._told(detections))
        tracks["facing"] = joined(facing, told(course, by_course))

    def _told(self, detections: RecordArray) -> FloatArray:
        by_network = 1.0 / np.radians(_WHOLE_DEG) ** 2
        by_sides = side_information(detections, self._config.sigma_side)
        return told(detections["yaw"], np.where(is_whole(detections), by_network, by_sides))

    def _swap_axes(self, tracks: RecordArray, sideways: NDArray[np.bool_], found: BoxMeasurement) -> None:
        """What was taken for the length is the width. The corner near the sensor stays where it is."""
        swapped = tracks[sideways]
        swapped["seen_length"], swapped["seen_width"] = swapped["seen_width"].copy(), swapped["seen_length"].copy()
        swapped["length"], swapped["width"] = self._full_size(swapped)
        growth = np.column_stack(
            [swapped["width"] - tracks["length"][sideways], swapped["length"] - tracks["width"][sideways]]
        )
        shift = to_map(0.5 * growth * found.away[sideways], swapped["yaw"])
        swapped["mean"][:, :2] += shift
        swapped["anchor"] += shift
        tracks[sideways] = swapped

    def _straighten(
        self, tracks: RecordArray, detections: RecordArray, box_corners: FloatArray, sensor: FloatArray
    ) -> None:
        """Lay a box anew whose heading was guessed wrong from a few far points, once better views say so.

        A small error is turned back; a large one would leave a box that grew to cover the car crosswise.
        """
        known_yaw, known = heading(tracks["facing"])
        side = wrap_quarter(known_yaw - tracks["yaw"])
        agrees = np.abs(wrap_quarter(known_yaw - detections["yaw"])) < np.radians(_AGREES_DEG)
        seen = side_information(detections, self._config.sigma_side) > 0.0
        wrong = known & agrees & seen & ~is_whole(detections) & (np.abs(side) > np.radians(_WRONG_DEG))
        wrong &= is_vehicle(tracks["label"])
        if not wrong.any():
            return
        turned, seen = tracks[wrong], detections[wrong]
        turned["yaw"] = wrap_angles(turned["yaw"] + side[wrong])
        parallel = np.abs(np.cos(seen["yaw"] - turned["yaw"])) > np.cos(np.pi / 4)
        turned["seen_length"] = np.where(parallel, seen["length"], seen["width"])
        turned["seen_width"] = np.where(parallel, seen["width"], seen["length"])
        turned["length"], turned["width"] = self._full_size(turned)
        center = np.column_stack([seen["x"], seen["y"]])
        size = np.column_stack([turned["length"], turned["width"]])
        found = measure(center, turned["yaw"], size, box_corners[wrong], sensor)
        before = turned["mean"][:, :2].copy()
        turned["mean"][:, :2] = center + to_map(found.offset, turned["yaw"])
        turned["anchor"] += turned["mean"][:, :2] - before
        turned["last_extent"] = found.extent
        tracks[wrong] = turned

    def _birth(self, detections: RecordArray, stamp_ns: int, sensor: FloatArray) -> RecordArray:
        config = self._config
        born = np.zeros(len(detections), TRACK_DTYPE)
        if len(detections) == 0:
            return born
        born["id"] = self._next_id + np.arange(len(detections))
        self._next_id += len(detections)
        born["label"] = detections["label"]
        born["votes"] = np.eye(CLASSES)[detections["label"]]
        born["votes"][detections["looked"], ObjectClass.UNKNOWN] += config.look_prior
        full = full_boxes(detections, sensor, config)
        for name in ("yaw", "length", "width", "seen_length", "seen_width"):
            born[name] = getattr(full, name)
        born["mean"][:, :2] = full.center
        size = np.column_stack([full.length, full.width])
        center = np.column_stack([detections["x"], detections["y"]])
        found = measure(center, full.yaw, size, corners(detections), sensor)
        born["cov"][:, :2, :2] = self._noise(found, center, full.yaw, sensor)
        born["cov"][:, 2, 2] = born["cov"][:, 3, 3] = config.sigma_birth_speed**2
        born["facing"] = self._told(detections)
        born["anchor"] = born["mean"][:, :2]
        born["height"] = detections["height"]
        born["ground"] = detections["z"] - detections["base"]
        born["looked"] = detections["looked"]
        born["log_odds"] = 0.0
        born["hits"] = 1
        born["seen_ns"] = born["rest_ns"] = stamp_ns
        return born

    def _forget(self, stamp_ns: int) -> None:
        config, tracks = self._config, self._tracks
        confirmed = tracks["hits"] >= config.confirm_hits
        unseen = (stamp_ns - tracks["seen_ns"]) * 1e-9
        alive = unseen <= np.where(confirmed, config.max_coast, config.tentative_coast)
        self._tracks = tracks[alive & ~doubled(tracks)]

    def _publish(self, stamp_ns: int) -> RecordArray:
        existence = 1.0 / (1.0 + np.exp(-self._tracks["log_odds"]))
        shown = (self._tracks["hits"] >= self._config.confirm_hits) & (existence >= self._config.least_existence)
        tracks, existence = self._tracks[shown], existence[shown]
        out = np.zeros(len(tracks), OBJECT_DTYPE)
        out["x"], out["y"] = tracks["mean"][:, 0], tracks["mean"][:, 1]
        out["z"] = tracks["ground"] + 0.5 * tracks["height"]
        for name in ("yaw", "length", "width", "height", "id", "label"):
            out[name] = tracks[name]
        out["static"] = ~tracks["moved"]
        out["vx"] = np.where(tracks["moved"], tracks["mean"][:, 2], 0.0)
        out["vy"] = np.where(tracks["moved"], tracks["mean"][:, 3], 0.0)
        out["existence"] = existence
        return out

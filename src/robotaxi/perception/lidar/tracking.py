"""Multi-object tracking in the map: predict, associate, update, give birth, forget.

Global nearest neighbour with Mahalanobis gates over Kalman filters. Positions come from visible
edges (`anchor`), so that a parked car keeps its place while the ego passes it. A track counts as
static until it has left the place where it was first seen; static tracks report no velocity.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.perception.fusion import CameraEvidence, Fusion, FusionConfig, solid_corners
from robotaxi.perception.lidar.anchor import corners, measure
from robotaxi.perception.lidar.association import noise, pair
from robotaxi.perception.lidar.full_boxes import full_box, is_vehicle
from robotaxi.perception.lidar.heading import told
from robotaxi.perception.lidar.track_table import CLASSES, TRACK_DTYPE, doubled, predict
from robotaxi.perception.lidar.track_update import class_probabilities, hear, see, view_information
from robotaxi.perception.lidar.tracker_config import TrackerConfig, tracker_numbers
from robotaxi.types import OBJECT_DTYPE, FloatArray, ObjectClass, RecordArray

_STANDING_HITS = 8  # detections after which a track that has not moved is taken to stand
_SURELY = 0.9  # share of the votes
_UNKNOWN, _CAR, _TRUCK = int(ObjectClass.UNKNOWN), int(ObjectClass.CAR), int(ObjectClass.TRUCK)


class Tracker:
    """One call of `step` a sweep. Ids start at 1 and are never used twice."""

    def __init__(self, config: TrackerConfig, fusion: FusionConfig | None = None) -> None:
        self._config, self.fusion = config, Fusion(fusion or FusionConfig())
        self._numbers = tracker_numbers(config)
        self._tracks: RecordArray = np.zeros(0, TRACK_DTYPE)
        self._next_id = 1
        self._stamp_ns: int | None = None

    def step(
        self,
        detections: RecordArray,
        stamp_ns: int,
        sensor: FloatArray,
        evidence: CameraEvidence | None = None,
    ) -> RecordArray:
        """Take the detections (boxes.DETECTION_DTYPE, in map) of one sweep; ``sensor`` (2,) in map. ``evidence``: of a
        picture that was not given before.

        Returns the confirmed tracks as OBJECT_DTYPE at ``stamp_ns``. A stamp that goes back or jumps
        ahead by more than ``max_step`` drops all tracks.
        """
        dt = 0.0 if self._stamp_ns is None else (stamp_ns - self._stamp_ns) * 1e-9
        if dt < 0.0 or dt > self._config.max_step:
            self._tracks = self._tracks[:0]
            dt = 0.0
        self._stamp_ns = stamp_ns
        # one layout each, so that the compiled kernels are compiled once
        detections, sensor = np.ascontiguousarray(detections), np.array(sensor, np.float64)
        tracks, numbers = self._tracks, self._numbers
        predict(tracks, dt, numbers)
        box_corners = corners(detections)
        index, match, covered = pair(tracks, detections, box_corners, sensor, numbers)
        _miss(tracks, index, dt, numbers)
        see(tracks, index, detections, match, box_corners, sensor, stamp_ns, numbers)
        covered[match] = True
        self._tracks = self._alive(stamp_ns, self._with_born(detections, covered, box_corners, stamp_ns, sensor))
        if evidence is not None:
            self._hear(evidence, stamp_ns)
        return _published(self._tracks, numbers, np.zeros(len(self._tracks), OBJECT_DTYPE))

    def _hear(self, evidence: CameraEvidence, stamp_ns: int) -> None:
        """Let the camera say what the tracks are that this sweep showed."""
        seen = np.flatnonzero(self._tracks["seen_ns"] == stamp_ns)
        tracks = self._tracks[seen]
        ago = (evidence.stamp_ns - stamp_ns) * 1e-9  # the picture is older than the sweep
        x, y = (tracks["mean"][:, k] + ago * tracks["mean"][:, k + 2] * tracks["moved"] for k in range(2))
        sizes = (tracks[name] for name in ("ground", "yaw", "length", "width", "height"))
        vehicle = tracks["votes"][:, _CAR] + tracks["votes"][:, _TRUCK]
        sure = (tracks["hits"] > _STANDING_HITS) & (vehicle > _SURELY * tracks["votes"].sum(axis=1))
        index, said = self.fusion.hear(solid_corners(x, y, *sizes), sure, evidence)
        hear(self._tracks, seen[index], said, self.fusion.config.fuse_fade, self.fusion.config.fuse_most, self._numbers)

    def _with_born(
        self, detections: RecordArray, known: NDArray[np.bool_], box_corners: FloatArray, stamp_ns: int,
        sensor: FloatArray,
    ) -> RecordArray:  # fmt: skip
        """The tracks, and behind them a new one for each detection that is not ``known``."""
        new, count = np.flatnonzero(~known), len(self._tracks)
        if len(new) == 0:
            return self._tracks
        tracks = np.zeros(count + len(new), TRACK_DTYPE)
        tracks[:count] = self._tracks
        _give_birth(tracks[count:], detections, new, box_corners, sensor, self._next_id, stamp_ns, self._numbers)
        self._next_id += len(new)
        return tracks

    def _alive(self, stamp_ns: int, tracks: RecordArray) -> RecordArray:
        kept = _in_time(tracks, stamp_ns, self._numbers) & ~doubled(tracks)
        return tracks if kept.all() else tracks[kept]


@njit(cache=True)
def _miss(tracks, seen, dt, numbers):  # type: ignore[no-untyped-def]
    """Evidence against what was not ``seen`` (indices) in this sweep, ``dt`` s after the one before."""
    missed = np.ones(tracks.size, np.bool_)
    missed[seen] = False
    for i in range(tracks.size):
        track = tracks[i]
        if missed[i]:
            track.log_odds -= numbers[0].look_miss_log_odds if track.looked else numbers[0].miss_log_odds
            if track.moved:
                continue
            if track.hits > _STANDING_HITS:  # what has been seen standing for a while waits where it is
                track.mean[2], track.mean[3] = 0.0, 0.0
            elif track.hits >= numbers[0].confirm_hits and is_vehicle(track.label):
                # nothing on wheels goes sideways: a parked car of which a corner was seen would roll into the lane
                cos, sin = math.cos(track.yaw), math.sin(track.yaw)
                across = cos * track.mean[3] - sin * track.mean[2]
                track.mean[0] += dt * across * sin
                track.mean[1] -= dt * across * cos


@njit(cache=True)
def _give_birth(tracks, detections, new, box_corners, sensor, first_id, stamp_ns, numbers):  # type: ignore[no-untyped-def]
    """Fill ``tracks`` (N,), zero so far, with the detections number ``new`` (N,)."""
    config, found = numbers[0], np.empty((5, 2))
    for k in range(new.size):
        track, seen, at = tracks[k], detections[new[k]], box_corners[new[k]]
        track.id, track.label = first_id + k, seen.label
        track.votes[seen.label] = 1.0
        if seen.looked:
            track.votes[_UNKNOWN] += config.look_prior
        x, y, yaw, length, width, seen_length, seen_width = full_box(seen, at, sensor, config, found)
        track.mean[0], track.mean[1] = x, y
        track.yaw, track.length, track.width = yaw, length, width
        track.seen_length, track.seen_width = seen_length, seen_width
        measure(seen.x, seen.y, yaw, length, width, at, sensor, found)
        xx, xy, yy = noise(found, seen.x, seen.y, yaw, False, sensor, config)
        track.cov[0, 0], track.cov[0, 1], track.cov[1, 0], track.cov[1, 1] = xx, xy, xy, yy
        track.cov[2, 2] = track.cov[3, 3] = config.sigma_birth_speed**2
        u, v = told(seen.yaw, view_information(seen, config))
        track.facing[0], track.facing[1] = u, v
        track.anchor[0], track.anchor[1] = x, y
        track.height, track.ground = seen.height, seen.z - seen.base
        track.looked, track.hits = seen.looked, 1
        track.seen_ns, track.rest_ns = stamp_ns, stamp_ns


@njit(cache=True)
def _in_time(tracks, stamp_ns, numbers):  # type: ignore[no-untyped-def]
    """Tracks (N,) that were seen lately enough."""
    out = np.empty(tracks.size, np.bool_)
    for i in range(tracks.size):
        confirmed = tracks[i].hits >= numbers[0].confirm_hits
        longest = numbers[0].max_coast if confirmed else numbers[0].tentative_coast
        out[i] = (stamp_ns - tracks[i].seen_ns) * 1e-9 <= longest
    return out


@njit(cache=True)
def _published(tracks, numbers, out):  # type: ignore[no-untyped-def]
    """The tracks that are told to others, in the first rows of ``out`` (OBJECT_DTYPE, as many as tracks)."""
    m, classes = 0, np.empty(CLASSES)
    for i in range(tracks.size):
        track = tracks[i]
        existence = 1.0 / (1.0 + math.exp(-track.log_odds))
        if track.hits < numbers[0].confirm_hits or existence < numbers[0].least_existence:
            continue
        row = out[m]
        row.x, row.y, row.z = track.mean[0], track.mean[1], track.ground + 0.5 * track.height
        row.yaw, row.length, row.width, row.height = track.yaw, track.length, track.width, track.height
        row.id, row.label, row.static = track.id, track.label, not track.moved
        row.vx = track.mean[2] if track.moved else 0.0
        row.vy = track.mean[3] if track.moved else 0.0
        row.existence = existence
        class_probabilities(track, classes, numbers[0])
        row.p_unknown, row.p_car, row.p_truck = classes[0], classes[1], classes[2]
        row.p_bicycle, row.p_pedestrian = classes[3], classes[4]
        m += 1
    return out[:m]

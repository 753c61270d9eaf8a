"""Which detection belongs to which track: gates and costs of all pairs, and the noise of a measurement."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from robotaxi.perception.lidar.anchor import EXTENT, EYE, OFFSET, SLACK, measure, to_map
from robotaxi.perception.lidar.full_boxes import is_whole
from robotaxi.perception.lidar.heading import wrap_quarter
from robotaxi.types import FloatArray, RecordArray

NOT_ALLOWED = 1e6  # cost of a pair outside its gate
_FACE = 0.8  # m, a face this wide shows where it is
_MAX_SPACING = 4.0  # m
_MISFIT = 4.0  # cost of a height that differs by a factor e
_MERGED_FACTOR, _MERGED_MORE = 1.6, 1.0  # a detection larger than this times a known box, plus m, is several things
_ASKEW = math.radians(15.0)


def pair(
    tracks: RecordArray, detections: RecordArray, box_corners: FloatArray, sensor: FloatArray, numbers: RecordArray
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    """Pairs (tracks, detections), and which detections lie inside a confirmed track's box.

    ``tracks`` TRACK_DTYPE and ``detections`` DETECTION_DTYPE in map with corners (N, 4, 2); ``sensor`` (2,);
    ``numbers``: `tracker_numbers`.
    """
    if len(tracks) == 0 or len(detections) == 0:
        none = np.zeros(0, np.intp)
        return none, none, np.zeros(len(detections), bool)
    cost, covered = _costs(tracks, detections, box_corners, sensor, numbers)
    chosen, match = linear_sum_assignment(cost)
    good = cost[chosen, match] < NOT_ALLOWED
    return chosen[good], match[good], covered


@njit(cache=True)
def _costs(tracks, detections, box_corners, sensor, numbers):  # type: ignore[no-untyped-def]
    cost = np.full((tracks.size, detections.size), NOT_ALLOWED)
    covered = np.zeros(detections.size, np.bool_)
    found, limits = np.empty((5, 2)), numbers[0]
    gate, gate_distance = limits.gate, limits.gate_distance
    for i in range(tracks.size):
        track = tracks[i]
        x, y, yaw, length, width = track.mean[0], track.mean[1], track.yaw, track.length, track.width
        known = track.hits >= limits.confirm_hits
        cos, sin = math.cos(yaw), math.sin(yaw)
        for j in range(detections.size):
            seen = detections[j]
            # only pairs near each other are looked at in full
            dx, dy = seen.x - x, seen.y - y
            reach = 0.5 * (length + width + seen.length + seen.width) + gate_distance
            if dx * dx + dy * dy >= reach * reach:
                continue
            if known and abs(cos * dx + sin * dy) < 0.5 * length and abs(-sin * dx + cos * dy) < 0.5 * width:
                covered[j] = True
            measure(x, y, yaw, length, width, box_corners[j], sensor, found)
            whole = is_whole(seen)
            if whole:
                found[OFFSET, 0], found[OFFSET, 1] = cos * dx + sin * dy, -sin * dx + cos * dy
                found[SLACK, 0], found[SLACK, 1] = 0.0, 0.0
            if max(abs(found[OFFSET, 0]), abs(found[OFFSET, 1])) >= gate_distance:
                continue
            if known and not whole:
                # along the axes of the track; where the headings differ these say nothing, and a heading may be wrong
                askew = abs(wrap_quarter(seen.yaw - yaw)) > _ASKEW
                along, across = (seen.length, seen.width) if askew else (found[EXTENT, 0], found[EXTENT, 1])
                if along > _MERGED_FACTOR * length + _MERGED_MORE or across > _MERGED_FACTOR * width + _MERGED_MORE:
                    continue
            xx, xy, yy = noise(found, x, y, yaw, whole, sensor, limits)
            xx, xy, yy = xx + track.cov[0, 0], xy + track.cov[0, 1], yy + track.cov[1, 1]
            u, v = to_map(found[OFFSET, 0], found[OFFSET, 1], yaw)
            distance = misfit(xx, xy, yy, u, v)
            if distance < gate * gate:
                cost[i, j] = distance + _MISFIT * abs(math.log((track.height + 0.3) / (seen.height + 0.3)))
    return cost, covered


@njit(cache=True)
def misfit(xx, xy, yy, u, v):  # type: ignore[no-untyped-def]
    """Squared Mahalanobis length of (u, v) under the covariance (xx, xy, yy)."""
    return (u * u * yy - 2.0 * u * v * xy + v * v * xx) / (xx * yy - xy * xy)


@njit(cache=True)
def noise(found, x, y, yaw, whole, sensor, numbers):  # type: ignore[no-untyped-def]
    """Covariance (xx, xy, yy) in map of the centre ``found`` (see `anchor`) for a box at (x, y); ``whole``: by the
    second look."""
    a, b = _sigma_squares(found, x, y, sensor, numbers)
    more = numbers.sigma_whole**2 if whole else 0.0
    cos, sin = math.cos(yaw), math.sin(yaw)
    return cos * cos * a + sin * sin * b + more, cos * sin * (a - b), sin * sin * a + cos * cos * b + more


@njit(cache=True)
def _sigma_squares(found, x, y, sensor, numbers):  # type: ignore[no-untyped-def]
    """Variances along and across the heading."""
    reach = math.hypot(x - sensor[0], y - sensor[1])
    total = max(math.hypot(found[EYE, 0], found[EYE, 1]), 1e-6)
    first, second = 0.0, 0.0
    for axis in range(2):
        per_m = numbers.sigma_per_m + numbers.sigma_sight_per_m * abs(found[EYE, axis]) / total
        edge = math.hypot(numbers.sigma_position, per_m * reach)
        # where only the face along an axis is visible, and that nearly edge-on, few columns fall on it and
        # its end lies anywhere within their spacing
        spacing = reach * reach * numbers.beam_spacing / max(abs(found[EYE, 1 - axis]), 0.5)
        hidden = 1.0 - min(max(found[EXTENT, 1 - axis] / _FACE, 0.0), 1.0)
        sigma = edge + numbers.sigma_grazing * min(spacing, _MAX_SPACING) * hidden
        sigma += numbers.sigma_slack * found[SLACK, axis]
        if axis == 0:
            first = sigma * sigma
        else:
            second = sigma * sigma
    return first, second

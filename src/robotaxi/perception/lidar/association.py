"""Which detection belongs to which track: gates and costs of all pairs, and the noise of a measurement."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from robotaxi.perception.lidar.anchor import BoxMeasurement, measure_one
from robotaxi.perception.lidar.full_boxes import is_whole
from robotaxi.types import FloatArray, RecordArray

NOT_ALLOWED = 1e6  # cost of a pair outside its gate
_FACE = 0.8  # m, a face this wide shows where it is
_MAX_SPACING = 4.0  # m
_MISFIT = 4.0  # cost of a height that differs by a factor e
_MERGED_FACTOR, _MERGED_MORE = 1.6, 1.0  # a detection larger than this times a known box, plus m, is several things
_ASKEW = math.radians(15.0)


def pair(
    tracks: RecordArray, detections: RecordArray, box_corners: FloatArray, sensor: FloatArray, noise: FloatArray,
    gate: float, gate_distance: float, confirm_hits: int,
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:  # fmt: skip
    """Pairs (tracks, detections), and which detections lie inside a confirmed track's box.

    ``tracks`` TRACK_DTYPE and ``detections`` DETECTION_DTYPE in map with corners (N, 4, 2); ``sensor`` (2,);
    ``noise``: `noise_parameters`.
    """
    if len(tracks) == 0 or len(detections) == 0:
        none = np.zeros(0, np.intp)
        return none, none, np.zeros(len(detections), bool)
    shape = np.stack([tracks[name] for name in ("yaw", "length", "width", "height")], axis=-1)
    seen = np.stack([detections[name] for name in ("x", "y", "length", "width", "height", "yaw")], axis=-1)
    mean, cov = np.array(tracks["mean"], order="C"), np.array(tracks["cov"], order="C")
    cost, covered = _costs(
        is_whole(detections), mean, cov, shape, tracks["hits"] >= confirm_hits, seen, box_corners,
        np.asarray(sensor, np.float64), noise, gate, gate_distance,
    )  # fmt: skip
    chosen, match = linear_sum_assignment(cost)
    good = cost[chosen, match] < NOT_ALLOWED
    return chosen[good], match[good], covered


def measurement_noise(
    found: BoxMeasurement, center: FloatArray, yaw: FloatArray, sensor: FloatArray, noise: FloatArray
) -> FloatArray:
    """Covariances (N, 2, 2) in map of measured centres."""
    slack, extent, eye, at, heading, place, parts = (
        np.array(v, np.float64, order="C") for v in (found.slack, found.extent, found.eye, center, yaw, sensor, noise)
    )
    return _noises(slack, extent, eye, at, heading, place, parts)


def misfit(spread: FloatArray, offset: FloatArray) -> FloatArray:
    """Squared Mahalanobis length (N,) of ``offset`` (N, 2) under the covariances ``spread`` (N, 2, 2)."""
    a, b, c = spread[:, 0, 0], spread[:, 0, 1], spread[:, 1, 1]
    u, v = offset[:, 0], offset[:, 1]
    squared: FloatArray = (u * u * c - 2.0 * u * v * b + v * v * a) / (a * c - b * b)
    return squared


@njit(cache=True)
def _costs(whole, mean, cov, shape, known, seen, box_corners, sensor, noise, gate, gate_distance):  # type: ignore[no-untyped-def]
    tracks, detections = mean.shape[0], seen.shape[0]
    cost = np.full((tracks, detections), NOT_ALLOWED)
    covered = np.zeros(detections, np.bool_)
    found = np.empty((5, 2))
    for i in range(tracks):
        x, y, yaw, length, width, height = mean[i, 0], mean[i, 1], shape[i, 0], shape[i, 1], shape[i, 2], shape[i, 3]
        cos, sin = math.cos(yaw), math.sin(yaw)
        for j in range(detections):
            # only pairs near each other are looked at in full
            dx, dy = seen[j, 0] - x, seen[j, 1] - y
            reach = 0.5 * (length + width + seen[j, 2] + seen[j, 3]) + gate_distance
            if dx * dx + dy * dy >= reach * reach:
                continue
            if known[i] and abs(cos * dx + sin * dy) < 0.5 * length and abs(-sin * dx + cos * dy) < 0.5 * width:
                covered[j] = True
            measure_one(x, y, yaw, length, width, box_corners[j], sensor, found)
            if whole[j]:
                found[0, 0], found[0, 1] = cos * dx + sin * dy, -sin * dx + cos * dy
                found[1, 0], found[1, 1] = 0.0, 0.0
            if max(abs(found[0, 0]), abs(found[0, 1])) >= gate_distance:
                continue
            if known[i] and not whole[j]:
                # along the axes of the track; where the headings differ these say nothing, and a heading may be wrong
                askew = abs((seen[j, 5] - yaw + math.pi / 4) % (math.pi / 2) - math.pi / 4) > _ASKEW
                along, across = (seen[j, 2], seen[j, 3]) if askew else (found[2, 0], found[2, 1])
                if along > _MERGED_FACTOR * length + _MERGED_MORE or across > _MERGED_FACTOR * width + _MERGED_MORE:
                    continue
            a, b = _sigma_squares(found[1], found[2], found[4], x, y, sensor, noise)
            if whole[j]:
                a, b = a + noise[6] ** 2, b + noise[6] ** 2
            xx = cos * cos * a + sin * sin * b + cov[i, 0, 0]
            yy = sin * sin * a + cos * cos * b + cov[i, 1, 1]
            xy = cos * sin * (a - b) + cov[i, 0, 1]
            u, v = cos * found[0, 0] - sin * found[0, 1], sin * found[0, 0] + cos * found[0, 1]
            distance = (u * u * yy - 2.0 * u * v * xy + v * v * xx) / (xx * yy - xy * xy)
            if distance < gate * gate:
                cost[i, j] = distance + _MISFIT * abs(math.log((height + 0.3) / (seen[j, 4] + 0.3)))
    return cost, covered


@njit(cache=True)
def _noises(slack, extent, eye, center, yaw, sensor, noise):  # type: ignore[no-untyped-def]
    out = np.empty((yaw.size, 2, 2))
    for i in range(yaw.size):
        a, b = _sigma_squares(slack[i], extent[i], eye[i], center[i, 0], center[i, 1], sensor, noise)
        cos, sin = math.cos(yaw[i]), math.sin(yaw[i])
        out[i, 0, 0], out[i, 1, 1] = cos * cos * a + sin * sin * b, sin * sin * a + cos * cos * b
        out[i, 0, 1] = out[i, 1, 0] = cos * sin * (a - b)
    return out


@njit(cache=True)
def _sigma_squares(slack, extent, eye, x, y, sensor, noise):  # type: ignore[no-untyped-def]
    """Variances along and across the heading. ``noise``: position, per metre, along the sight per metre, beam
    spacing (rad), share when grazing, share of the slack; last, that of a whole box's centre."""
    reach = math.hypot(x - sensor[0], y - sensor[1])
    total = max(math.hypot(eye[0], eye[1]), 1e-6)
    first, second = 0.0, 0.0
    for axis in range(2):
        edge = math.hypot(noise[0], (noise[1] + noise[2] * abs(eye[axis]) / total) * reach)
        # where only the face along an axis is visible, and that nearly edge-on, few columns fall on it and
        # its end lies anywhere within their spacing
        spacing = reach * reach * noise[3] / max(abs(eye[1 - axis]), 0.5)
        hidden = 1.0 - min(max(extent[1 - axis] / _FACE, 0.0), 1.0)
        sigma = edge + noise[4] * min(spacing, _MAX_SPACING) * hidden + noise[5] * slack[axis]
        if axis == 0:
            first = sigma * sigma
        else:
            second = sigma * sigma
    return first, second

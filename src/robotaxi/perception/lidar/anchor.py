"""Where the centre of a tracked box is, by the edges that the lidar can see.

The visible part of a car grows and shrinks as it is passed, so the middle of the visible part moves
even when the car is parked. The edge nearest to the sensor stays where it is: along each axis of
the box the centre is measured from that edge. Where the sensor is alongside, neither end is near,
and the centre is only bounded by what is visible.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robotaxi.types import FloatArray, RecordArray


@dataclass(frozen=True)
class BoxMeasurement:
    """Of a detection against a track, in the axes of the track's box. All arrays broadcast alike.

    ``offset`` (..., 2): measured minus predicted centre, m. ``slack`` (..., 2): half the span in
    which the centre cannot be told. ``extent`` (..., 2): visible extent. ``away`` (..., 2): +1 or -1,
    the direction from the sensor into the box, 0 where the sensor is alongside. ``eye`` (..., 2): the
    sensor as seen from the centre.
    """

    offset: FloatArray
    slack: FloatArray
    extent: FloatArray
    away: FloatArray
    eye: FloatArray


def corners(boxes: RecordArray) -> FloatArray:
    """Corners (N, 4, 2) of boxes with fields x, y, yaw, length, width."""
    along = np.stack([np.cos(boxes["yaw"]), np.sin(boxes["yaw"])], axis=-1)
    across = np.stack([-along[:, 1], along[:, 0]], axis=-1)
    half = 0.5 * np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]])
    center = np.stack([boxes["x"], boxes["y"]], axis=-1)
    a = half[None, :, :1] * (along * boxes["length"][:, None])[:, None, :]
    b = half[None, :, 1:] * (across * boxes["width"][:, None])[:, None, :]
    return center[:, None, :] + a + b


def measure(
    center: FloatArray, yaw: FloatArray, size: FloatArray, box_corners: FloatArray, sensor: FloatArray
) -> BoxMeasurement:
    """Compare detections with tracks.

    ``center`` (..., 2), ``yaw`` (...), ``size`` (..., 2) of the tracks; ``box_corners`` (..., 4, 2) of
    the detections; ``sensor`` (2,); all in map. Leading dimensions broadcast.
    """
    cos, sin = np.cos(yaw), np.sin(yaw)
    delta = box_corners - center[..., None, :]
    u = cos[..., None] * delta[..., 0] + sin[..., None] * delta[..., 1]
    v = -sin[..., None] * delta[..., 0] + cos[..., None] * delta[..., 1]
    low = np.stack([u.min(axis=-1), v.min(axis=-1)], axis=-1)
    high = np.stack([u.max(axis=-1), v.max(axis=-1)], axis=-1)
    to_sensor = sensor - center
    eye = np.stack([cos * to_sensor[..., 0] + sin * to_sensor[..., 1],
                    -sin * to_sensor[..., 0] + cos * to_sensor[..., 1]], axis=-1)  # fmt: skip
    half = 0.5 * size
    away = np.where(eye > half, -1.0, np.where(eye < -half, 1.0, 0.0))
    earliest, latest = high - half, low + half  # the box must cover what is visible
    middle = 0.5 * (earliest + latest)
    covered = np.where(earliest > latest, middle, np.clip(0.0, earliest, latest))
    offset = np.where(away < 0.0, earliest, np.where(away > 0.0, latest, covered))
    slack = np.where(away == 0.0, np.maximum(0.5 * (latest - earliest), 0.0), 0.0)
    extent = np.broadcast_to(high - low, offset.shape)
    away, eye = np.broadcast_to(away, offset.shape), np.broadcast_to(eye, offset.shape)
    return BoxMeasurement(offset, slack, extent, away, eye)


def to_map(vectors: FloatArray, yaw: FloatArray) -> FloatArray:
    """Rotate vectors (..., 2) from box axes to map."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.stack([cos * vectors[..., 0] - sin * vectors[..., 1], sin * vectors[..., 0] + cos * vectors[..., 1]], -1)


def noise_in_map(sigma: FloatArray, yaw: FloatArray) -> FloatArray:
    """Covariances (..., 2, 2) in map of noise with ``sigma`` (..., 2) along the box axes."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    a, b = np.square(sigma[..., 0]), np.square(sigma[..., 1])
    xx, yy, xy = cos**2 * a + sin**2 * b, sin**2 * a + cos**2 * b, cos * sin * (a - b)
    return np.stack([np.stack([xx, xy], -1), np.stack([xy, yy], -1)], -2)

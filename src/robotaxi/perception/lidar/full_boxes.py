"""From the visible part of an object to its whole box: the hidden side lies behind the edges that are seen."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numba import njit

from robotaxi.params import param
from robotaxi.perception.lidar.anchor import OFFSET, corners, measure, to_map
from robotaxi.types import FloatArray, ObjectClass, RecordArray

_END_ON = 1.2  # m, a visible side this much shorter than a car is its front or rear
_LEAST = 0.3  # m
_UNKNOWN, _CAR, _TRUCK = int(ObjectClass.UNKNOWN), int(ObjectClass.CAR), int(ObjectClass.TRUCK)
ACROSS = 0.6  # cosine: a side seen at this angle or more squarely faces the sensor


@dataclass(frozen=True)
class FullSizeConfig:
    """Sizes of vehicles whose other side is hidden."""

    full_car_length: float = param(3.4, lo=2.0, hi=6.0, unit="m", doc="a side this long is the whole car")
    usual_car_length: float = param(4.3, lo=2.5, hi=6.0, unit="m", doc="length where the side is not in view")
    full_car_width: float = param(1.5, lo=1.0, hi=2.2, unit="m", doc="a front this wide is the whole car")
    usual_car_width: float = param(1.85, lo=1.2, hi=2.5, unit="m", doc="width where front and rear are hidden")
    wide_car: float = param(2.2, lo=1.8, hi=4.0, unit="m", doc="a side longer than this is no car's front or rear")
    max_width_seen: float = param(2.6, lo=1.8, hi=4.0, unit="m", doc="a vehicle wider than this was taken crosswise")


def packed(config: FullSizeConfig, part: type[FullSizeConfig] = FullSizeConfig, **derived: float) -> RecordArray:
    """The parameters that ``part`` declares, and ``derived`` ones, as a record (1,): what compiled kernels can read."""
    values = {item.name: getattr(config, item.name) for item in fields(part)} | derived
    return np.array([tuple(values.values())], [(name, np.float64) for name in values])


@njit(cache=True)
def is_vehicle(label):  # type: ignore[no-untyped-def]
    return label in (_CAR, _TRUCK)


@njit(cache=True)
def is_whole(detection):  # type: ignore[no-untyped-def]
    """Whether the box is the whole object's already."""
    return detection.looked and detection.label != _UNKNOWN


@njit(cache=True)
def full_size(seen_length, seen_width, label, numbers):  # type: ignore[no-untyped-def]
    """Length and width of the whole from what is seen of them; ``numbers``: see `packed`."""
    length, width = seen_length, seen_width
    if is_vehicle(label) and seen_length < numbers.full_car_length:
        length = numbers.usual_car_length
    if is_vehicle(label) and seen_width < numbers.full_car_width:
        width = numbers.usual_car_width
    if label == _CAR:
        width = min(width, numbers.max_width_seen)
    return max(length, _LEAST), max(width, _LEAST)


@njit(cache=True)
def full_box(detection, box_corners, sensor, numbers, found):  # type: ignore[no-untyped-def]
    """x, y, yaw, length and width of the whole box, and what of length and width is seen.

    ``found`` (5, 2) is scratch space.
    """
    whole = is_whole(detection)
    yaw, seen_length, seen_width = detection.yaw, detection.length, detection.width
    # a car of which only front or rear is visible: the long visible side is its width
    sight = math.atan2(detection.y - sensor[1], detection.x - sensor[0])
    faces_us = abs(math.cos(sight - detection.yaw)) < ACROSS
    if detection.label == _CAR and detection.length < numbers.full_car_length - _END_ON and faces_us and not whole:
        yaw, seen_length, seen_width = yaw + math.pi / 2, seen_width, seen_length
    if whole:
        return detection.x, detection.y, yaw, detection.length, detection.width, seen_length, seen_width
    length, width = full_size(seen_length, seen_width, detection.label, numbers)
    measure(detection.x, detection.y, yaw, length, width, box_corners, sensor, found)
    dx, dy = to_map(found[OFFSET, 0], found[OFFSET, 1], yaw)
    return detection.x + dx, detection.y + dy, yaw, length, width, seen_length, seen_width


@dataclass(frozen=True)
class FullBoxes:
    """Whole boxes of detections, same frame: ``center`` (N, 2), ``yaw``, ``length``, ``width`` (N,)."""

    center: FloatArray
    yaw: FloatArray
    length: FloatArray
    width: FloatArray


def full_boxes(detections: RecordArray, sensor: FloatArray, config: FullSizeConfig) -> FullBoxes:
    """Whole boxes of ``detections`` (boxes.DETECTION_DTYPE); ``sensor`` (2,) in their frame."""
    detections = np.ascontiguousarray(detections)
    rows = _full_boxes(detections, corners(detections), np.asarray(sensor, np.float64), packed(config))
    return FullBoxes(rows[:, :2], rows[:, 2], rows[:, 3], rows[:, 4])


@njit(cache=True)
def _full_boxes(detections, box_corners, sensor, numbers):  # type: ignore[no-untyped-def]
    out, found = np.empty((detections.size, 5)), np.empty((5, 2))
    for i in range(detections.size):
        x, y, yaw, length, width, _, _ = full_box(detections[i], box_corners[i], sensor, numbers[0], found)
        out[i, 0], out[i, 1], out[i, 2], out[i, 3], out[i, 4] = x, y, yaw, length, width
    return out

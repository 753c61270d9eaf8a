"""From the visible part of an object to its whole box: the hidden side lies behind the edges that are seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotaxi.params import param
from robotaxi.perception.lidar.anchor import corners, measure, to_map
from robotaxi.types import FloatArray, ObjectClass, RecordArray

_END_ON = 1.2  # m, a visible side this much shorter than a car is its front or rear
_LEAST = 0.3  # m
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


def is_vehicle(label: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (label == ObjectClass.CAR) | (label == ObjectClass.TRUCK)


def full_size(
    seen_length: FloatArray, seen_width: FloatArray, label: NDArray[np.uint8], config: FullSizeConfig
) -> tuple[FloatArray, FloatArray]:
    """Length and width of the whole from what is seen of them, all (N,)."""
    vehicle = is_vehicle(label)
    length = np.where(vehicle & (seen_length < config.full_car_length), config.usual_car_length, seen_length)
    width = np.where(vehicle & (seen_width < config.full_car_width), config.usual_car_width, seen_width)
    width = np.where(label == ObjectClass.CAR, np.minimum(width, config.max_width_seen), width)
    return np.maximum(length, _LEAST), np.maximum(width, _LEAST)


def is_whole(detections: RecordArray) -> NDArray[np.bool_]:
    """Detections whose box is the whole object's already."""
    result: NDArray[np.bool_] = detections["looked"] & (detections["label"] != ObjectClass.UNKNOWN)
    return result


@dataclass(frozen=True)
class FullBoxes:
    """Whole boxes of detections, same frame: ``center`` (N, 2), ``yaw``, ``length``, ``width`` (N,), and what of
    length and width is seen."""

    center: FloatArray
    yaw: FloatArray
    length: FloatArray
    width: FloatArray
    seen_length: FloatArray
    seen_width: FloatArray


def full_boxes(detections: RecordArray, sensor: FloatArray, config: FullSizeConfig) -> FullBoxes:
    """Whole boxes of ``detections`` (boxes.DETECTION_DTYPE); ``sensor`` (2,) in their frame."""
    label, whole = detections["label"], is_whole(detections)
    # a car of which only front or rear is visible: the long visible side is its width
    sight = np.arctan2(detections["y"] - sensor[1], detections["x"] - sensor[0])
    faces_us = np.abs(np.cos(sight - detections["yaw"])) < ACROSS
    end_on = (label == ObjectClass.CAR) & (detections["length"] < config.full_car_length - _END_ON) & faces_us & ~whole
    yaw = np.where(end_on, detections["yaw"] + np.pi / 2, detections["yaw"])
    seen_length = np.where(end_on, detections["width"], detections["length"])
    seen_width = np.where(end_on, detections["length"], detections["width"])
    length, width = full_size(seen_length, seen_width, label, config)
    length, width = np.where(whole, detections["length"], length), np.where(whole, detections["width"], width)
    center = np.column_stack([detections["x"], detections["y"]])
    found = measure(center, yaw, np.column_stack([length, width]), corners(detections), sensor)
    shift = np.where(whole[:, None], 0.0, to_map(found.offset, yaw))
    return FullBoxes(center + shift, yaw, length, width, seen_length, seen_width)

"""The second look: a small network sees each cluster in its surroundings and says what it is and where its box lies.

Clusters find whatever stands on the road; what they cannot tell is a parked car from a piece of hedge. The network
is trained on simulated sweeps alone (`robotaxi train lidar`) and sees heights above the ground, not the sensor's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotaxi.model_store import entry, find
from robotaxi.params import param
from robotaxi.perception.inference import OnnxModel
from robotaxi.perception.lidar.boxes import BoxConfig, boxes_by_shape, is_object
from robotaxi.perception.lidar.patches import CHANNELS, FACTS, SIDE, facts, patches
from robotaxi.perception.lidar.preprocess import Points, PreprocessConfig
from robotaxi.types import FloatArray, ObjectClass, RecordArray

Network = Callable[[NDArray[np.float32], NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Patches (N, C, S, S) and facts (N, F) to class logits (N, 5) and box values (N, 6)."""


MODEL = "lidar_second_look"


@dataclass(frozen=True)
class SecondLookConfig:
    """Which clusters are looked at twice, and when the network is believed."""

    look_range: float = param(55.0, lo=5.0, hi=100.0, unit="m", doc="clusters farther away are not looked at twice")
    look_length: float = param(20.0, lo=5.0, hi=60.0, unit="m", doc="longer clusters are not looked at twice")
    look_min_height: float = param(0.45, lo=0.1, hi=1.5, unit="m", doc="nor lower ones")
    look_score: float = param(0.5, lo=0.05, hi=0.99, doc="a class is believed from this probability on")


@dataclass(frozen=True)
class LookConfig(SecondLookConfig, BoxConfig, PreprocessConfig):
    """What `detections_by_look` needs of the configuration."""


def propose(boxes: RecordArray, sensor: FloatArray, config: SecondLookConfig) -> NDArray[np.bool_]:
    """Mask of the boxes (DETECTION_DTYPE) worth a second look."""
    near = np.hypot(boxes["x"] - sensor[0], boxes["y"] - sensor[1]) < config.look_range
    return near & (boxes["length"] < config.look_length) & (boxes["height"] > config.look_min_height)


def detections_by_look(
    xyz: Points,
    height: NDArray[np.float32],
    boxes: RecordArray,
    sensor: FloatArray,
    network: Network,
    config: LookConfig,
) -> RecordArray:
    """Road users with the network's class and box, one for each however many clusters it fell into, and what
    else stands there as UNKNOWN with the box of its shape. ``boxes``: of `measure_boxes`."""
    chosen = propose(boxes, sensor, config)
    probability, refined = look_again(xyz, height, boxes[chosen], sensor, config.max_range, network)
    label = probability.argmax(axis=1)
    score = probability[np.arange(len(label)), label]
    sure = (label != ObjectClass.UNKNOWN) & (score >= config.look_score)
    refined["label"], refined["score"], refined["looked"] = label, score, True
    users = _one_each(refined[sure])
    sure_boxes = np.zeros(len(boxes), bool)
    sure_boxes[np.flatnonzero(chosen)[sure]] = True
    # what was looked at and is no road user keeps its place and loses its class
    doubt = np.zeros(len(boxes))
    doubt[chosen] = probability[:, ObjectClass.UNKNOWN]
    standing = is_object(boxes, config) & ~sure_boxes
    rest = boxes_by_shape(boxes[standing], config)
    looked = chosen[standing]
    rest["label"][looked], rest["looked"] = ObjectClass.UNKNOWN, looked
    rest["score"][looked] = doubt[standing][looked]
    return np.concatenate([users, rest[~_within(rest, users)]])


def _one_each(boxes: RecordArray) -> RecordArray:
    """Best first; pieces of a road user lose against the piece that knows it best."""
    boxes = boxes[np.argsort(-boxes["score"], kind="stable")]
    keep: list[int] = []
    for k in range(len(boxes)):
        if not keep or not _within(boxes[k : k + 1], boxes[keep])[0]:
            keep.append(k)
    return boxes[keep]


def _within(boxes: RecordArray, others: RecordArray) -> NDArray[np.bool_]:
    """Boxes (N,) whose centre lies in one of the ``others``, or theirs in it and nearer than half a width."""
    if len(boxes) == 0 or len(others) == 0:
        return np.zeros(len(boxes), bool)
    dx, dy = boxes["x"][:, None] - others["x"], boxes["y"][:, None] - others["y"]
    cos, sin = np.cos(others["yaw"]), np.sin(others["yaw"])
    inside = (np.abs(cos * dx + sin * dy) < 0.5 * others["length"]) & (
        np.abs(-sin * dx + cos * dy) < 0.5 * others["width"]
    )
    result: NDArray[np.bool_] = inside.any(axis=1)
    return result


def load_second_look() -> Network:
    """The shipped network. Raises ModelError or InferenceError when it is missing, damaged or of another shape."""
    item = entry(MODEL)
    model = OnnxModel(find(item))
    model.expect({"patch": (None, CHANNELS, SIDE, SIDE), "fact": (None, FACTS)})

    def network(
        patch: NDArray[np.float32], fact: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        label, box = model(patch=patch, fact=fact)
        return label, box

    return network


def look_again(
    xyz: Points,
    height: NDArray[np.float32],
    boxes: RecordArray,
    sensor: FloatArray,
    max_range: float,
    network: Network,
) -> tuple[NDArray[np.float64], RecordArray]:
    """Class probabilities (N, 5) of ``boxes``, and copies of them with the network's box.

    ``xyz`` (M, 3) all points with their ``height`` above the ground, same frame as ``boxes``; ``sensor`` (2,).
    """
    if len(boxes) == 0:
        return np.zeros((0, len(ObjectClass))), boxes.copy()
    logits, values = network(patches(xyz, height, boxes, sensor, max_range), facts(boxes, sensor))
    logits = logits.astype(np.float64)
    probability = np.exp(logits - logits.max(axis=1, keepdims=True))
    probability /= probability.sum(axis=1, keepdims=True)
    out = boxes.copy()
    sight = np.arctan2(boxes["y"] - sensor[1], boxes["x"] - sensor[0])
    along, across = values[:, 0].astype(np.float64), values[:, 1].astype(np.float64)
    out["x"] += np.cos(sight) * along - np.sin(sight) * across
    out["y"] += np.sin(sight) * along + np.cos(sight) * across
    out["length"], out["width"] = np.exp(np.clip(values[:, 2:4], -2.0, 3.0)).T
    out["yaw"] = (sight + 0.5 * np.arctan2(values[:, 5], values[:, 4])) % np.pi
    return probability, out

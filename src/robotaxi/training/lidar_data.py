"""Examples for the second look: clusters of simulated sweeps, and which road user each belongs to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotaxi.evaluation.perception_case import TRUTH_DTYPE
from robotaxi.perception.lidar.boxes import measure_boxes
from robotaxi.perception.lidar.cluster import find_clusters, rasterise
from robotaxi.perception.lidar.ground import clearance, heights_above_ground
from robotaxi.perception.lidar.patches import facts, patches
from robotaxi.perception.lidar.pipeline import LidarPerceptionConfig
from robotaxi.perception.lidar.preprocess import to_base_link
from robotaxi.perception.lidar.second_look import propose
from robotaxi.training.scenes import random_lidar, shoot
from robotaxi.types import FloatArray, LidarSweep, RecordArray, VehicleParams

TARGETS = 6  # offset along and across the line of sight (m), log length, log width, cos and sin of twice the yaw
_MOSTLY, _HARDLY = 0.5, 0.12  # share of a cluster's returns in a road user's box
_BACKGROUND = 0.6  # share of the clusters of no road user that are trained on
_GROWN = 0.15  # m, by which boxes are larger when their returns are counted


@dataclass(frozen=True)
class Examples:
    """``patch`` uint8 (N, C, S, S) in 1/255, ``fact`` (N, F), ``label`` (N,) ObjectClass, ``target`` (N, TARGETS)."""

    patch: NDArray[np.uint8]
    fact: NDArray[np.float32]
    label: NDArray[np.uint8]
    target: NDArray[np.float32]


def examples_of(
    sweep: LidarSweep, truth: RecordArray, config: LidarPerceptionConfig, vehicle: VehicleParams
) -> Examples:
    """What the pipeline would look at twice in this sweep. Clusters that are partly a road user are left out."""
    points, time = to_base_link(sweep, None, vehicle, config)
    height = heights_above_ground(points, config, config.max_range)
    above = height > clearance(np.hypot(points[:, 0], points[:, 1]), config)
    above &= height < config.view_height
    standing = points[above]
    clusters = find_clusters(standing, rasterise(standing, config.cell, config.max_range), config)
    boxes = measure_boxes(standing, height[above], time[above], clusters)
    sensor = np.asarray(sweep.T_base_lidar)[:2, 3]
    chosen = np.flatnonzero(propose(boxes, sensor, config))
    owner, share = _owners(standing, clusters.order, clusters.start, truth)
    keep = chosen[(share[chosen] > _MOSTLY) | (share[chosen] < _HARDLY)]
    boxes, owner, share = boxes[keep], owner[keep], share[keep]
    label = np.where(share > _MOSTLY, truth["label"][owner] if len(truth) else 0, 0).astype(np.uint8)
    patch = patches(points, height, boxes, sensor, config.max_range)
    target = _targets(boxes, truth[owner] if len(truth) else np.zeros(len(boxes), TRUTH_DTYPE), sensor)
    return Examples((patch * 255).astype(np.uint8), facts(boxes, sensor), label, target)


def simulate(
    seed: int,
    scenes: int,
    config: LidarPerceptionConfig,
    vehicle: VehicleParams,
    progress: Callable[[int], None] = lambda scene: None,
) -> Examples:
    """Examples of scenes made from ``[seed, 0], [seed, 1], ...``."""
    parts = []
    for k in range(scenes):
        rng = np.random.default_rng([seed, k])
        parts.append(examples_of(*shoot(rng, random_lidar(rng)), config, vehicle))
        progress(k)
    return join(parts)


def split(examples: Examples, seed: int = 5) -> tuple[Examples, Examples]:
    """Nine tenths to train on, with six of ten of what is no road user, and the last scenes' tenth to measure on."""
    count = len(examples.label) * 9 // 10
    rng = np.random.default_rng(seed)
    keep = np.flatnonzero(rng.random(count) < np.where(examples.label[:count] == 0, _BACKGROUND, 1.0))
    return _take(examples, keep), _take(examples, np.arange(count, len(examples.label)))


def _take(examples: Examples, index: NDArray[np.intp]) -> Examples:
    return Examples(examples.patch[index], examples.fact[index], examples.label[index], examples.target[index])


def join(parts: list[Examples]) -> Examples:
    return Examples(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("patch", "fact", "label", "target")))


def _owners(
    xyz: NDArray[np.float32], order: NDArray[np.int64], start: NDArray[np.int64], truth: RecordArray
) -> tuple[NDArray[np.intp], FloatArray]:
    """The road user that each cluster shares most returns with, and the share."""
    inside = np.full(len(xyz), -1)
    for k, box in enumerate(truth):
        dx, dy = xyz[:, 0] - box["x"], xyz[:, 1] - box["y"]
        near = np.flatnonzero(dx * dx + dy * dy < (0.6 * (box["length"] + box["width"])) ** 2)
        cos, sin = np.cos(box["yaw"]), np.sin(box["yaw"])
        along, across = cos * dx[near] + sin * dy[near], -sin * dx[near] + cos * dy[near]
        mine = (np.abs(along) < 0.5 * box["length"] + _GROWN) & (np.abs(across) < 0.5 * box["width"] + _GROWN)
        inside[near[mine]] = k
    count = len(start) - 1
    owner, share = np.zeros(count, np.intp), np.zeros(count)
    for c in range(count):
        members = inside[order[start[c] : start[c + 1]]]
        votes = np.bincount(members[members >= 0], minlength=1)
        owner[c], share[c] = int(votes.argmax()), votes.max() / len(members)
    return owner, share


def _targets(boxes: RecordArray, truth: RecordArray, sensor: FloatArray) -> NDArray[np.float32]:
    sight = np.arctan2(boxes["y"] - sensor[1], boxes["x"] - sensor[0])
    dx, dy = truth["x"] - boxes["x"], truth["y"] - boxes["y"]
    turn = 2.0 * (truth["yaw"] - sight)
    size = np.maximum(np.stack([truth["length"], truth["width"]]), 0.1)
    columns = (np.cos(sight) * dx + np.sin(sight) * dy, -np.sin(sight) * dx + np.cos(sight) * dy,
               np.log(size[0]), np.log(size[1]), np.cos(turn), np.sin(turn))  # fmt: skip
    return np.stack(columns, axis=-1).astype(np.float32)

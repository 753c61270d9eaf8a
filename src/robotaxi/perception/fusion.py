"""Fusion of camera and lidar: the class from the camera, the geometry from the lidar.

Tracks are projected into the picture, the nearer before the farther. Each takes the camera's box that covers what can
be seen of it, nearest first, so that what stands behind does not get the box of what hides it. What the camera says
changes the track's class probabilities by Bayes' rule; place, size and motion stay the lidar's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotaxi.params import param
from robotaxi.perception.camera_pose import camera_pose
from robotaxi.types import (
    CameraModel,
    CameraObjects,
    EgoState,
    FloatArray,
    ObjectClass,
    RecordArray,
    StreetClass,
)

_CELL = 8  # px, in which it is counted who hides whom
_NEAREST = 0.5  # m before the lens
_SLACK = 2.0  # px by which boxes are grown before they are compared: far people are five wide
_INSIDE = 0.6  # share of a projected box that must lie in the picture
_ANY = 0.25  # probability of each word from a detector that does not know
_SAYS = np.array(  # counted on rendered pictures that the network was not trained on
    # car    truck  cyclist person        of what is
    [[0.020, 0.010, 0.010, 0.020],      # no road user
     [0.900, 0.030, 0.020, 0.010],      # a car
     [0.300, 0.600, 0.030, 0.005],      # a truck
     [0.040, 0.010, 0.650, 0.220],      # a cyclist
     [0.030, 0.005, 0.080, 0.750]]      # a pedestrian
)  # fmt: skip
_SILENT = np.array([0.94, 0.10, 0.10, 0.30, 0.30])  # probability that it says nothing of what it should see well
_VEHICLES = (StreetClass.CAR, StreetClass.TRUCK)
_ROAD_USERS = (*_VEHICLES, StreetClass.CYCLIST, StreetClass.PEDESTRIAN)
CLASSES = len(ObjectClass)
_WHOLE = 0.9  # share of a box from which on it is in full view
_TRUST, _TRUSTED = 0.9, 30.0  # agreement to begin with, and how many vehicles it is remembered over


@dataclass(frozen=True)
class FusionConfig:
    """How the camera's word counts."""

    fuse_range: float = param(60.0, lo=5.0, hi=200.0, unit="m", doc="objects farther away are not compared with it")
    fuse_latest: float = param(0.3, lo=0.0, hi=2.0, unit="s", doc="older pictures say nothing any more")
    fuse_overlap: float = param(0.35, lo=0.05, hi=0.9, doc="of a box and what is visible of a track (IoU), at least")
    fuse_visible: float = param(0.35, lo=0.05, hi=1.0, doc="share of a track that nothing nearer may hide")
    fuse_weight: float = param(0.8, lo=0.0, hi=1.0, doc="of one picture: the next shows much the same")
    fuse_silence: float = param(0.15, lo=0.0, hi=1.0, doc="weight of a picture that shows nothing where a track is")
    fuse_silence_px: float = param(24.0, lo=4.0, hi=400.0, unit="px", doc="tracks that look lower may be overlooked")
    fuse_agreement: float = param(
        0.5, lo=0.0, hi=1.0, doc="a camera that names fewer of the sure vehicles says nothing"
    )
    fuse_fade: float = param(0.92, lo=0.0, hi=1.0, doc="of what was said, from picture to picture")
    fuse_most: float = param(4.0, lo=0.5, hi=10.0, doc="the camera's word for or against a class, at most (log)")


@dataclass(frozen=True)
class CameraEvidence:
    """What one picture says: ``stamp_ns``, the camera's ``position`` (3,) in map, ``optical_from_map`` (3, 3)."""

    stamp_ns: int
    boxes: RecordArray
    camera: CameraModel
    position: FloatArray
    optical_from_map: FloatArray


def evidence_of(objects: CameraObjects, camera: CameraModel, state: EgoState, longest: float) -> CameraEvidence | None:
    """The picture's road users as seen from where the car was then; None where that is more than ``longest`` s from
    ``state``, or where the camera is blind."""
    blind = (objects.boxes["kind"] == StreetClass.BLIND).any()
    if blind or abs(objects.stamp_ns - state.stamp_ns) * 1e-9 > longest:
        return None
    position, optical_from_map = camera_pose(state, objects.stamp_ns, np.asarray(camera.T_base_optical), longest)
    boxes = objects.boxes[np.isin(objects.boxes["kind"], _ROAD_USERS)]
    finite = np.isfinite([boxes[name] for name in ("left", "top", "right", "bottom", "score")]).all(axis=0)
    return CameraEvidence(objects.stamp_ns, boxes[finite], camera, position, optical_from_map)


def solid_corners(
    x: FloatArray, y: FloatArray, ground: FloatArray, yaw: FloatArray, length: FloatArray, width: FloatArray,
    height: FloatArray,
) -> FloatArray:  # fmt: skip
    """Corners (N, 8, 3) of upright boxes, each array (N,), that stand on the ``ground``."""
    along = 0.5 * length[:, None] * np.array([1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0, -1.0])
    across = 0.5 * width[:, None] * np.array([1.0, -1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0])
    up = height[:, None] * np.array([0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    cos, sin = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
    return np.stack(
        [x[:, None] + cos * along - sin * across, y[:, None] + sin * along + cos * across, ground[:, None] + up],
        axis=-1,
    )


class Fusion:
    """Call `hear` once a picture, in order of time."""

    def __init__(self, config: FusionConfig) -> None:
        self.config = config
        self._agreed, self._asked = _TRUST * _TRUSTED, _TRUSTED

    @property
    def agreement(self) -> float:
        """Share of the vehicles which the lidar is sure of, in full view of the camera, that the camera names too."""
        return self._agreed / self._asked

    def hear(
        self, corners: FloatArray, sure_vehicle: NDArray[np.bool_], evidence: CameraEvidence
    ) -> tuple[NDArray[np.intp], FloatArray]:
        """Which boxes in map (``corners`` (N, 8, 3)) the picture says something of (K,), and log p(what it says |
        class) (K, CLASSES), the best class at 0. Nothing while the camera does not even name what is a
        ``sure_vehicle`` (N,): it was moved, or its network does not know such streets."""
        config = self.config
        index, rect, visible, share = project(corners, evidence, config.fuse_range)
        match = assign(rect, visible, share, evidence.boxes, config)
        said = match >= 0
        whole = (share > _WHOLE) & (rect[:, 3] - rect[:, 1] > config.fuse_silence_px)
        whole &= _well_inside(rect, evidence.camera)
        named = said.copy()
        named[said] = np.isin(evidence.boxes["kind"][match[said]], _VEHICLES)
        self._ask(named[whole & sure_vehicle[index]])
        if self.agreement < config.fuse_agreement:
            return index[:0], np.zeros((0, CLASSES))
        out = np.zeros((len(index), CLASSES))
        # a weak box is worth more where the lidar, too, sees something of its size
        score = np.sqrt(np.clip(evidence.boxes["score"][match[said]].astype(np.float64), 0.0, 1.0))[:, None]
        words = _SAYS[:, evidence.boxes["kind"][match[said]].astype(np.intp)].T
        out[said] = config.fuse_weight * np.log(score * words + (1.0 - score) * _ANY)
        silent = ~said & whole
        out[silent] = config.fuse_silence * np.log(_SILENT)
        known = said | silent
        if known.any():
            out -= out.max(axis=1, keepdims=True)
        return index[known], out[known]

    def _ask(self, named: NDArray[np.bool_]) -> None:
        faded = (1.0 - 1.0 / _TRUSTED) ** len(named)
        self._agreed, self._asked = faded * self._agreed + named.sum(), faded * self._asked + len(named)


def project(
    corners: FloatArray, evidence: CameraEvidence, reach: float
) -> tuple[NDArray[np.intp], FloatArray, FloatArray, FloatArray]:
    """Of boxes (N, 8, 3) in map those in the picture, nearest first: index (K,), rectangle (K, 4) left, top, right,
    bottom, the rectangle around what nothing nearer hides (K, 4), and that share (K,)."""
    camera = evidence.camera
    offset = (corners - evidence.position) @ evidence.optical_from_map.T
    depth = offset[..., 2].mean(axis=1)
    index = np.flatnonzero((offset[..., 2].min(axis=1) > _NEAREST) & (depth < reach))
    x, y, z = offset[index].transpose(2, 0, 1)
    u, v = camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy
    raw = np.stack([u.min(axis=1), v.min(axis=1), u.max(axis=1), v.max(axis=1)], axis=1)
    rect = np.clip(raw, 0.0, [camera.width, camera.height, camera.width, camera.height])
    inside = _area(rect) > _INSIDE * _area(raw)
    order = np.argsort(depth[index[inside]], kind="stable")
    index, rect = index[inside][order], rect[inside][order]
    visible, share = _unhidden(rect, camera)
    return index, rect, visible, share


def _unhidden(rect: FloatArray, camera: CameraModel) -> tuple[FloatArray, FloatArray]:
    """What of rectangles (K, 4), nearest first, the nearer ones leave: its rectangle and its share."""
    taken = np.zeros((camera.height // _CELL + 1, camera.width // _CELL + 1), bool)
    visible, share = rect.copy(), np.ones(len(rect))
    for k, (left, top, right, bottom) in enumerate(rect):
        a, b = int(left) // _CELL, int(np.ceil(right / _CELL))
        c, d = int(top) // _CELL, int(np.ceil(bottom / _CELL))
        part = taken[c : max(d, c + 1), a : max(b, a + 1)]
        if part.any():
            free = ~part
            share[k] = free.mean()
            rows, columns = np.flatnonzero(free.any(axis=1)), np.flatnonzero(free.any(axis=0))
            if len(rows):
                visible[k] = (
                    max(left, (a + columns[0]) * _CELL), max(top, (c + rows[0]) * _CELL),
                    min(right, (a + columns[-1] + 1) * _CELL), min(bottom, (c + rows[-1] + 1) * _CELL),
                )  # fmt: skip
        part[...] = True
    return visible, share


def assign(
    rect: FloatArray, visible: FloatArray, share: FloatArray, boxes: RecordArray, config: FusionConfig
) -> NDArray[np.intp]:
    """The camera's box of each rectangle (K,), nearest first, -1 for none."""
    match = np.full(len(rect), -1, np.intp)
    if not len(rect) or not len(boxes):
        return match
    sides = np.stack([boxes[name] for name in ("left", "top", "right", "bottom")], axis=1).astype(np.float64)
    overlap = np.maximum(_overlap(rect, sides), _overlap(visible, sides))
    for k in np.flatnonzero(share >= config.fuse_visible):
        best = int(overlap[k].argmax())
        if overlap[k, best] >= config.fuse_overlap:
            match[k] = best
            overlap[:, best] = 0.0
    return match


def _overlap(a: FloatArray, b: FloatArray) -> FloatArray:
    """Intersection over union of rectangles (K, 4) and (M, 4), all a little grown."""
    grown = np.array([-_SLACK, -_SLACK, _SLACK, _SLACK])
    a, b = a + grown, b + grown
    width = np.minimum(a[:, None, 2], b[:, 2]) - np.maximum(a[:, None, 0], b[:, 0])
    height = np.minimum(a[:, None, 3], b[:, 3]) - np.maximum(a[:, None, 1], b[:, 1])
    common = np.maximum(width, 0.0) * np.maximum(height, 0.0)
    result: FloatArray = common / (_area(a)[:, None] + _area(b) - common)
    return result


def _area(rect: FloatArray) -> FloatArray:
    result: FloatArray = (rect[:, 2] - rect[:, 0]) * (rect[:, 3] - rect[:, 1])
    return result


def _well_inside(rect: FloatArray, camera: CameraModel) -> NDArray[np.bool_]:
    low = (rect[:, 0] > 1.0) & (rect[:, 1] > 1.0)
    result: NDArray[np.bool_] = low & (rect[:, 2] < camera.width - 1.0) & (rect[:, 3] < camera.height - 1.0)
    return result

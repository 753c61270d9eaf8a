"""2D detection on annotated images: recall, precision, AP by class, and the decoding held against the reference."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from robotaxi.evaluation.perception_bench import percentiles
from robotaxi.evaluation.perception_case import GROUPS
from robotaxi.evaluation.yolox_reference import reference_decode, reference_suppress
from robotaxi.perception.camera.detector import (
    BOX2D_DTYPE,
    COCO,
    CameraDetector,
    DetectorConfig,
    Network,
    decode,
    letterbox,
    overlap,
    suppress,
)
from robotaxi.perception.camera.street import StreetEyes
from robotaxi.types import ObjectClass, RecordArray, StreetClass

TRUTH2D_DTYPE = np.dtype(
    [("left", "<f4"), ("top", "<f4"), ("right", "<f4"), ("bottom", "<f4"), ("label", "u1"), ("counted", "?")]
)
"""``counted`` False: may be found, need not be (too small, cut off, of no class we know, "DontCare")."""
LEAST_OVERLAP = 0.5
_PEOPLE = (int(ObjectClass.PEDESTRIAN), int(ObjectClass.BICYCLE))
STAGE_SIZE, _REPEATED = (640, 360), 10  # px of a ride's pictures; each image is timed so often
_STREET: dict[int, ObjectClass] = {StreetClass.CAR: ObjectClass.CAR, StreetClass.TRUCK: ObjectClass.TRUCK,
           StreetClass.CYCLIST: ObjectClass.BICYCLE, StreetClass.PEDESTRIAN: ObjectClass.PEDESTRIAN}  # fmt: skip
_SAME_PX, _SAME_SCORE = 0.05, 1e-4
_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class AnnotatedImage:
    path: Path
    truth: RecordArray


def run_camera(
    images: Sequence[AnnotatedImage],
    network: Network,
    side: int,
    config: DetectorConfig,
    progress: Callable[[], None] = lambda: None,
    eyes: StreetEyes | None = None,
) -> dict[str, Any]:
    """Ours and the reference on the same images. ``holds``: every box of the decoding is the reference's, and our
    recall is not lower. ``eyes``: what a ride looks with, on the same images; timed on them brought to 640x360."""
    detector = CameraDetector(config, network, side)
    ours, reference, whole, loading = [], [], [], []
    compared, different, worst = 0, 0, 0.0
    street: list[RecordArray] = []
    stage: list[tuple[float, float]] = []
    for image in images:
        progress()
        begun = time.perf_counter()
        pixels: Any = read_image(image.path)
        if pixels is None:
            size = image.path.stat().st_size
            raise ValueError(f"{image.path}: cannot be read as an image ({size} bytes); copy it again or remove it")
        loaded = time.perf_counter()
        ours.append(_road_users(detector.step(pixels)))
        whole.append(1e3 * (time.perf_counter() - loaded))
        loading.append(1e3 * (loaded - begun))
        if eyes is not None:
            street.append(_of_street(eyes.step(pixels).boxes))
            stage += _time_stage(eyes, np.asarray(cv2.resize(pixels, STAGE_SIZE), np.uint8))
        tensor, scale = letterbox(pixels, side, side)
        rows = network(tensor)[0]
        quick = suppress(decode(rows, side, side, scale, config.min_score), config.max_overlap)
        plain = reference_suppress(reference_decode(rows, side, scale, config.min_score), config.max_overlap)
        compared += max(len(quick), len(plain))
        wrong, error = _compare(quick, plain)
        different += wrong
        worst = max(worst, error)
        reference.append(_road_users(plain))
    truth = [image.truth for image in images]
    figures: dict[str, Any] = {
        "images": len(images),
        "min_score": config.min_score,
        "overlap": LEAST_OVERLAP,
        "ms": {"detect": percentiles(whole), "read_image": percentiles(loading)},
        "ours": _score(truth, ours),
        "reference": _score(truth, reference),
        "decoding": {"boxes": compared, "different": different, "largest_difference_px": round(worst, 5)},
    }
    if eyes is not None:
        wall, cpu = zip(*stage, strict=True)
        figures["street"] = _score(truth, street)
        figures["ms"] |= {"street_640x360": percentiles(wall), "street_640x360_cpu": percentiles(cpu)}
    mine, theirs = figures["ours"]["all"]["recall"], figures["reference"]["all"]["recall"]
    figures["holds"] = different == 0 and compared > 0 and (mine is None or mine >= theirs)
    return figures


def read_image(path: Path) -> NDArray[np.uint8] | None:
    """The picture (H, W, 3) BGR, None for a file that holds none."""
    try:
        pixels: Any = cv2.imread(str(path), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if pixels is None else np.asarray(pixels, np.uint8)


def _of_street(boxes: RecordArray) -> RecordArray:
    """What a ride's camera finds (CAMERA_OBJECT_DTYPE) as boxes whose ``kind`` is an ObjectClass."""
    boxes = boxes[np.isin(boxes["kind"], list(_STREET))]
    out = np.zeros(len(boxes), BOX2D_DTYPE)
    for name in ("left", "top", "right", "bottom", "score"):
        out[name] = boxes[name]
    out["kind"] = [int(_STREET[int(kind)]) for kind in boxes["kind"]]
    return out


def _time_stage(eyes: StreetEyes, pixels: Any) -> list[tuple[float, float]]:
    """Milliseconds of wall and of this process's processors, some times over."""
    out = []
    for _ in range(_REPEATED):
        begun, busy = time.perf_counter(), time.process_time()
        eyes.step(pixels)
        out.append((1e3 * (time.perf_counter() - begun), 1e3 * (time.process_time() - busy)))
    return out


def _road_users(boxes: RecordArray) -> RecordArray:
    """Boxes of road users with ``kind`` turned into ObjectClass."""
    out = boxes[np.isin(boxes["kind"], list(COCO))].copy()
    out["kind"] = [int(COCO[int(kind)]) for kind in out["kind"]]
    return out


def _compare(a: RecordArray, b: RecordArray) -> tuple[int, float]:
    """Boxes of either that the other lacks, and the largest difference of a side (px) among the others."""
    missing, worst, free = 0, 0.0, list(range(len(b)))
    for box in a:
        best, at = np.inf, -1
        for j in free:
            if b["kind"][j] == box["kind"] and abs(float(b["score"][j]) - float(box["score"])) < _SAME_SCORE:
                gap = max(abs(float(b[s][j]) - float(box[s])) for s in ("left", "top", "right", "bottom"))
                if gap < best:
                    best, at = gap, j
        if best > _SAME_PX:
            missing += 1
            continue
        free.remove(at)
        worst = max(worst, best)
    return missing + len(free), worst


def _score(truth: Sequence[RecordArray], found: Sequence[RecordArray]) -> dict[str, Any]:
    groups: dict[str, tuple[int, ...]] = {name: tuple(int(k) for k in kinds) for name, kinds in GROUPS.items()}
    groups["all"] = tuple(int(k) for k in ObjectClass if k != ObjectClass.UNKNOWN)
    return {name: _group(truth, found, kinds, name == "all") for name, kinds in groups.items()}


def _group(
    truth: Sequence[RecordArray], found: Sequence[RecordArray], kinds: tuple[int, ...], by_class: bool
) -> dict[str, Any]:
    hits: list[tuple[float, bool]] = []
    total = 0
    for annotated, boxes in zip(truth, found, strict=True):
        mine = np.isin(annotated["label"], kinds)
        total += int((annotated["counted"] & mine).sum())
        taken = np.zeros(len(annotated), bool)
        for box in boxes[np.isin(boxes["kind"], kinds)]:
            share = overlap(box[None], annotated)[0]
            open_ = mine & ~taken & (share >= LEAST_OVERLAP)
            if by_class:
                open_ &= _alike(annotated["label"], int(box["kind"]))
            if open_.any():
                best = int(np.argmax(np.where(open_, share, -1.0)))
                taken[best] = True
                if annotated["counted"][best]:
                    hits.append((float(box["score"]), True))
                continue
            excused = ~annotated["counted"] & ((share > 0.2) | (_inside(box, annotated) > 0.5))
            # a rider and his bicycle are one annotation and two boxes
            excused |= np.isin(annotated["label"], _PEOPLE) & (_inside(box, annotated) > 0.5)
            if not excused.any():
                hits.append((float(box["score"]), False))
    order = sorted(range(len(hits)), key=lambda k: -hits[k][0])
    hit = np.array([hits[k][1] for k in order], bool)
    if total == 0:
        return {"annotated": 0, "predicted": len(hit), "recall": None, "precision": None, "ap": None}
    cumulated = np.cumsum(hit)
    precision = cumulated / np.arange(1, len(hit) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    curve = np.interp(_RECALLS, cumulated / total, envelope, right=0.0) if len(hit) else np.zeros(101)
    return {
        "annotated": total,
        "predicted": len(hit),
        "recall": round(float(hit.sum()) / total, 4),
        "precision": round(float(hit.mean()), 4) if len(hit) else None,
        "ap": round(float(curve.mean()), 4),
    }


def _alike(labels: np.ndarray, kind: int) -> np.ndarray:
    """Annotations that a box of ``kind`` may stand for: a car may be called a truck, a rider a person."""
    vehicles = (int(ObjectClass.CAR), int(ObjectClass.TRUCK))
    group = vehicles if kind in vehicles else _PEOPLE
    return np.isin(labels, group)


def _inside(box: np.void, annotated: RecordArray) -> np.ndarray:
    """Share of the box that lies in each annotation."""
    width = np.minimum(box["right"], annotated["right"]) - np.maximum(box["left"], annotated["left"])
    height = np.minimum(box["bottom"], annotated["bottom"]) - np.maximum(box["top"], annotated["top"])
    area = max(float((box["right"] - box["left"]) * (box["bottom"] - box["top"])), 1e-6)
    return np.asarray(np.maximum(width, 0.0) * np.maximum(height, 0.0) / area)

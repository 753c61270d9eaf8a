"""Upright boxes around clusters: search-based L-shape fit, then class by size and shape.

The heading search is that of Zhang et al., "Efficient L-Shape Fitting for Vehicle Detection Using
Laser Scanners" (IV 2017) with the closeness criterion, coarse first and then fine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.params import param
from robotaxi.perception.lidar.cluster import Clusters
from robotaxi.perception.lidar.preprocess import Points
from robotaxi.types import ObjectClass, RecordArray

DETECTION_DTYPE = np.dtype(
    [
        ("x", "<f8"),  # centre of the visible box, m
        ("y", "<f8"),
        ("z", "<f8"),  # of the cluster's lowest point
        ("yaw", "<f8"),  # of the longer visible side, rad, in [0, pi)
        ("length", "<f8"),  # longer visible side, m
        ("width", "<f8"),
        ("height", "<f8"),  # highest point above the ground, m
        ("base", "<f8"),  # lowest point above the ground, m
        ("upper", "<f8"),  # extent of the upper part along the longer side, m
        ("lower", "<f8"),  # extent of what is no higher than a waist or a bonnet, along the longer side, m
        ("flat", "<f8"),  # share of the points that lie on the sides of the box
        ("time", "<f8"),  # mean time of the points since the stamp, s
        ("points", "<i8"),
        ("label", "u1"),  # ObjectClass
        ("score", "<f8"),  # how sure the class is, 0..1
        ("looked", "?"),  # judged by the second look; the box of a road user is then the whole one
    ]
)
"""What one sweep shows of one object."""

_CLOSEST = 0.05  # m, lidar noise: edges closer than this count the same
_COARSE = 30  # headings tried over 90 degrees
_FINE = 6  # tried on either side of the best one
_UPPER_SHARE = 0.7  # of the height: a rider's trunk and head, a car's roof
_WAIST = 1.2  # m
_ON_SIDE = 0.15  # m
_SURE_POINTS = 20.0
_FIT_POINTS = 160  # a cluster's points are thinned to at most this many for the heading


@dataclass(frozen=True)
class BoxConfig:
    """Sizes that make a class. What fits none of them but is small enough is UNKNOWN."""

    max_length: float = param(18.0, lo=5.0, hi=40.0, unit="m", doc="longer things are no road users")
    max_width: float = param(3.4, lo=2.0, hi=10.0, unit="m", doc="wider things are no road users")
    min_height: float = param(0.35, lo=0.0, hi=2.0, unit="m", doc="lower things are obstacle points only")
    max_base: float = param(1.2, lo=0.2, hi=3.0, unit="m", doc="things that start higher hang in the air")
    view_height: float = param(2.5, lo=1.8, hi=6.0, unit="m", doc="returns above this height are overhead")
    pole_height: float = param(2.1, lo=1.8, hi=6.0, unit="m", doc="slender things as high as this are poles or trees")
    flat_share: float = param(
        0.5, lo=0.0, hi=1.0, doc="share of a truck's returns on its sides; crowns of trees have less"
    )
    car_min_length: float = param(2.2, lo=1.0, hi=5.0, unit="m", doc="shortest visible side of a car")
    car_min_front: float = param(1.35, lo=0.5, hi=2.0, unit="m", doc="narrowest visible front or rear of a car")
    car_max_length: float = param(6.2, lo=4.0, hi=10.0, unit="m", doc="longest car or van")
    car_max_width: float = param(2.4, lo=1.8, hi=3.5, unit="m", doc="widest car or van")
    car_max_height: float = param(2.35, lo=1.5, hi=3.5, unit="m", doc="highest car or van")
    person_max_side: float = param(1.1, lo=0.5, hi=2.0, unit="m", doc="widest pedestrian, with arms and bag")
    person_min_height: float = param(0.9, lo=0.3, hi=1.5, unit="m", doc="lowest pedestrian")
    person_max_height: float = param(2.15, lo=1.6, hi=2.8, unit="m", doc="highest pedestrian or cyclist")
    cycle_max_length: float = param(2.3, lo=1.2, hi=3.0, unit="m", doc="longest bicycle or motorbike")
    cycle_max_width: float = param(1.0, lo=0.4, hi=1.5, unit="m", doc="widest bicycle or motorbike")
    cycle_upper_share: float = param(
        0.55, lo=0.1, hi=1.0, doc="a rider's upper body is at most this part of the length"
    )


def boxes_by_shape(boxes: RecordArray, config: BoxConfig) -> RecordArray:
    """Those of `measure_boxes` that may be road users, with label and score by size and shape alone."""
    out = boxes[is_object(boxes, config)]
    out["label"] = classify(out, config)
    out["score"] = out["flat"] * (1.0 - np.exp(-out["points"] / _SURE_POINTS))
    return out


def measure_boxes(
    xyz: Points, height: NDArray[np.float32], time: NDArray[np.float32], clusters: Clusters
) -> RecordArray:
    """The box of each cluster, whatever it is; label and score are left at zero."""
    out: RecordArray = np.zeros(len(clusters), DETECTION_DTYPE)
    if len(out) == 0:
        return out
    values = _fit(xyz, height, time, clusters.order, clusters.start)
    for column, name in enumerate(
        ("x", "y", "z", "yaw", "length", "width", "height", "base", "upper", "lower", "flat", "time")
    ):
        out[name] = values[:, column]
    out["points"] = np.diff(clusters.start)
    return out


def classify(boxes: RecordArray, config: BoxConfig) -> NDArray[np.uint8]:
    """ObjectClass of each box by visible size and shape, (N,) uint8."""
    length, width, height, upper = (boxes[k] for k in ("length", "width", "height", "upper"))
    upright = (height >= config.person_min_height) & (height <= config.person_max_height)
    slender = (length <= config.cycle_max_length) & (width <= config.cycle_max_width)
    rider = upright & slender & (height >= 1.2) & (upper <= config.cycle_upper_share * length)
    person = upright & (length <= config.person_max_side)
    car_body = (height >= 0.7) & (height <= config.car_max_height) & (width <= config.car_max_width)
    car = car_body & (length >= config.car_min_front) & (length <= config.car_max_length)
    large = (height > config.car_max_height) | (length > config.car_max_length)
    truck = large & (height >= 1.5) & ((length >= 3.0) | ((length >= 1.9) & (height > config.car_max_height)))
    choices = [(person, ObjectClass.PEDESTRIAN), (rider, ObjectClass.BICYCLE), (car, ObjectClass.CAR),
               (truck, ObjectClass.TRUCK)]  # fmt: skip
    return np.select([c for c, _ in choices], [int(k) for _, k in choices], int(ObjectClass.UNKNOWN)).astype(np.uint8)


def is_object(boxes: RecordArray, config: BoxConfig) -> NDArray[np.bool_]:
    """Whether size and shape allow a road user."""
    fits = (boxes["length"] <= config.max_length) & (boxes["width"] <= config.max_width)
    stands = (boxes["height"] >= config.min_height) & (boxes["base"] <= config.max_base)
    high = boxes["height"] >= config.pole_height
    pole = high & (boxes["length"] < config.person_max_side)
    crown = (boxes["height"] > config.car_max_height) & (boxes["flat"] < config.flat_share)
    tree = crown | (high & (boxes["lower"] < 0.4 * boxes["length"]))
    return fits & stands & ~pole & ~tree


@njit(cache=True)
def _closeness(px, py, c, s):  # type: ignore[no-untyped-def]
    """Zhang's criterion: how near the points lie to the sides of the rectangle at this heading."""
    lo_a, hi_a, lo_b, hi_b = np.inf, -np.inf, np.inf, -np.inf
    for i in range(px.size):
        a, b = c * px[i] + s * py[i], -s * px[i] + c * py[i]
        lo_a, hi_a, lo_b, hi_b = min(lo_a, a), max(hi_a, a), min(lo_b, b), max(hi_b, b)
    sum_lo_a, sum_hi_a, sum_lo_b, sum_hi_b = 0.0, 0.0, 0.0, 0.0
    for i in range(px.size):
        a, b = c * px[i] + s * py[i], -s * px[i] + c * py[i]
        sum_lo_a += a - lo_a
        sum_hi_a += hi_a - a
        sum_lo_b += b - lo_b
        sum_hi_b += hi_b - b
    low_a, low_b = sum_lo_a < sum_hi_a, sum_lo_b < sum_hi_b
    score = 0.0
    for i in range(px.size):
        a, b = c * px[i] + s * py[i], -s * px[i] + c * py[i]
        da = a - lo_a if low_a else hi_a - a
        db = b - lo_b if low_b else hi_b - b
        score += 1.0 / max(min(da, db), _CLOSEST)
    return score


@njit(cache=True)
def _heading(px, py):  # type: ignore[no-untyped-def]
    step = 0.5 * np.pi / _COARSE
    best, best_score = 0.0, -1.0
    for k in range(_COARSE):
        score = _closeness(px, py, np.cos(k * step), np.sin(k * step))
        if score > best_score:
            best, best_score = k * step, score
    centre = best
    fine = step / (_FINE + 1)
    for k in range(-_FINE, _FINE + 1):
        angle = centre + k * fine
        score = _closeness(px, py, np.cos(angle), np.sin(angle))
        if score > best_score:
            best, best_score = angle, score
    return best


@njit(cache=True)
def _fit(xyz, height, time, order, start):  # type: ignore[no-untyped-def]
    out = np.empty((start.size - 1, 12))
    for k in range(start.size - 1):
        first, n = start[k], start[k + 1] - start[k]
        stride = (n + _FIT_POINTS - 1) // _FIT_POINTS
        m = (n + stride - 1) // stride
        px, py = np.empty(m), np.empty(m)
        x0, y0 = float(xyz[order[first], 0]), float(xyz[order[first], 1])
        for j in range(m):
            i = order[first + j * stride]
            px[j], py[j] = xyz[i, 0] - x0, xyz[i, 1] - y0
        yaw = _heading(px, py)
        c, s = np.cos(yaw), np.sin(yaw)
        lo_a, hi_a, lo_b, hi_b = np.inf, -np.inf, np.inf, -np.inf
        low_z, low_h, high_h, total_t = np.inf, np.inf, -np.inf, 0.0
        for j in range(n):
            i = order[first + j]
            x, y = xyz[i, 0] - x0, xyz[i, 1] - y0
            a, b = c * x + s * y, -s * x + c * y
            lo_a, hi_a, lo_b, hi_b = min(lo_a, a), max(hi_a, a), min(lo_b, b), max(hi_b, b)
            low_z, low_h, high_h = min(low_z, xyz[i, 2]), min(low_h, height[i]), max(high_h, height[i])
            total_t += time[i]
        ca, cb = 0.5 * (lo_a + hi_a), 0.5 * (lo_b + hi_b)
        length, width = hi_a - lo_a, hi_b - lo_b
        out[k, 0], out[k, 1], out[k, 2] = x0 + c * ca - s * cb, y0 + s * ca + c * cb, low_z
        if width > length:
            yaw, length, width = yaw + 0.5 * np.pi, width, length
            lo_a, hi_a, lo_b, hi_b = lo_b, hi_b, -hi_a, -lo_a
        c, s = np.cos(yaw), np.sin(yaw)
        on_side = 0
        lo_u, hi_u, lo_l, hi_l = np.inf, -np.inf, np.inf, -np.inf
        for j in range(n):
            i = order[first + j]
            a = c * (xyz[i, 0] - x0) + s * (xyz[i, 1] - y0)
            if height[i] > _UPPER_SHARE * high_h:
                lo_u, hi_u = min(lo_u, a), max(hi_u, a)
            if height[i] < _WAIST:
                lo_l, hi_l = min(lo_l, a), max(hi_l, a)
            b = -s * (xyz[i, 0] - x0) + c * (xyz[i, 1] - y0)
            if min(a - lo_a, hi_a - a, b - lo_b, hi_b - b) < _ON_SIDE:
                on_side += 1
        out[k, 3], out[k, 4], out[k, 5] = yaw % np.pi, length, width
        out[k, 6], out[k, 7], out[k, 8], out[k, 9] = high_h, low_h, max(hi_u - lo_u, 0.0), max(hi_l - lo_l, 0.0)
        out[k, 10], out[k, 11] = on_side / n, total_t / n
    return out

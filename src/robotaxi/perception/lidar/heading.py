"""What is known of a track's heading, up to a quarter turn: views weighed by how much they can tell.

The sides of a rectangle repeat every quarter turn, so headings are added up as vectors at four times their angle; the
length of the sum is the information (1/rad^2). Views that agree add up, views that contradict each other cancel: a
guess from a few far points gives way to the first good view, and a good view outlasts the poor ones after it. From
standstill one and the same poor view comes again and again: it counts for a few of its kind at most.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robotaxi.types import FloatArray, RecordArray

_LEAST_SIDE = 1.0  # m, a shorter side has no direction worth knowing
_LEAST_INFORMATION = 1e-6
_VIEWS = 10.0  # of one quality count; what comes after tells nothing new


def side_information(detections: RecordArray, sigma: float) -> FloatArray:
    """Information (N,) of the headings of ``detections`` (DETECTION_DTYPE) whose points stray by ``sigma`` m.

    That of a line fitted to the points on the sides: their number times the length squared.
    """
    information = detections["points"] * detections["flat"] * np.square(detections["length"] / sigma)
    return np.where(detections["length"] > _LEAST_SIDE, information, 0.0)


def faded(facing: FloatArray, sigma: FloatArray) -> FloatArray:
    """``facing`` (N, 2) after the headings may have changed by ``sigma`` (N,) rad."""
    information = np.hypot(facing[:, 0], facing[:, 1])
    return np.asarray(facing / (1.0 + information * np.square(sigma))[:, None])


def told(yaw: FloatArray, information: FloatArray) -> FloatArray:
    """(N, 2) what single views of headings ``yaw`` (N,), any quarter turn, say."""
    return np.stack([np.cos(4.0 * yaw), np.sin(4.0 * yaw)], axis=-1) * information[:, None]


def joined(facing: FloatArray, view: FloatArray) -> FloatArray:
    """``facing`` with what a ``view`` told, both (N, 2)."""
    out = facing + view
    before, more, after = (np.hypot(v[:, 0], v[:, 1]) for v in (facing, view, out))
    most = np.maximum(before, _VIEWS * more)
    return np.asarray(out * np.minimum(1.0, most / np.maximum(after, _LEAST_INFORMATION))[:, None])


def heading(facing: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """The likeliest heading (N,) in [-pi/4, pi/4], and where there is one at all."""
    known = np.hypot(facing[:, 0], facing[:, 1]) > _LEAST_INFORMATION
    return np.arctan2(facing[:, 1], facing[:, 0]) / 4.0, known


def wrap_half(angle: FloatArray) -> FloatArray:
    """To [-pi/2, pi/2): the difference of two headings, front and rear not told apart."""
    return (angle + np.pi / 2) % np.pi - np.pi / 2


def wrap_quarter(angle: FloatArray) -> FloatArray:
    """To [-pi/4, pi/4): the difference of two rectangles' headings, sides not told apart."""
    return (angle + np.pi / 4) % (np.pi / 2) - np.pi / 4

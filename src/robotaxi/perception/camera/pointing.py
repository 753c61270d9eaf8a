"""Whether the camera still looks where its calibration says: a camera that was knocked out of place is noticed.

While the car drives straight on, everything that stands still moves in the picture along lines that meet where the
car is heading. Points are followed from one picture to the next; the turn of the camera for which they fit the car's
own motion best (least epipolar error) is its error. One pair of pictures says little, many that agree say enough.

After Longuet-Higgins, "A computer algorithm for reconstructing a scene from two projections" (Nature 1981); the error
is Sampson's, weighed robustly, as traffic does not stand still.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from robotaxi.params import param
from robotaxi.types import CameraModel, EgoState, FloatArray

_POINTS, _QUALITY, _APART = 160, 0.02, 8  # corners that are followed: how many, how good, px apart
_WINDOW, _LEVELS = (21, 21), 4
_LEAST_POINTS = 25
_SPREAD = (0.006, 0.003, 0.002, 0.002, 0.002)  # rad, what counts as fitting, narrower from step to step
_TRIED = np.radians(np.stack(np.meshgrid(np.arange(-10.0, 11.0), np.arange(-10.0, 11.0)), axis=-1).reshape(-1, 2))
_ROLL_PRIOR = np.radians(0.5)  # the motion does not tell of a turn about its own direction
_LARGEST = np.radians(15.0)
_LONGEST = 0.5  # s, between two pictures
_FRESH_NS = 150_000_000  # from the state to the picture
_FINEST = 3e-4  # rad, points are followed no better than this
_SURE = np.radians(0.7)  # what a pair must tell the turn to, one deviation


@dataclass(frozen=True)
class PointingConfig:
    """When the camera's place is checked, and from when on it counts as moved."""

    pointing_every: int = param(5, lo=1, hi=100, doc="one pair of pictures in so many is compared")
    pointing_least_way: float = param(0.8, lo=0.1, hi=5.0, unit="m", doc="the car must have moved so far between two")
    pointing_most_turn_deg: float = param(2.0, lo=0.1, hi=20.0, unit="deg", doc="and turned no further")
    pointing_pairs: int = param(12, lo=3, hi=100, doc="so many of the last pairs count")
    pointing_least_pairs: int = param(6, lo=2, hi=100, doc="fewer say nothing yet")
    pointing_moved_deg: float = param(1.8, lo=0.3, hi=20.0, unit="deg", doc="a camera off by more was moved")


@dataclass(frozen=True)
class _Look:
    """A picture and how the car moved when it was taken."""

    gray: NDArray[np.uint8]
    stamp_ns: int
    speed: float
    yaw_rate: float


class PointingMonitor:
    """Call `step` once an image, in order of time."""

    def __init__(self, config: PointingConfig, camera: CameraModel) -> None:
        self._config, self._camera = config, camera
        self._optical = np.asarray(camera.T_base_optical, np.float64)
        self._count = 0
        self._before: _Look | None = None
        self._errors: deque[FloatArray] = deque(maxlen=config.pointing_pairs)

    def step(self, image_bgr: NDArray[np.uint8], stamp_ns: int, state: EgoState | None) -> str:
        """Why the camera counts as moved, or "". ``image_bgr`` (H, W, 3) of the camera's size."""
        self._count += 1
        turn = self._count % max(self._config.pointing_every, 2)
        if turn <= 1:
            before = self._before if turn == 1 else None
            self._before = None
            # by an older state, a car that brakes or turns looks like a camera that was moved
            known = state is not None and 0 <= stamp_ns - state.stamp_ns <= _FRESH_NS
            if known and state is not None and np.isfinite([state.speed, state.yaw_rate]).all():
                gray = np.asarray(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY), np.uint8)
                if before is not None:
                    self._compare(before, _Look(gray, stamp_ns, state.speed, state.yaw_rate))
                elif turn == 0:
                    self._before = _Look(gray, stamp_ns, state.speed, state.yaw_rate)
        return self._verdict()

    def _compare(self, first: _Look, second: _Look) -> None:
        seconds = (second.stamp_ns - first.stamp_ns) * 1e-9
        if not 0.0 < seconds <= _LONGEST:
            return
        # of speed and yaw rate: what is known of the place jumps by centimetres, which here were degrees
        way = 0.5 * (first.speed + second.speed) * seconds
        turned = 0.5 * (first.yaw_rate + second.yaw_rate) * seconds
        if way < self._config.pointing_least_way or abs(turned) > np.radians(self._config.pointing_most_turn_deg):
            return
        motion = np.eye(4)
        motion[:2, :2] = [[np.cos(turned), -np.sin(turned)], [np.sin(turned), np.cos(turned)]]
        motion[:2, 3] = way * np.cos(0.5 * turned), way * np.sin(0.5 * turned)
        pixels = follow(first.gray, second.gray)
        if len(pixels) < _LEAST_POINTS:
            return
        rays = np.ones((2, len(pixels), 3))
        camera = self._camera
        rays[:, :, 0] = (pixels[:, :, 0].T - camera.cx) / camera.fx
        rays[:, :, 1] = (pixels[:, :, 1].T - camera.cy) / camera.fy
        error = misalignment(rays[0], rays[1], np.linalg.inv(self._optical) @ motion @ self._optical)
        if error is not None:
            self._errors.append(error)

    def _verdict(self) -> str:
        if len(self._errors) < self._config.pointing_least_pairs:
            return ""
        pitch, yaw = np.degrees(np.median(np.array(self._errors), axis=0))
        if max(abs(pitch), abs(yaw)) <= self._config.pointing_moved_deg:
            return ""
        where = (abs(yaw), "left" if yaw < 0.0 else "right"), (abs(pitch), "down" if pitch < 0.0 else "up")
        angle, side = max(where)
        return f"the camera looks {round(angle)} degrees too far {side}: it was moved, or its calibration is wrong"


def follow(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Corners of one grey picture and where they are in the next, (N, 2, 2) px."""
    corners = cv2.goodFeaturesToTrack(first, _POINTS, _QUALITY, _APART)
    if corners is None:
        return np.zeros((0, 2, 2), np.float32)
    moved, found, _ = cv2.calcOpticalFlowPyrLK(  # type: ignore[call-overload]  # None is allowed, says OpenCV
        first, second, corners, None, winSize=_WINDOW, maxLevel=_LEVELS
    )
    pairs = np.stack([corners[:, 0], moved[:, 0]], axis=1)
    return np.asarray(pairs[found[:, 0] == 1], np.float32)


def misalignment(first: FloatArray, second: FloatArray, T_first_second: FloatArray) -> FloatArray | None:
    """Turn of the camera (2,), rad, about its x axis (right: looks up) and y axis (down: looks to the right), for which
    the rays ``first`` and ``second`` (N, 3) of the same points fit the camera's motion; None where they tell nothing.

    ``T_first_second`` (4, 4): the second pose in the first, by the calibration that is doubted.
    """
    x, y, z = T_first_second[:3, 3] / np.linalg.norm(T_first_second[:3, 3])
    essential = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]) @ T_first_second[:3, :3]
    prior = np.diag([0.0, 0.0, 1.0 / _ROLL_PRIOR**2])
    error, slope = _misfit(first, second, essential)
    # traffic pulls a search that begins anywhere to the wrong valley: begin in the deepest
    tried = np.log1p(np.square((error[:, None] + slope[:, :2] @ _TRIED.T) / _SPREAD[-1])).sum(axis=0)
    turn, normal = np.array([*_TRIED[int(tried.argmin())], 0.0]), prior
    for spread in _SPREAD:
        by, _ = cv2.Rodrigues(turn)
        error, slope = _misfit(first @ by.T, second @ by.T, essential)
        weight = 1.0 / np.square(1.0 + np.square(error / spread)) / spread**2
        normal = (slope * weight[:, None]).T @ slope + prior
        if np.linalg.cond(normal) > 1e10:
            return None
        turn = turn - np.linalg.solve(normal, slope.T @ (weight * error) + prior @ turn)
        if np.abs(turn).max() > _LARGEST:
            return None
    fitting = np.abs(error) < 2.0 * _SPREAD[-1]
    if fitting.sum() < _LEAST_POINTS:
        return None
    scatter = max(float(np.median(np.abs(error[fitting]))) / 0.67, _FINEST)
    sigma = np.sqrt(np.diag(np.linalg.inv(normal)))[:2] * scatter / _SPREAD[-1]
    if sigma.max() > _SURE:
        return None
    return np.array(turn[:2])


def _misfit(a: FloatArray, b: FloatArray, essential: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Epipolar errors (N,), rad, of rays (N, 3), and how they change (N, 3) as the camera turns."""
    line_a, line_b = b @ essential.T, a @ essential
    size = np.sqrt(np.square(line_a[:, :2]).sum(axis=1) + np.square(line_b[:, :2]).sum(axis=1)) + 1e-9
    return (a * line_a).sum(axis=1) / size, (np.cross(a, line_a) + np.cross(b, line_b)) / size[:, None]

"""When the estimate is wrong or there is none: looks for the car on the map and keeps what it found until the filter
has taken it over."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from robotaxi.geometry.se3 import inverse
from robotaxi.localization.global_search import GlobalSearch, Overview
from robotaxi.localization.lidar_odometry import LidarOdometry, OdometryConfig
from robotaxi.types import FloatArray

Points = Callable[[], FloatArray]  # made only where they are needed
_AGREE, _AGREE_TURN = 1.0, math.radians(6.0)  # so near the filter's pose is our own
_JUMP = 5.0  # m between two sweeps: the filter has started anew, nobody moves like that


@dataclass(frozen=True, slots=True)
class RoughPose:
    """Where a person says the car is (RViz, `initialpose`): ``sigma`` (m) and ``yaw_sigma`` (rad) as they state it."""

    stamp_ns: int
    x: float
    y: float
    yaw: float
    sigma: float
    yaw_sigma: float


@dataclass(frozen=True)
class SearchConfig:
    """Of the search over the whole map."""

    misses: int = 8  # sweeps in a row that do not fit before it begins
    settled: int = 4  # the same where no pose is known at all: by then the sweeps tell how the car moves within them
    pause: int = 10  # sweeps between two searches that found nothing
    least_score: float = 0.6
    least_lead: float = 0.1  # over the next best place
    confirm: int = 4  # matches in a row before what was found is told
    tries: int = 3  # sweeps in a row that do not fit where it was found before it is given up


class Relocalizer:
    """``own`` is the pose that was found, carried along with the car; None while the filter's is good enough."""

    def __init__(self, view: Overview | None, config: SearchConfig | None = None) -> None:
        self._view = view
        self._config = config or SearchConfig()
        self.own: FloatArray | None = None
        self._confirmed = 0
        self._misses = 0
        self._wait = 0
        self._near: tuple[float, float, float] | None = None
        self._search: GlobalSearch | None = None
        self._since: FloatArray = np.eye(4)  # motion of base_link since the sweep that is searched for
        self._guess: FloatArray | None = None
        self._odometry: LidarOdometry | None = None
        self.motion: FloatArray = np.eye(4)  # of base_link since the sweep before
        # Sweeps put right by the motion of the last one alone measure a motion that is off to the other side: with the
        # mean of two it settles.
        self.mean_motion: FloatArray = np.eye(4)
        self.reason = ""

    @property
    def coarse(self) -> bool:
        """Whether `own` comes from the search and no match has confirmed it yet."""
        return self.own is not None and self._confirmed == 0

    def rough(self, pose: RoughPose) -> None:
        """Look around a pose that a person gave."""
        self.own, self._search, self._confirmed, self._wait = None, None, 0, 0
        self._near = (pose.x, pose.y, min(60.0, max(8.0, 3.0 * pose.sigma + 5.0)))
        self._misses = self._config.misses

    def predict(self, points: Points, T_base_lidar: FloatArray, T_guess: FloatArray | None) -> FloatArray | None:
        """T_map_base to match the sweep from: what was found here, or the filter's ``T_guess``. ``points`` gives the
        sweep, (N, 3) in the lidar's frame."""
        last, motion = self.motion, self._motion(points, T_base_lidar, T_guess)
        self.motion, self.mean_motion = motion, 0.5 * (last + motion)
        self._since = self._since @ motion
        if self.own is None:
            return T_guess
        self.own = self.own @ motion
        if T_guess is not None and _near(self.own, T_guess):
            self.own = None
            return T_guess
        return self.own

    def matched(self, T_map_base: FloatArray | None, points: Points, known: bool) -> bool:
        """The sweep was matched at ``T_map_base`` (None: it fits nowhere). ``points`` gives the sweep in base_link;
        ``known``: the filter has a pose. Returns whether the match may be told to the filter."""
        self.reason = ""
        if T_map_base is not None:
            self._misses = 0
            self._search = None
            if self.own is None:
                self._near = None
                return True
            self.own = T_map_base
            self._confirmed += 1
            if self._confirmed >= self._config.confirm:
                return True
            self.reason = "found a place on the localization map, making sure of it"
            return False
        self._misses += 1
        if self.own is not None and self._misses >= self._config.tries:
            self.own, self._confirmed, self._misses = None, 0, self._config.misses
        if self.own is None and self._misses >= (self._config.misses if known else self._config.settled):
            self._advance(points)
        return False

    def _advance(self, points: Points) -> None:
        if self._view is None:
            self.reason = "the localization map has no tile that can be read"
            return
        if self._search is None:
            self._wait -= 1
            if self._wait >= 0:
                self.reason = "no place of the localization map fits what the lidar sees"
                return
            self._search = GlobalSearch(self._view, points(), self._near)
            self._since = np.eye(4)
        self._search.step()
        self.reason = f"looking for the car on the localization map: {100 * self._search.progress:.0f} % done"
        found = self._search.candidates
        if found is None:
            return
        self._search = None
        c = self._config
        lead = found[0].score - (found[1].score if len(found) > 1 else 0.0) if found else 0.0
        if found and found[0].score >= c.least_score and lead >= c.least_lead:
            self.own, self._confirmed, self._misses = found[0].T_map_base @ self._since, 0, 0
            self.reason = "found a place on the localization map, making sure of it"
            return
        self._wait = c.pause
        if found and found[0].score >= c.least_score:
            self.reason = "several places of the localization map look like this one: drive on a little"
        else:
            self.reason = "no place of the localization map fits what the lidar sees"
        self._near = None  # where the person said it is not: look everywhere

    def _motion(self, points: Points, T_base_lidar: FloatArray, T_guess: FloatArray | None) -> FloatArray:
        """T_before_now of base_link since the sweep before: by the filter, else by the sweeps themselves."""
        before, self._guess = self._guess, T_guess
        if before is not None and T_guess is not None:
            self._odometry = None
            motion = inverse(before) @ T_guess
            return motion if float(np.linalg.norm(motion[:3, 3])) < _JUMP else np.eye(4)
        if T_guess is not None:
            return np.eye(4)
        if self._odometry is None:
            self._odometry = LidarOdometry(OdometryConfig())
        self._odometry.step(points())
        if len(self._odometry.local_map) == 0:
            return np.eye(4)
        return T_base_lidar @ self._odometry.motion @ inverse(T_base_lidar)


def _near(a: FloatArray, b: FloatArray) -> bool:
    step = inverse(a) @ b
    return math.hypot(step[0, 3], step[1, 3]) < _AGREE and abs(math.atan2(step[1, 0], step[0, 0])) < _AGREE_TURN

"""Lidar odometry for the filter: poses of base_link in a frame of its own, for places that no map knows."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from robotaxi.geometry.se3 import inverse
from robotaxi.localization.config import LocalizationConfig
from robotaxi.localization.lidar_odometry import LidarOdometry, OdometryConfig
from robotaxi.localization.map_match import PoseFix, no_match
from robotaxi.localization.registration import Match
from robotaxi.types import FloatArray, LidarSweep

FRAME = "lidar_odometry"
_LEAST_OVERLAP, _OPEN = 0.4, 0.3
_CORRELATION = 40.0  # pairs that share one error


class OdometryTracker:
    """Each sweep against those before it. `stop` when a map holds the car again: the next sweep begins a new frame."""

    def __init__(self, config: LocalizationConfig | None = None) -> None:
        self._config = config or LocalizationConfig()
        self._odometry: LidarOdometry | None = None
        self._frame = 0
        self._stamp_ns = 0

    def stop(self) -> None:
        """Forget everything."""
        self._odometry = None

    def waiting(self, stamp_ns: int) -> PoseFix:
        """What is said while the filter has no pose: motion alone gives none."""
        return no_match(stamp_ns, "waiting for a first pose", FRAME)

    def step(
        self, sweep: LidarSweep, points: Callable[[], FloatArray], T_guess_before_now: FloatArray | None
    ) -> PoseFix:
        """``points``: gives the sweep, (N, 3) in the lidar's frame. ``T_guess_before_now``: motion of base_link since
        the sweep before by the filter, where it knows."""
        if self._odometry is None:
            self._odometry = LidarOdometry(OdometryConfig(range_min=2.5, range_max=60.0))
            self._frame += 1
        T_lidar_base = inverse(sweep.T_base_lidar)
        guess = None
        if T_guess_before_now is not None:
            guess = T_lidar_base @ T_guess_before_now @ sweep.T_base_lidar
        found = self._odometry.step(points(), guess=guess)
        if found is None:
            return no_match(sweep.stamp_ns, "lidar odometry begins", FRAME)
        if found.overlap < _LEAST_OVERLAP or not found.converged:
            self.stop()
            return no_match(sweep.stamp_ns, "lidar odometry has lost its track", FRAME)
        return self._fix(sweep, found)

    def _fix(self, sweep: LidarSweep, found: Match) -> PoseFix:
        c = self._config
        T = sweep.T_base_lidar @ found.T_map_lidar @ inverse(sweep.T_base_lidar)
        # along, across and about: what the sweep leaves open (tunnel, open square) is left open
        information = found.information[np.ix_([0, 1, 5], [0, 1, 5])] / (_CORRELATION * max(found.sigma, 0.02) ** 2)
        scale = np.diag([1.0, 1.0, 0.1])
        values, vectors = np.linalg.eigh(scale @ information @ scale)
        floor = np.array([c.odometry_sigma, c.odometry_sigma, 10.0 * c.odometry_yaw_sigma])
        rows, sigmas, blind = [], [], []
        for value, vector in zip(values, vectors.T, strict=True):
            sigma = 1.0 / math.sqrt(max(float(value), 1e-9))
            if sigma > _OPEN:
                if math.hypot(vector[0], vector[1]) > 0.5:
                    blind.append(np.array([vector[0], vector[1], 0.0]))
                continue
            row = np.zeros(6)
            row[0], row[1], row[5] = vector[0], vector[1], 10.0 * vector[2]
            rows.append(row)
            sigmas.append(math.hypot(sigma, float(np.linalg.norm(vector * floor))))
        if not rows:
            return no_match(sweep.stamp_ns, "nothing around that lidar odometry could hold on to", FRAME)
        return PoseFix(
            sweep.stamp_ns, T, np.array(rows), np.array(sigmas), np.array(blind).reshape(-1, 3), found.overlap,
            found.sigma, True, "", math.nan, f"{FRAME}_{self._frame}",
        )  # fmt: skip

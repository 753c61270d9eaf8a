"""Where the car is on the localization map: one sweep against the tiles around it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from robotaxi.geometry.se3 import apply, inverse
from robotaxi.localization import global_search
from robotaxi.localization.global_search import overview, standing
from robotaxi.localization.point_map import PointMap
from robotaxi.localization.registration import Match, match
from robotaxi.localization.relocalizer import Relocalizer, RoughPose
from robotaxi.localization.scan import cartesian, thin, thin_sweep, within
from robotaxi.localization.tiles import MapInfo, TileCache
from robotaxi.params import param
from robotaxi.types import FloatArray, LidarSweep


@dataclass(frozen=True)
class MatchConfig:
    """Distances in metres."""

    range_min: float = param(2.5, lo=0.0, hi=10.0, unit="m", doc="nearer points are the car's own")
    range_max: float = param(60.0, lo=10.0, hi=200.0, unit="m", doc="farther points are left out")
    thinning: float = param(1.2, lo=0.1, hi=5.0, unit="m", doc="one point a cube of this size is matched")
    max_distance: float = param(1.0, lo=0.1, hi=5.0, unit="m", doc="pairs farther apart are none")
    kernel: float = param(0.15, lo=0.01, hi=2.0, unit="m", doc="residual that loses weight")
    scatter_weight: float = param(0.05, lo=0.0, hi=1.0, doc="weight of pairs without a plane")
    max_iterations: int = param(15, lo=1, hi=100, doc="of one match")
    tolerance: float = param(5e-4, lo=1e-6, hi=1e-2, unit="m", doc="a step smaller than this ends a match")
    min_overlap: float = param(0.5, lo=0.05, hi=1.0, doc="share of the points that must find a partner")
    min_standing: float = param(0.4, lo=0.0, hi=1.0, doc="share of what stands around the car that the map must have")
    max_residual: float = param(0.12, lo=0.01, hi=1.0, unit="m", doc="RMS plane distance of a match believed")
    correlation: float = param(40.0, lo=1.0, hi=1000.0, doc="pairs that share one error, as walls and map errors do")
    sigma_floor: float = param(0.01, lo=0.001, hi=0.5, unit="m", doc="least error of a match in position")
    yaw_floor: float = param(0.0006, lo=1e-5, hi=0.1, unit="rad", doc="least error of a match in attitude")
    degenerate_sigma: float = param(0.3, lo=0.01, hi=10.0, unit="m", doc="a direction known worse is not used")
    motion_compensation: bool = param(
        True, doc="move each point by the ego motion between its time and the stamp; off for drivers that have done it"
    )
    reach: float = param(70.0, lo=20.0, hi=300.0, unit="m", doc="tiles so near are kept loaded")


@dataclass(frozen=True, slots=True)
class PoseFix:
    """Pose of base_link from a sweep. ``accepted`` false: not to be used, ``reason`` says why.

    ``directions`` (K, 6) orthogonal rows in the scaled error space (translation map axes m; rotation vector map
    axes rad about base_link) with ``sigmas`` (K,): what the match knows. ``open``: unit vectors (M, 3) along which the
    place is the same everywhere (tunnel, open square).
    """

    stamp_ns: int
    T_map_base: FloatArray
    directions: FloatArray
    sigmas: FloatArray
    open: FloatArray
    overlap: float
    residual: float
    accepted: bool
    reason: str
    standing: float = math.nan  # share of what stands around the car that stands on the map
    frame: str = "map"  # else that of a lidar odometry, which means nothing beyond the motion in it

    @classmethod
    def from_covariance(
        cls, stamp_ns: int, T_map_base: FloatArray, covariance: FloatArray, accepted: bool, frame: str = "map"
    ) -> PoseFix:
        """From a 6x6 covariance over position and rotation vector in map axes; very large ones are open directions."""
        if not accepted:
            return _none(stamp_ns, T_map_base, "the sweep does not fit the localization map", frame)
        scale = np.diag([1.0, 1.0, 1.0, _LEVER, _LEVER, _LEVER])
        values, vectors = np.linalg.eigh(scale @ (0.5 * (covariance + covariance.T)) @ scale)
        known = (values > 0.0) & (values < 0.5 * UNKNOWN_VARIANCE)
        directions = vectors.T[known].copy()
        directions[:, 3:] *= _LEVER
        blind = [v[:3] / np.linalg.norm(v[:3]) for v in vectors.T[~known] if np.linalg.norm(v[:3]) > 0.5]
        open_directions = np.array(blind).reshape(-1, 3)
        sigmas = np.sqrt(values[known])
        return cls(
            stamp_ns, T_map_base, directions, sigmas, open_directions, math.nan, math.nan, True, "", math.nan, frame
        )

    def planar(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """x, y, yaw (3,), and what is known of them: rows (K, 3) with sigmas (K,)."""
        T = self.T_map_base
        information = np.eye(6) / UNKNOWN_VARIANCE + (self.directions.T / self.sigmas**2) @ self.directions
        values, vectors = np.linalg.eigh(np.linalg.inv(information)[np.ix_([0, 1, 5], [0, 1, 5])])
        known = (values > 0.0) & (values < 1.0)
        measured = np.array([T[0, 3], T[1, 3], math.atan2(T[1, 0], T[0, 0])])
        return measured, np.ascontiguousarray(vectors.T[known]), np.sqrt(values[known])


UNKNOWN_VARIANCE = 1e6  # m^2, of a direction that a match leaves open
_LEVER = 10.0  # m, makes radians and metres comparable when directions are told apart


class MapMatcher:
    """Tracks the car on the map, and finds it again where the estimate is wrong or missing (see `relocalizer`)."""

    def __init__(self, config: MatchConfig, info: MapInfo) -> None:
        self._config = config
        self._tiles = TileCache(info, config.reach)
        self._view = overview(info)
        self._relocalizer = Relocalizer(self._view)

    @property
    def faults(self) -> list[str]:
        """Tiles that could not be read."""
        return list(self._tiles.faults.values())

    @property
    def motion(self) -> FloatArray:
        """T_before_now (4x4) of base_link between two sweeps of late, as far as known."""
        return self._relocalizer.mean_motion

    def look_near(self, pose: RoughPose) -> None:
        """A person says where the car is: look there first."""
        self._relocalizer.rough(pose)

    def step(self, sweep: LidarSweep, T_guess: FloatArray | None) -> PoseFix:
        """The next sweep, with the filter's T_map_base (4x4) at its stamp or None while it has none. A fix that is not
        accepted says what is waited for."""

        def points() -> FloatArray:
            return self._clean(sweep)

        predicted = self._relocalizer.predict(points, sweep.T_base_lidar, T_guess)
        found = None if predicted is None else self.fix(sweep, predicted)
        if found is not None and not found.accepted and self._relocalizer.coarse:
            found = self.fix(sweep, found.T_map_base)  # the search and the way since are coarse: go on from there
        T = found.T_map_base if found is not None and found.accepted else None
        told = self._relocalizer.matched(T, lambda: apply(sweep.T_base_lidar, points()), T_guess is not None)
        if told and found is not None:
            return found
        reason = self._relocalizer.reason or (found.reason if found is not None else "waiting for a first pose")
        return _none(sweep.stamp_ns, np.eye(4) if found is None else found.T_map_base, reason)

    def fix(self, sweep: LidarSweep, T_guess: FloatArray) -> PoseFix:
        """One sweep from one guess, by itself: a pure function of both and the tiles on disk."""
        c = self._config
        if not np.isfinite(T_guess).all() or self._tiles.around(float(T_guess[0, 3]), float(T_guess[1, 3])) == 0:
            return _none(sweep.stamp_ns, T_guess, "the localization map has no tile here")
        source = thin_sweep(sweep.points, c.range_min, c.range_max, c.thinning)
        if len(source) < 100:
            return _none(sweep.stamp_ns, T_guess, f"the sweep has {len(source)} usable points only")
        return self._match(sweep, source, T_guess)

    def _clean(self, sweep: LidarSweep) -> FloatArray:
        points = cartesian(sweep.points)
        return np.asarray(points[within(points, self._config.range_min, self._config.range_max)])

    def _match(self, sweep: LidarSweep, source: FloatArray, T_guess: FloatArray) -> PoseFix:
        c = self._config
        found = match(
            source, self._tiles.points, T_guess @ sweep.T_base_lidar, c.max_distance, c.kernel, c.max_iterations,
            c.tolerance, c.scatter_weight,
        )  # fmt: skip
        T_map_base = found.T_map_lidar @ inverse(sweep.T_base_lidar)
        directions, sigmas, blind = self._certainty(found, T_map_base)
        share = 1.0
        if self._view is not None:
            share = self._view.share(standing(apply(sweep.T_base_lidar, source)), T_map_base)
        reason = ""
        if found.overlap < c.min_overlap:
            reason = f"the sweep fits the map at {100 * found.overlap:.0f} % of its points only"
        elif found.sigma > c.max_residual:
            reason = f"the sweep is {found.sigma:.2f} m off the map's surfaces"
        elif share < c.min_standing:
            reason = f"of what stands around the car {100 * share:.0f} % is on the map"
        elif not found.converged:
            reason = "the scan match did not converge"
        return PoseFix(
            sweep.stamp_ns, T_map_base, directions, sigmas, blind, found.overlap, found.sigma, not reason, reason, share
        )

    def _certainty(self, found: Match, T_map_base: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        c = self._config
        # the information is about the sensor: move it to base_link, then to comparable units
        arm = found.T_map_lidar[:3, 3] - T_map_base[:3, 3]
        shift = np.eye(6)
        shift[:3, 3:] = -_cross(arm)
        scale = np.diag([1.0, 1.0, 1.0, 1.0 / _LEVER, 1.0 / _LEVER, 1.0 / _LEVER])
        information = scale @ shift.T @ found.information @ shift @ scale
        values, vectors = np.linalg.eigh(0.5 * (information + information.T))
        noise = max(found.sigma, 0.02)
        floor = math.hypot(c.sigma_floor, 0.0)
        keep, sigmas, blind = [], [], []
        for value, vector in zip(values, vectors.T, strict=True):
            sigma = math.sqrt(c.correlation * noise**2 / max(float(value), 1e-9))
            if sigma > c.degenerate_sigma:
                length = float(np.linalg.norm(vector[:3]))
                if length > 0.5:
                    blind.append(vector[:3] / length)
                continue
            turning = float(np.linalg.norm(vector[3:]))
            least = math.hypot(floor * math.sqrt(max(0.0, 1.0 - turning**2)), c.yaw_floor * _LEVER * turning)
            keep.append(np.concatenate([vector[:3], vector[3:] * _LEVER]))
            sigmas.append(math.hypot(sigma, least))
        return np.array(keep).reshape(-1, 6), np.array(sigmas), np.array(blind).reshape(-1, 3)


def warm_up() -> None:
    """Compile everything, on made-up points."""
    side = np.linspace(-5.0, 5.0, 40)
    floor = np.stack([*(a.ravel() for a in np.meshgrid(side, side)), np.zeros(1600)], axis=1)
    scratch = PointMap(1.0, 20, 0.2, 0.8, 1 << 8)
    scratch.insert(floor)
    match(thin(floor, 0.5), scratch, np.eye(4), 1.0, 0.1, 3)
    records = np.zeros(10, [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4")])
    thin_sweep(records, 1.0, 10.0, 1.0)
    global_search.warm_up()


def no_match(stamp_ns: int, reason: str, frame: str = "map") -> PoseFix:
    """A fix that says nothing but why."""
    return _none(stamp_ns, np.eye(4), reason, frame)


def _none(stamp_ns: int, T_guess: FloatArray, reason: str, frame: str = "map") -> PoseFix:
    empty = np.zeros((0, 6))
    return PoseFix(
        stamp_ns, T_guess, empty, np.zeros(0), np.zeros((0, 3)), 0.0, math.inf, False, reason, math.nan, frame
    )


def _cross(v: FloatArray) -> FloatArray:
    return np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])

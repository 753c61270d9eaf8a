"""Sound messages that say how little is known: what that permits. A speed from which the car can stop within what it
knows, or no drive at all."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from robotaxi.params import param
from robotaxi.types import CameraView, EgoState, Permit, Sight

_FRONT_DEG, _AHEAD_DEG = 90, 10  # off straight ahead: where cars come from; where the car goes
ODD = "odd"  # stands for a part where nothing is broken, but the operational design domain has been left
_TOLD_TO = 5.0  # m, so that the sentence does not change with every sweep


@dataclass(frozen=True)
class DoubtConfig:
    """From when on the car drives slowly, and from when on not at all."""

    position_caution: float = param(0.5, lo=0.05, hi=3.0, unit="m", doc="position sigma from which speed is capped")
    position_lost: float = param(1.2, lo=0.1, hi=10.0, unit="m", doc="position sigma from which the car stops")
    cautious_speed: float = param(6.0, lo=1.0, hi=20.0, unit="m/s", doc="cap while the position is known badly")
    sight_needed: float = param(30.0, lo=5.0, hi=100.0, unit="m", doc="the road seen less far than this caps the speed")
    sight_reaction: float = param(1.0, lo=0.1, hi=5.0, unit="s", doc="until the car brakes for what comes into view")
    sight_deceleration: float = param(2.5, lo=0.5, hi=8.0, unit="m/s^2", doc="with which it stops within what it sees")
    sight_steps: int = param(3, lo=1, hi=50, doc="so many bad views in a row count, ten a second")


@dataclass(frozen=True)
class Doubt:
    """``part``: whose contents; ``spoils``: the topic that counts as bad because of it, "" for none; ``permit``: what
    it permits where no topic is bad."""

    part: str
    words: str
    speed_cap: float = math.inf
    spoils: str = ""
    permit: Permit = Permit.DRIVE

    @property
    def sentence(self) -> str:
        return f"{self.words}." if self.part == ODD else f"{self.part}: {self.words}."


def doubt_of_position(state: EgoState, config: DoubtConfig) -> Doubt | None:
    """None where the position is known well enough."""
    sigma = _position_sigma(state)
    if sigma <= config.position_caution:
        return None
    spoils = "localization/kinematic_state" if sigma > config.position_lost else ""
    return Doubt("localization", f"position known to {sigma:.1f} m only", config.cautious_speed, spoils)


def doubt_of_sight(sight: Sight, config: DoubtConfig) -> Doubt | None:
    """None where the lidar sees far enough all around."""
    blind = [abs((angle + 180) % 360 - 180) for angle in sight.blind_deg]
    part = "lidar_perception"
    if blind and min(blind) <= _AHEAD_DEG:
        return Doubt(part, sight.reason or "the lidar is blind straight ahead", 0.0, "perception/objects")
    caps = []
    if sight.road_range < config.sight_needed:
        told = _TOLD_TO * round(sight.road_range / _TOLD_TO)
        caps.append((speed_within(sight.road_range, config), f"the road is seen for about {told:.0f} m only"))
    if blind and min(blind) <= _FRONT_DEG:
        caps.append((config.cautious_speed, f"the lidar is blind in {len(blind)} directions"))
    if not caps:
        return None
    cap, words = min(caps)
    return Doubt(part, sight.reason or words, cap)


def doubt_of_view(view: CameraView) -> Doubt | None:
    """None where the camera gives a picture: without one no traffic light is seen."""
    return Doubt("camera_perception", view.reason, spoils="perception/traffic_lights") if view.reason else None


def speed_within(distance: float, config: DoubtConfig) -> float:
    """The speed (m/s) from which the car stops within ``distance`` m, reaction included."""
    lost = config.sight_deceleration * config.sight_reaction
    return math.sqrt(lost * lost + 2.0 * config.sight_deceleration * max(distance, 0.0)) - lost


def _position_sigma(state: EgoState) -> float:
    """Largest standard deviation of the position in any direction (m); 0 where none is stated."""
    block = np.asarray(state.covariance, dtype=np.float64)[:2, :2]
    if not np.isfinite(block).all():
        return math.inf
    return math.sqrt(max(float(np.linalg.eigvalsh(0.5 * (block + block.T))[-1]), 0.0))

"""Parameters of the tracker."""

from __future__ import annotations

import math
from dataclasses import dataclass

from robotaxi.params import param
from robotaxi.perception.lidar.full_boxes import FullSizeConfig, packed
from robotaxi.types import RecordArray


@dataclass(frozen=True)
class TrackerConfig(FullSizeConfig):
    """Tracker."""

    confirm_hits: int = param(3, lo=1, hi=20, doc="detections until a track is published")
    max_coast: float = param(1.0, lo=0.1, hi=5.0, unit="s", doc="an unseen confirmed track lives on this long")
    tentative_coast: float = param(0.15, lo=0.0, hi=2.0, unit="s", doc="an unseen unconfirmed track lives this long")
    max_step: float = param(0.5, lo=0.1, hi=5.0, unit="s", doc="after a longer gap between sweeps all starts anew")
    gate: float = param(4.0, lo=1.0, hi=10.0, doc="association gate, standard deviations")
    gate_distance: float = param(4.0, lo=0.5, hi=20.0, unit="m", doc="association gate, absolute")
    sigma_position: float = param(0.07, lo=0.005, hi=1.0, unit="m", doc="noise of a visible edge")
    sigma_per_m: float = param(0.004, lo=0.0, hi=0.1, doc="its growth with range (beam spacing, heading error)")
    sigma_sight_per_m: float = param(
        0.008, lo=0.0, hi=0.1, doc="further growth along the line of sight (which ring meets which part of a body)"
    )
    beam_spacing_deg: float = param(0.2, lo=0.01, hi=2.0, unit="deg", doc="between neighbouring columns of the lidar")
    sigma_grazing: float = param(0.5, lo=0.0, hi=2.0, doc="noise for each beam spacing on a face seen edge-on")
    sigma_slack: float = param(0.6, lo=0.0, hi=2.0, doc="noise for each metre of slack when alongside")
    sigma_whole: float = param(0.3, lo=0.01, hi=3.0, unit="m", doc="noise of the centre of a box of the second look")
    look_doubt: float = param(2.0, lo=0.1, hi=20.0, doc="weight of the second look's doubt against its belief")
    look_doubt_small: float = param(3.0, lo=0.1, hi=20.0, doc="the same of people and two-wheelers: posts look alike")
    look_prior: float = param(2.0, lo=0.0, hi=20.0, doc="belief of the second look that a new track must outweigh")
    look_miss_log_odds: float = param(
        0.7, lo=0.05, hi=5.0, doc="miss_log_odds of what the second look judged: it misses little"
    )
    look_misfit: float = param(0.15, lo=0.0, hi=2.0, doc="evidence lost for each unit of squared misfit of a whole box")
    sigma_birth_speed: float = param(8.0, lo=0.5, hi=40.0, unit="m/s", doc="speed of a new track, one deviation")
    sigma_vehicle: float = param(3.5, lo=0.1, hi=20.0, unit="m/s^2", doc="acceleration noise of vehicles")
    sigma_person: float = param(1.5, lo=0.1, hi=20.0, unit="m/s^2", doc="acceleration noise of pedestrians")
    hit_log_odds: float = param(0.8, lo=0.05, hi=5.0, doc="evidence of one detection for existence")
    miss_log_odds: float = param(0.45, lo=0.05, hi=5.0, doc="evidence of one missed sweep against it")
    max_log_odds: float = param(4.0, lo=1.0, hi=10.0, doc="evidence saturates here")
    least_existence: float = param(0.4, lo=0.0, hi=0.9, doc="unseen tracks are held back once they exist less likely")
    moved_distance: float = param(0.5, lo=0.1, hi=5.0, unit="m", doc="a track this far from its place has moved")
    moved_speed: float = param(0.5, lo=0.05, hi=5.0, unit="m/s", doc="and must be as fast as this")
    moved_hits: int = param(3, lo=1, hi=10, doc="in so many detections in a row")
    sure_speed: float = param(4.0, lo=0.5, hi=20.0, unit="m/s", doc="detections of tracks faster than this count twice")
    false_start: float = param(1.0, lo=0.1, hi=10.0, unit="s", doc="back at rest in its place for this long: not moved")
    rest_speed: float = param(0.4, lo=0.0, hi=2.0, unit="m/s", doc="slower tracks are drawn towards rest")
    heading_speed: float = param(2.0, lo=0.3, hi=10.0, unit="m/s", doc="faster tracks head where they go")
    heading_gain: float = param(0.25, lo=0.0, hi=1.0, doc="share of a whole box's heading that is taken over")
    sigma_side: float = param(0.25, lo=0.02, hi=2.0, unit="m", doc="returns stray so far from the side they are on")
    sigma_turn_deg: float = param(3.0, lo=0.1, hi=30.0, unit="deg", doc="heading change from sweep to sweep, moving")
    sigma_stand_deg: float = param(0.05, lo=0.001, hi=10.0, unit="deg", doc="the same of what stands")


def tracker_numbers(config: TrackerConfig) -> RecordArray:
    """The parameters as a record (1,) for the compiled kernels, and what is derived from them."""
    return packed(
        config,
        TrackerConfig,
        beam_spacing=math.radians(config.beam_spacing_deg),
        sigma_turn=math.radians(config.sigma_turn_deg),
        sigma_stand=math.radians(config.sigma_stand_deg),
    )

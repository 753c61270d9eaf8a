"""Where the car is: error-state Kalman filter, scan matching, map making, integrity monitoring."""

from robotaxi.localization.config import LocalizationConfig
from robotaxi.localization.localizer import Localization, Localizer
from robotaxi.localization.map_match import MatchConfig
from robotaxi.localization.relocalizer import RoughPose

__all__ = ["Localization", "LocalizationConfig", "Localizer", "MatchConfig", "RoughPose"]

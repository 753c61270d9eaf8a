"""Where the car is: error-state Kalman filter with integrity monitoring."""

from robotaxi.localization.config import LocalizationConfig
from robotaxi.localization.localizer import Localization, Localizer

__all__ = ["Localization", "LocalizationConfig", "Localizer"]

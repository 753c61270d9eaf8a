"""How much later or earlier than calibrated the tyres follow, learned from commands and reported angles.

The reported angle is compared with the calibrated actuator run on the same commands: a time shift shows as an
error in proportion to the steering rate, a crooked sensor as a constant one. Both by least squares with
forgetting; without excitation the shift stays near zero.
"""

from __future__ import annotations

import math

from robotaxi.control.config import ControlConfig

_ANGLE_NOISE = 1e-3  # rad, sigma of a reported angle
_SHIFT_PRIOR = 0.03  # s, sigma of the shift before anything was seen


class SteeringDelay:
    """Feed `see` once a step; ``shift``: seconds to add to the calibrated dead time."""

    def __init__(self, config: ControlConfig) -> None:
        self._config = config
        self.shift = 0.0
        self._n = self._rate = self._error = self._rate2 = self._product = 0.0

    def see(self, rate: float, error: float, dt: float) -> None:
        """``rate``: of the modelled angle, rad/s; ``error``: reported minus modelled angle, rad."""
        keep = math.exp(-dt / self._config.delay_memory)
        self._n = keep * self._n + 1.0
        self._rate = keep * self._rate + rate
        self._error = keep * self._error + error
        self._rate2 = keep * self._rate2 + rate * rate
        self._product = keep * self._product + rate * error
        spread = self._rate2 - self._rate * self._rate / self._n
        together = self._product - self._rate * self._error / self._n
        limit = self._config.max_delay_shift
        shift = -together / (max(spread, 0.0) + (_ANGLE_NOISE / _SHIFT_PRIOR) ** 2)
        self.shift = min(max(shift, -limit), limit)

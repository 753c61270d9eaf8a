"""How far and how fast the tyres may be turned at a speed: by the drive, and by what the car and its riders can bear.

They lie within what the command gate lets through. A controller that does not know of them believes in commands that
never reach the tyres, asks for more and lets go too late: at 12 m/s it never settled on a path 1.5 m beside the car.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from robotaxi.control.config import ControlConfig
from robotaxi.types import FloatArray, VehicleParams


class SteeringLimits:
    """Of one vehicle."""

    def __init__(self, config: ControlConfig, vehicle: VehicleParams) -> None:
        self._of = np.array(
            [
                vehicle.max_steering,
                vehicle.max_steering_rate,
                vehicle.wheelbase,
                config.max_lateral_acceleration,
                config.max_lateral_jerk,
            ]
        )

    def over(self, speeds: FloatArray, last: float, times: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Largest angle (n,) and largest change (n,), both rad, of each of ``times`` (n,) at ``speeds`` (n,); ``last``
        is the angle before the first. Where that is larger than allowed it need not come down faster than it may."""
        angles, steps = _over(speeds, last, times, self._of)
        return angles, steps

    def clamp(self, angle: float, last: float, speed: float, time: float) -> float:
        """The angle as near to the one asked for as is allowed ``time`` seconds after ``last``."""
        angles, steps = _over(np.array([speed]), last, np.array([time]), self._of)
        angle = min(max(angle, last - steps[0]), last + steps[0])
        return float(min(max(angle, -angles[0]), angles[0]))


@njit(cache=True)  # type: ignore[untyped-decorator]
def _over(speeds: FloatArray, last: float, times: FloatArray, of: FloatArray) -> tuple[FloatArray, FloatArray]:
    n = len(speeds)
    angles, steps = np.empty(n), np.empty(n)
    left = abs(last)
    for k in range(n):
        squared = max(speeds[k] * speeds[k], 1e-6)
        steps[k] = min(of[1], of[4] * of[2] * math.cos(last) ** 2 / squared) * times[k]
        left -= steps[k]
        angles[k] = min(of[0], max(math.atan(of[2] * of[3] / squared), left))
    return angles, steps

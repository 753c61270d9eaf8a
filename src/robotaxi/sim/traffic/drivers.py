"""How one driver accelerates: the Intelligent Driver Model, and estimates of times and distances."""

from __future__ import annotations

import math

_EXPONENT = 4.0  # of the free-road term, as published
_SMALLEST_GAP = 0.1  # m, keeps the interaction term finite
_STOP_HEADWAY = 0.8  # s; a line does not move, so little time gap to it is needed


def follow(
    speed: float,
    desired: float,
    gap: float,
    leader_speed: float,
    headway: float,
    standstill_gap: float,
    acceleration: float,
    deceleration: float,
    hard: float,
) -> float:
    """IDM acceleration (Treiber, Hennecke, Helbing 2000) in m/s^2, at least ``-hard``.

    ``gap`` bumper to bumper, infinite for a free road. Above the desired speed the free-road term is
    held at comfortable braking, as in the Improved IDM (Treiber and Kesting 2013, chapter 11).
    """
    free = acceleration * (1.0 - (speed / max(desired, 0.1)) ** _EXPONENT)
    free = max(free, -deceleration)
    if gap == math.inf:
        return free
    wanted = speed * headway + speed * (speed - leader_speed) / (2.0 * math.sqrt(acceleration * deceleration))
    ratio = (standstill_gap + max(wanted, 0.0)) / max(gap, _SMALLEST_GAP)
    return max(free - acceleration * ratio * ratio, -hard)


def stop_in(
    speed: float,
    desired: float,
    distance: float,
    standstill_gap: float,
    acceleration: float,
    deceleration: float,
    hard: float,
) -> float:
    """Acceleration that brings the front bumper to rest after ``distance`` metres; negative: overshot."""
    return follow(
        speed, desired, distance + standstill_gap, 0.0, _STOP_HEADWAY, standstill_gap, acceleration, deceleration, hard
    )


def time_to_cover(distance: float, speed: float, top_speed: float, acceleration: float) -> float:
    """Seconds to drive ``distance`` when accelerating from ``speed`` up to ``top_speed``."""
    if distance <= 0.0:
        return 0.0
    top = max(top_speed, speed, 0.1)
    ramp = (top * top - speed * speed) / (2.0 * acceleration)
    if distance <= ramp:
        return (math.sqrt(speed * speed + 2.0 * acceleration * distance) - speed) / acceleration
    return (top - speed) / acceleration + (distance - ramp) / top

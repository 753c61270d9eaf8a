"""The speed profile: a quadratic program over arc length, speed, acceleration and jerk.

It follows the rollout's position, speed and acceleration, limits acceleration and jerk, and keeps
behind stop points and leads. `stage_qp` solves it, stage by stage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.planning.config import PlannerConfig
from robotaxi.planning.motion.stage_qp import solve_stages

FloatArray = NDArray[np.floating[Any]]

FINE_STEPS, FINE_STEP = 20, 0.1  # s
COARSE_STEP = 0.2  # s
SPEED_WEIGHT = 1.0
POSITION_WEIGHT = 0.05
ACCELERATION_WEIGHT = 0.25
JERK_WEIGHT = 0.35
EMERGENCY_JERK_WEIGHT = 0.05  # room that is not braked in now is braked for harder later
OVERRUN_WEIGHT = 2.0e3  # per m beyond a stop or lead limit
OVERSPEED_WEIGHT = 2.0e2  # per m/s beyond the allowed speed
LINEAR_SHARE = 0.2  # of the weights above, as linear cost: makes small overruns not worth while
REACH = 1.0e-4  # m/s^2 of room between an acceleration that jerk can just reach and its bound
LEAD_HEADWAY = 0.6  # s behind a lead that is kept where it can be


@dataclass(frozen=True)
class Profile:
    """Solution at the times of the grid, (N+1,) each; ``jerk`` (N,)."""

    times: FloatArray
    s: FloatArray
    speed: FloatArray
    acceleration: FloatArray
    jerk: FloatArray


class SpeedQp:
    """Call `solve` once a cycle."""

    def __init__(self, config: PlannerConfig) -> None:
        self.config = config
        coarse = round((config.horizon - FINE_STEPS * FINE_STEP) / COARSE_STEP)
        self.steps = np.array([FINE_STEP] * FINE_STEPS + [COARSE_STEP] * coarse)
        self.times = np.concatenate([[0.0], np.cumsum(self.steps)])
        self._comfort, self._emergency = _costs(JERK_WEIGHT), _costs(EMERGENCY_JERK_WEIGHT)

    def solve(
        self,
        speed: float,
        acceleration: float,
        reference_s: FloatArray,
        reference_speed: FloatArray,
        stop: float,
        lead: FloatArray,
        allowed: FloatArray,
        braking: float,
    ) -> Profile | None:
        """Profile from (0, ``speed``, ``acceleration``), all arc lengths from the car.

        ``reference_s, reference_speed, allowed`` (N,) and ``lead`` (N,) at the times 1..N;
        ``stop``: arc length not to pass; ``braking``: deceleration that the situation asks for.
        None when there is no profile within the bounds.
        """
        config = self.config
        hard, jerk = braking > 1.5 * config.deceleration, jerk_for(braking, config)
        floor = -min(max(1.25 * braking, config.deceleration + 0.7), config.max_deceleration)
        costs = self._comfort
        if braking > config.max_deceleration:
            costs, floor = self._emergency, -config.emergency_deceleration
        wanted, limits = _problem(
            self.steps, self.times[1:], speed, acceleration, reference_s, reference_speed, stop, lead, allowed,
            float(floor), config.acceleration, jerk,
        )  # fmt: skip
        solved, out = solve_stages(
            self.steps, costs, LEAD_HEADWAY, np.array([0.0, speed, acceleration]), wanted, limits,
            np.array([jerk, max(jerk, 2.0) if hard else jerk]),
        )  # fmt: skip
        if not solved:
            return None
        s, v, a = (
            np.concatenate([[first], row]) for first, row in zip((0.0, speed, acceleration), out[:3], strict=True)
        )
        return Profile(self.times, s, v, a, out[3])


@njit(cache=True)
def _problem(  # type: ignore[no-untyped-def]
    steps, times, speed, acceleration, reference_s, reference_speed, stop, lead, allowed, floor, most, jerk
):  # fmt: skip
    """What is wanted and the limits, as `solve_stages` takes them."""
    n = steps.shape[0]
    wanted, limits = np.empty((3, n)), np.empty((5, n))
    before = speed
    for k in range(n):
        wanted[0, k], wanted[1, k] = reference_s[k], reference_speed[k]
        wanted[2, k] = min(max((reference_speed[k] - before) / steps[k], floor), most)
        before = reference_speed[k]
        limits[0, k], limits[1, k], limits[2, k] = stop, lead[k], allowed[k]
        limits[3, k] = min(floor, acceleration + jerk * times[k] - REACH)
        limits[4, k] = max(most, acceleration - jerk * times[k] + REACH)
    return wanted, limits


def _costs(jerk_weight: float) -> FloatArray:
    """As `solve_stages` takes them."""
    return np.array(
        [
            POSITION_WEIGHT, SPEED_WEIGHT, ACCELERATION_WEIGHT, jerk_weight, OVERRUN_WEIGHT, OVERSPEED_WEIGHT,
            LINEAR_SHARE * OVERRUN_WEIGHT, LINEAR_SHARE * OVERSPEED_WEIGHT,
        ]
    )  # fmt: skip


def jerk_for(braking: float, config: PlannerConfig) -> float:
    """Jerk limit where ``braking`` (m/s^2) is needed: normal, hard, or an emergency."""
    if braking > config.max_deceleration:
        return config.emergency_jerk
    return config.max_jerk if braking > 1.5 * config.deceleration else config.jerk

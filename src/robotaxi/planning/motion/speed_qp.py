"""The speed profile: a quadratic program over arc length, speed, acceleration and jerk.

It follows the rollout's position, speed and acceleration, limits acceleration and jerk, and keeps
behind stop points and leads. The sparsity never changes, so the solver is set up once; a cycle
writes bounds and right-hand sides.
Solver: PIQP (Schwan et al., 2023), whose result does not depend on wall time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import piqp
from numpy.typing import NDArray
from scipy import sparse

from robotaxi.planning.config import PlannerConfig

FloatArray = NDArray[np.floating[Any]]

FINE_STEPS, FINE_STEP = 20, 0.1  # s
COARSE_STEP = 0.2  # s
FAR = 1.0e5  # m, stands for no limit
SPEED_WEIGHT = 1.0
POSITION_WEIGHT = 0.05
ACCELERATION_WEIGHT = 0.25
JERK_WEIGHT = 0.35
EMERGENCY_JERK_WEIGHT = 0.05  # room that is not braked in now is braked for harder later
OVERRUN_WEIGHT = 2.0e3  # per m beyond a stop or lead limit
OVERSPEED_WEIGHT = 2.0e2  # per m/s beyond the allowed speed
LINEAR_SHARE = 0.2  # of the weights above, as linear cost: makes small overruns not worth while
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
        n = self.steps.size
        self._n = n
        # variables: s (n), v (n), a (n) at nodes 1..n, jerk (n) of each step, overrun (n), overspeed (n)
        self._offsets = tuple(i * n for i in range(6))
        self._comfort, self._emergency = self._set_up(JERK_WEIGHT), self._set_up(EMERGENCY_JERK_WEIGHT)

    def _set_up(self, jerk_weight: float) -> piqp.SparseSolver:
        n = self._n
        o_s, o_v, o_a, o_j, o_e, o_f = self._offsets
        dt = self.steps
        weights = np.concatenate(
            [
                POSITION_WEIGHT * dt, SPEED_WEIGHT * dt, ACCELERATION_WEIGHT * dt, jerk_weight * dt,
                OVERRUN_WEIGHT * np.ones(n), OVERSPEED_WEIGHT * np.ones(n),
            ]
        )  # fmt: skip
        self._weights = weights
        rows, cols, values = [], [], []

        def put(row: int, col: int, value: float) -> None:
            rows.append(row)
            cols.append(col)
            values.append(value)

        for k in range(n):
            h = float(dt[k])
            for row, (column, jerk_part) in enumerate(((o_s, h**3 / 6.0), (o_v, h**2 / 2.0), (o_a, h))):
                put(row * n + k, column + k, -1.0)
                put(row * n + k, o_j + k, jerk_part)
                if k > 0:
                    put(row * n + k, column + k - 1, 1.0)
            if k > 0:
                put(k, o_v + k - 1, h)
                put(k, o_a + k - 1, h * h / 2.0)
                put(n + k, o_a + k - 1, h)
        dynamics = sparse.csc_matrix((values, (rows, cols)), shape=(3 * n, 6 * n))
        rows, cols, values = [], [], []
        for k in range(n):
            put(k, o_s + k, 1.0)  # stop: s - overrun <= limit
            put(k, o_e + k, -1.0)
            put(n + k, o_s + k, 1.0)  # lead: s + headway v - overrun <= limit
            put(n + k, o_v + k, LEAD_HEADWAY)
            put(n + k, o_e + k, -1.0)
            put(2 * n + k, o_v + k, 1.0)  # speed: v - overspeed <= limit
            put(2 * n + k, o_f + k, -1.0)
        limits = sparse.csc_matrix((values, (rows, cols)), shape=(3 * n, 6 * n))
        self._linear = np.zeros(6 * n)
        self._linear[o_e : o_e + n] = LINEAR_SHARE * OVERRUN_WEIGHT
        self._linear[o_f : o_f + n] = LINEAR_SHARE * OVERSPEED_WEIGHT
        self._lower = np.full(6 * n, -FAR)
        self._lower[o_v : o_v + n] = 0.0
        self._lower[o_e : o_f + n] = 0.0
        self._upper = np.full(6 * n, FAR)
        solver = piqp.SparseSolver()
        solver.settings.eps_abs = 1e-4
        solver.settings.eps_rel = 1e-5
        solver.settings.max_iter = 60
        solver.setup(
            sparse.csc_matrix(sparse.diags(weights)), self._linear, dynamics, np.zeros(3 * n), limits,
            np.full(3 * n, -np.inf), np.full(3 * n, FAR), self._lower, self._upper,
        )  # fmt: skip
        return solver

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
        None when the solver finds nothing.
        """
        n, config = self._n, self.config
        o_s, o_v, o_a, o_j, _, _ = self._offsets
        hard, jerk = braking > 1.5 * config.deceleration, jerk_for(braking, config)
        floor = -min(max(1.25 * braking, config.deceleration + 0.7), config.max_deceleration)
        solver = self._comfort
        if braking > config.max_deceleration:
            solver, floor = self._emergency, -config.emergency_deceleration
        linear = self._linear.copy()
        linear[o_s : o_s + n] = -self._weights[o_s : o_s + n] * reference_s
        linear[o_v : o_v + n] = -self._weights[o_v : o_v + n] * reference_speed
        wanted = np.diff(np.concatenate([[speed], reference_speed])) / self.steps
        linear[o_a : o_a + n] = -self._weights[o_a : o_a + n] * np.clip(wanted, floor, config.acceleration)
        rest = np.zeros(3 * n)
        h = float(self.steps[0])
        rest[0] = -(h * speed + h * h / 2.0 * acceleration)
        rest[n] = -(speed + h * acceleration)
        rest[2 * n] = -acceleration
        upper_limits = np.concatenate([np.full(n, min(stop, FAR)), np.minimum(lead, FAR), allowed])
        lower, upper = self._lower, self._upper
        lower[o_a : o_a + n] = np.minimum(floor, acceleration + jerk * self.times[1:])
        upper[o_a : o_a + n] = np.maximum(config.acceleration, acceleration - jerk * self.times[1:])
        lower[o_j : o_j + n], upper[o_j : o_j + n] = -jerk, max(jerk, 2.0 if hard else jerk)
        solver.update(c=linear, b=rest, h_u=upper_limits, x_l=lower, x_u=upper)
        status = solver.solve()
        if status not in (piqp.PIQP_SOLVED, piqp.PIQP_MAX_ITER_REACHED):
            return None
        x = np.asarray(solver.result.x)
        if not np.isfinite(x).all() or (status != piqp.PIQP_SOLVED and abs(x).max() > 1e4):
            return None
        s, v, a = (
            np.concatenate([[first], x[o : o + n]]) for first, o in ((0.0, o_s), (speed, o_v), (acceleration, o_a))
        )
        return Profile(self.times, s, v, a, x[o_j : o_j + n])


def jerk_for(braking: float, config: PlannerConfig) -> float:
    """Jerk limit where ``braking`` (m/s^2) is needed: normal, hard, or an emergency."""
    if braking > config.max_deceleration:
        return config.emergency_jerk
    return config.max_jerk if braking > 1.5 * config.deceleration else config.jerk

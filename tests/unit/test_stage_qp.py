"""Speed profiles are the best ones within their bounds, or there are none."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from robotaxi.planning.config import PlannerConfig
from robotaxi.planning.motion.speed_qp import (
    ACCELERATION_WEIGHT,
    JERK_WEIGHT,
    LEAD_HEADWAY,
    LINEAR_SHARE,
    OVERRUN_WEIGHT,
    OVERSPEED_WEIGHT,
    POSITION_WEIGHT,
    REACH,
    SPEED_WEIGHT,
    Profile,
    SpeedQp,
)

CONFIG = PlannerConfig()
QP = SpeedQp(CONFIG)
N = QP.steps.size


def solve(speed, acceleration=0.0, cruise=10.0, stop=np.inf, lead=np.inf, allowed=12.0):
    """(arguments, profile) of a rollout that drives ``cruise``."""
    args = (speed, acceleration, cruise * QP.times[1:], np.full(N, cruise), stop, np.full(N, lead), np.full(N, allowed))
    return args, QP.solve(*args, CONFIG.deceleration)


def cost(args, profile):
    speed, _, reference_s, reference_speed, stop, lead, allowed = args
    s, v, a = profile.s[1:], profile.speed[1:], profile.acceleration[1:]
    wanted = np.clip(np.diff(np.r_[speed, reference_speed]) / QP.steps, -CONFIG.deceleration - 0.7, CONFIG.acceleration)
    over = np.maximum(0.0, np.maximum(s - stop, s + LEAD_HEADWAY * v - lead))
    fast = np.maximum(0.0, v - allowed)
    squares = (POSITION_WEIGHT * (s - reference_s) ** 2 + SPEED_WEIGHT * (v - reference_speed) ** 2
               + ACCELERATION_WEIGHT * (a - wanted) ** 2 + JERK_WEIGHT * profile.jerk**2) @ QP.steps  # fmt: skip
    soft = OVERRUN_WEIGHT * (over**2 / 2 + LINEAR_SHARE * over) + OVERSPEED_WEIGHT * (fast**2 / 2 + LINEAR_SHARE * fast)
    return squares / 2 + soft.sum()


def driven(args, jerk):
    """The profile of these jerks."""
    s, v, a = [0.0], [args[0]], [args[1]]
    for h, j in zip(QP.steps, jerk, strict=True):
        s.append(s[-1] + h * v[-1] + h * h / 2 * a[-1] + h**3 / 6 * j)
        v.append(v[-1] + h * a[-1] + h * h / 2 * j)
        a.append(a[-1] + h * j)
    return Profile(QP.times, np.array(s), np.array(v), np.array(a), jerk)


def kept(profile):
    a, hardest = profile.acceleration[1:], CONFIG.deceleration + 0.7
    bounded = -hardest - 1e-9 < a.min() and a.max() < CONFIG.acceleration + 1e-9
    return bounded and profile.speed.min() > -1e-9 and np.abs(profile.jerk).max() < CONFIG.jerk + 1e-9


@settings(max_examples=60, deadline=None)
@given(st.floats(0.0, 14.0), st.floats(0.0, 14.0), st.floats(0.0, 80.0), st.floats(-5.0, 90.0), st.floats(2.0, 14.0),
       st.integers(0, 99))  # fmt: skip
def test_no_profile_near_it_is_better(speed, cruise, stop, lead, allowed, seed):
    args, profile = solve(speed, cruise=cruise, stop=stop, lead=lead, allowed=allowed)
    assert profile is not None and kept(profile)
    again = driven(args, profile.jerk)
    for name in ("s", "speed", "acceleration"):
        np.testing.assert_allclose(getattr(again, name), getattr(profile, name), atol=1e-7)
    best, rng = cost(args, profile), np.random.default_rng(seed)
    for size in (1e-1, 1e-2, 1e-3):
        for _ in range(20):
            other = driven(args, profile.jerk + size * rng.standard_normal(N) * rng.integers(0, 2, N))
            assert not kept(other) or cost(args, other) > best - 1e-9


def test_braking_that_jerk_cannot_end_before_standstill_has_no_profile():
    assert solve(1.0, acceleration=-2.5)[1] is None


def test_harder_braking_than_allowed_is_let_go_of_as_fast_as_jerk_allows():
    _, profile = solve(12.0, acceleration=-4.0)
    first = QP.times < 0.8
    np.testing.assert_allclose(profile.acceleration[first], -4.0 + CONFIG.jerk * QP.times[first], atol=2.0 * REACH)

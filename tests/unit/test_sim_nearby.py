"""The grid of lane samples answers as looking at every sample would."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from robotaxi.sim.traffic.nearby import Nearby

# also on the edges of cells
_RNG = np.random.default_rng(5)
_POINTS = np.concatenate([_RNG.uniform(-40.0, 60.0, (600, 2)), _RNG.integers(-9, 9, (200, 2)) * 4.0])
_YAW = _RNG.uniform(-4.0, 4.0, len(_POINTS))
_LANE_OF = np.sort(_RNG.integers(0, 25, len(_POINTS)))
_AT = np.concatenate([np.arange((k == _LANE_OF).sum()) * 0.9 for k in range(25)])
NEARBY = Nearby(_POINTS, _YAW, _LANE_OF, _AT)

places = st.floats(-70.0, 90.0)


@settings(deadline=None)
@given(places, places, st.floats(0.0, 30.0))
def test_within(x, y, radius):
    away = np.hypot(_POINTS[:, 0] - x, _POINTS[:, 1] - y)
    found = NEARBY.within(x, y, radius)
    assert (np.diff(found) > 0).all()
    assert set(np.flatnonzero(away < radius - 1e-9)) <= set(found) <= set(np.flatnonzero(away < radius + 1e-9))


@settings(deadline=None)
@given(places, places, st.one_of(st.floats(0.5, 200.0), st.just(math.inf)))
def test_nearest(x, y, limit):
    away = np.hypot(_POINTS[:, 0] - x, _POINTS[:, 1] - y)
    distance, k = NEARBY.nearest(x, y, limit)
    if k < 0:
        assert distance == math.inf and away.min() > limit - 1e-9
    else:
        assert abs(distance - away.min()) < 1e-9 and abs(away[k] - away.min()) < 1e-9


@settings(deadline=None)
@given(places, places, st.floats(-7.0, 7.0), st.floats(0.3, 6.0), st.floats(0.3, 1.5))
def test_under_a_box(x, y, yaw, half_length, half_width):
    dx, dy = _POINTS[:, 0] - x, _POINTS[:, 1] - y
    along, across = math.cos(yaw) * dx + math.sin(yaw) * dy, math.cos(yaw) * dy - math.sin(yaw) * dx
    turn = np.abs(np.sin(_YAW - yaw))
    spare = np.minimum(
        half_length + 1.1 * turn - np.abs(along), half_width + 1.1 * np.sqrt(1.0 - turn**2) - np.abs(across)
    )
    if (np.abs(spare) < 1e-9).any():
        return  # on the edge, rounding decides
    expected = {k: (_AT[(k == _LANE_OF) & (spare > 0)]) for k in set(_LANE_OF[spare > 0].tolist())}
    found = NEARBY.under(x, y, yaw, half_length, half_width, 1.1)
    assert found == {k: (at.min(), at.max()) for k, at in expected.items()}
    assert list(found) == sorted(found)

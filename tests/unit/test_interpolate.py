"""Compiled interpolation gives numpy's bytes."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robotaxi.geometry.interpolate import interpolate, interpolate_all

NUMBER = st.floats(-1e6, 1e6, width=32)
ANY = st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=300, deadline=None)
@given(st.lists(NUMBER, min_size=1, max_size=40), st.data())
def test_the_same_bits_as_numpy(places, data):
    xp = np.sort(np.array(places, float))  # with places that come twice
    fp = data.draw(arrays(float, len(xp), elements=data.draw(st.sampled_from([NUMBER, ANY]))))
    x = np.concatenate([data.draw(arrays(float, 9, elements=NUMBER)), xp, xp + 0.25, [math.nan, math.inf, -math.inf]])
    with np.errstate(all="ignore"):
        expected = np.array([np.interp(value, xp, fp) for value in x])
    assert interpolate_all(x, xp, fp).tobytes() == expected.tobytes()
    assert np.float64(interpolate(x[0], xp, fp)).tobytes() == expected[0].tobytes()

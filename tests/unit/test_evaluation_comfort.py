"""Comfort figures against published values and known motions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import freqz

from robotaxi.evaluation import comfort
from robotaxi.evaluation.ride_log import EgoSeries


def motion(acceleration, rate: float = 50.0, lateral=None) -> EgoSeries:
    a = np.asarray(acceleration, dtype=float)
    t = np.arange(a.size) / rate
    speed = np.cumsum(a) / rate
    zero = np.zeros(a.size)
    return EgoSeries.make(t, np.cumsum(speed) / rate, zero, zero, speed, a, zero if lateral is None else lateral, zero)


# ISO 2631-1:1997 table 3, weighting factors Wd in thirds of octaves; frequencies are 10^(n/10)
@pytest.mark.parametrize(
    ("band", "factor"),
    [(-7, 0.243), (-4, 0.713), (0, 1.011), (3, 0.890), (6, 0.512), (9, 0.253), (12, 0.125), (15, 0.0632)],
)
def test_wd_gain_is_the_published_one(band, factor):
    b, a = comfort.wd_coefficients(800.0)
    _, response = freqz(b, a, worN=[10.0 ** (band / 10.0)], fs=800.0)
    assert abs(response[0]) == pytest.approx(factor, rel=0.015)


def test_wd_needs_a_rate_that_holds_its_band():
    with pytest.raises(ValueError, match="200 samples"):
        comfort.wd_coefficients(50.0)


@pytest.mark.parametrize(("frequency", "gain"), [(1.0, 1.011), (2.0, 0.889), (8.0, 0.253)])
def test_weighted_rms_of_a_sine_sampled_at_50_hz(frequency, gain):
    t = np.arange(6000) / 50.0
    sine = 1.2 * np.sin(2 * np.pi * frequency * t)
    assert comfort.iso2631_rms(motion(sine)) == pytest.approx(1.2 / np.sqrt(2.0) * gain, rel=0.03)


def test_weighted_rms_adds_both_axes_and_ignores_steady_pull():
    t = np.arange(6000) / 50.0
    sine = np.sin(2 * np.pi * t)
    one = comfort.iso2631_rms(motion(sine))
    assert comfort.iso2631_rms(motion(sine, lateral=sine)) == pytest.approx(np.sqrt(2.0) * one, rel=1e-3)
    assert comfort.iso2631_rms(motion(np.full(6000, 1.0))) < 0.01


def test_a_calm_ride_is_within_every_limit():
    t = np.arange(3000) / 50.0
    series = comfort.comfort_series(motion(1.2 * np.sin(2 * np.pi * t / 20.0)))
    assert all(series.within_limits().values())
    assert np.abs(series.lon_accel).max() == pytest.approx(1.2, rel=0.01)
    assert np.abs(series.lon_jerk).max() == pytest.approx(1.2 * 2 * np.pi / 20.0, rel=0.05)


def test_an_emergency_stop_is_not():
    a = np.concatenate([np.full(250, 2.0), np.full(100, -7.0), np.zeros(100)])
    limits = comfort.comfort_series(motion(a)).within_limits()
    assert not limits["lon_accel"] and not limits["lon_jerk"] and limits["lat_accel"] and limits["yaw_rate"]


def test_yaw_motion_comes_from_the_heading():
    t = np.arange(1500) / 50.0
    yaw = 0.8 * np.sin(2 * np.pi * t / 10.0)
    zero = np.zeros(t.size)
    series = comfort.comfort_series(EgoSeries.make(t, zero, zero, yaw, zero, zero, zero))
    assert np.abs(series.yaw_rate[8:-8]).max() == pytest.approx(0.8 * 2 * np.pi / 10.0, rel=0.05)
    assert np.abs(series.yaw_accel[8:-8]).max() == pytest.approx(0.8 * (2 * np.pi / 10.0) ** 2, rel=0.05)


def test_missing_accelerations_are_derived_from_the_motion():
    t = np.arange(500) / 50.0
    yaw = 0.1 * t
    bare = EgoSeries.make(t, t, t, yaw, 2.0 + 1.5 * t)
    lon, lat = comfort.accelerations(bare)
    assert lon == pytest.approx(np.full(500, 1.5)) and lat == pytest.approx(0.1 * (2.0 + 1.5 * t))


@pytest.mark.parametrize("count", [0, 1, 2, 30])
def test_a_ride_too_short_to_judge(count):
    series = comfort.comfort_series(motion(np.zeros(count)))
    assert series.t.size == 0 and all(series.within_limits().values())
    assert comfort.iso2631_rms(motion(np.zeros(count))) == 0.0

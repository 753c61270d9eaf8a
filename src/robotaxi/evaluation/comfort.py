"""How the ride feels: nuPlan's comfort bounds and ISO 2631-1 frequency-weighted acceleration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import bilinear, lfilter, lfilter_zi, resample_poly, savgol_filter

from robotaxi.evaluation.ride_log import EgoSeries
from robotaxi.types import FloatArray

# nuPlan closed-loop metrics, "ego_is_comfortable": bounds from expert drives
# (Caesar et al., "NuPlan: A closed-loop ML-based planning benchmark", 2021; metric description, comfort)
MIN_LON_ACCEL = -4.05  # m/s^2
MAX_LON_ACCEL = 2.40  # m/s^2
MAX_LAT_ACCEL = 4.89  # m/s^2, either side
MAX_JERK = 8.37  # m/s^3, magnitude
MAX_LON_JERK = 4.13  # m/s^3, either way
MAX_YAW_RATE = 0.95  # rad/s, either way
MAX_YAW_ACCEL = 1.93  # rad/s^2, either way

# nuPlan evaluates at 10 Hz with these Savitzky-Golay windows (samples) and orders
_NUPLAN_RATE = 10.0  # Hz
_ACCEL_WINDOW, _ACCEL_ORDER = 8, 2
_DERIVATIVE_WINDOW, _DERIVATIVE_ORDER = 15, 2
_YAW_ACCEL_ORDER = 3

# ISO 2631-1:1997 table A.1, weighting Wd (horizontal, seated): band limits and transition
WD_HIGH_PASS = 0.4  # Hz, f1
WD_LOW_PASS = 100.0  # Hz, f2
WD_TRANSITION = 2.0  # Hz, f3 = f4
WD_Q4 = 0.63
# the filter needs room above its 100 Hz edge; at this rate the bilinear transform is within 1 % up to 16 Hz
_WEIGHTING_RATE = 800.0  # Hz


@dataclass(frozen=True)
class ComfortSeries:
    """Smoothed as nuPlan does, at 10 Hz, each (N,)."""

    t: FloatArray
    lon_accel: FloatArray
    lat_accel: FloatArray
    jerk: FloatArray
    lon_jerk: FloatArray
    yaw_rate: FloatArray
    yaw_accel: FloatArray

    def within_limits(self) -> dict[str, bool]:
        """Each of nuPlan's bounds by name."""
        return {
            "lon_accel": bool(np.all((self.lon_accel > MIN_LON_ACCEL) & (self.lon_accel < MAX_LON_ACCEL))),
            "lat_accel": bool(np.all(np.abs(self.lat_accel) < MAX_LAT_ACCEL)),
            "jerk": bool(np.all(np.abs(self.jerk) < MAX_JERK)),
            "lon_jerk": bool(np.all(np.abs(self.lon_jerk) < MAX_LON_JERK)),
            "yaw_rate": bool(np.all(np.abs(self.yaw_rate) < MAX_YAW_RATE)),
            "yaw_accel": bool(np.all(np.abs(self.yaw_accel) < MAX_YAW_ACCEL)),
        }


def accelerations(motion: EgoSeries) -> tuple[FloatArray, FloatArray]:
    """Longitudinal and lateral acceleration (N,), from the motion where the series has none."""
    if len(motion) < 2:
        return np.zeros(len(motion)), np.zeros(len(motion))
    lon, lat = motion.acceleration, motion.lateral_acceleration
    if not np.all(np.isfinite(lon)):
        lon = np.gradient(motion.speed, motion.t)
    if not np.all(np.isfinite(lat)):
        rate = motion.yaw_rate
        if not np.all(np.isfinite(rate)):
            rate = np.gradient(np.unwrap(motion.yaw), motion.t)
        lat = motion.speed * rate
    return lon, lat


def comfort_series(motion: EgoSeries) -> ComfortSeries:
    """Accelerations, jerks and yaw motion by nuPlan's method. Rides under 1.5 s give empty series."""
    count = int(np.floor((motion.t[-1] - motion.t[0]) * _NUPLAN_RATE)) + 1 if len(motion) else 0
    if count < _DERIVATIVE_WINDOW:
        return ComfortSeries(*(np.zeros(0),) * 7)
    dt = 1.0 / _NUPLAN_RATE
    t = motion.t[0] + dt * np.arange(count)
    lon, lat = (np.interp(t, motion.t, a) for a in accelerations(motion))
    yaw = np.interp(t, motion.t, np.unwrap(motion.yaw))

    def derivative(values: FloatArray, order: int = 1, degree: int = _DERIVATIVE_ORDER) -> FloatArray:
        return savgol_filter(values, _DERIVATIVE_WINDOW, degree, deriv=order, delta=dt)

    return ComfortSeries(
        t=t,
        lon_accel=savgol_filter(lon, _ACCEL_WINDOW, _ACCEL_ORDER),
        lat_accel=savgol_filter(lat, _ACCEL_WINDOW, _ACCEL_ORDER),
        jerk=derivative(np.hypot(lon, lat)),
        lon_jerk=derivative(lon),
        yaw_rate=derivative(yaw),
        yaw_accel=derivative(yaw, 2, _YAW_ACCEL_ORDER),
    )


def wd_coefficients(rate: float) -> tuple[FloatArray, FloatArray]:
    """Digital Wd filter (b, a) at ``rate`` hertz: ISO 2631-1:1997 annex A by the bilinear transform.

    ``H(p) = Hh(p) Hl(p) Ht(p)``: Butterworth high-pass f1 and low-pass f2 of second order, and the
    acceleration-velocity transition ``(1 + p/w3) / (1 + p/(Q4 w4) + (p/w4)^2)``.
    """
    if rate <= 2.0 * WD_LOW_PASS:
        raise ValueError(f"Wd needs more than {2.0 * WD_LOW_PASS:g} samples per second, not {rate:g}")
    w1, w2, w3 = (2.0 * np.pi * f for f in (WD_HIGH_PASS, WD_LOW_PASS, WD_TRANSITION))
    root2 = np.sqrt(2.0)
    high = ([1.0, 0.0, 0.0], [1.0, root2 * w1, w1**2])
    low = ([w2**2], [1.0, root2 * w2, w2**2])
    transition = ([1.0 / w3, 1.0], [1.0 / w3**2, 1.0 / (WD_Q4 * w3), 1.0])
    numerator = np.polymul(np.polymul(high[0], low[0]), transition[0])
    denominator = np.polymul(np.polymul(high[1], low[1]), transition[1])
    return bilinear(numerator, denominator, rate)


def iso2631_rms(motion: EgoSeries) -> float:
    """Wd-weighted RMS of the horizontal acceleration, m/s^2: root of the sum of both axes' squares.

    ISO 2631-1:1997 sections 6.1 and 6.5 with k = 1 for both axes. Below 0.315 it calls a ride "not
    uncomfortable".
    """
    if len(motion) < 2:
        return 0.0
    rate = (len(motion) - 1) / (motion.t[-1] - motion.t[0])
    factor = max(1, round(_WEIGHTING_RATE / rate))
    even = np.linspace(motion.t[0], motion.t[-1], len(motion))
    b, a = wd_coefficients(max(rate * factor, 2.0 * WD_LOW_PASS + 1.0))
    total = 0.0
    for axis in accelerations(motion):
        samples = resample_poly(np.interp(even, motion.t, axis), factor, 1, padtype="line")
        weighted, _ = lfilter(b, a, samples, zi=lfilter_zi(b, a) * samples[0])
        total += float(np.mean(weighted**2))
    return float(np.sqrt(total))

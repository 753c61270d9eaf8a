"""Which readings may be used at all."""

from __future__ import annotations

import math

import numpy as np

from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.localization.config import LocalizationConfig
from robotaxi.types import FloatArray, GnssFix, ImuSample, VehicleReport

NS = 1_000_000_000


def usable_imu(config: LocalizationConfig, imu: ImuSample) -> bool:
    """Three finite numbers each, within what the sensor can measure."""
    force, rate = np.asarray(imu.acceleration), np.asarray(imu.angular_rate)
    if force.shape != (3,) or rate.shape != (3,):
        return False
    (fx, fy, fz), (wx, wy, wz) = force.tolist(), rate.tolist()
    f, w = config.max_specific_force, config.max_angular_rate
    # comparisons with NaN are false, so this refuses NaN and infinity as well
    return -f <= fx <= f and -f <= fy <= f and -f <= fz <= f and -w <= wx <= w and -w <= wy <= w and -w <= wz <= w


def usable_report(config: LocalizationConfig, report: VehicleReport | None, stamp_ns: int) -> VehicleReport | None:
    """The report if it is finite and fresh at ``stamp_ns``."""
    if report is None or not math.isfinite(report.speed) or not math.isfinite(report.steering):
        return None
    return report if abs(stamp_ns - report.stamp_ns) <= config.wheel_timeout * NS else None


def usable_fix(fix: GnssFix) -> bool:
    """Valid, finite and a place on earth."""
    numbers = (fix.latitude_deg, fix.longitude_deg, fix.altitude, *np.asarray(fix.sigma).ravel().tolist())
    return (
        fix.valid
        and len(numbers) == 6
        and all(map(math.isfinite, numbers))
        and abs(fix.latitude_deg) <= 90.0
        and abs(fix.longitude_deg) <= 180.0
        and min(numbers[3:]) >= 0.0
    )


def map_position(frame: LocalFrame, fix: GnssFix) -> FloatArray:
    """(3,) antenna in map."""
    return np.array(frame.to_map(fix.latitude_deg, fix.longitude_deg, fix.altitude))


def fix_sigma(config: LocalizationConfig, fix: GnssFix) -> FloatArray:
    """(3,) the fix's own sigma, at least the configured floor."""
    return np.maximum(np.asarray(fix.sigma, dtype=np.float64).ravel(), config.gnss_sigma_floor)


def heading_sigma(config: LocalizationConfig, imu: ImuSample) -> float:
    """The sample's own sigma where it states one, at least the configured floor."""
    stated = imu.heading_sigma
    return max(config.heading_sigma_floor, stated) if math.isfinite(stated) else config.heading_sigma_floor

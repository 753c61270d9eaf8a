"""How well inertial samples bridge the gaps between satellite fixes: positions held out between those used."""

from __future__ import annotations

from typing import Any

import numpy as np

from robotaxi.evaluation.gnss_imu_files import Recording, RecordingError
from robotaxi.localization.batch_smoother import SmootherConfig, smooth
from robotaxi.localization.config import LocalizationConfig
from robotaxi.localization.eskf import initial_filter
from robotaxi.types import FloatArray

_GNSS_SIGMA = 0.07  # m, RTK-grade positions as gtsam's own example takes them
_SIDEWAYS_SIGMA = 0.5  # m/s
_FEWEST_FIXES = 4
_LONGEST_STEP = 0.05  # s, longer gaps are bridged in several steps


def held_out(recording: Recording, interval: float) -> dict[str, Any]:
    """Errors (m) at the fixes that were not used when one every ``interval`` seconds is; smoother and filter.

    The smoother sees the whole drive. The filter is ours as it runs in the car, without wheels: it sees the
    past only.
    """
    fixes = recording.fixes
    inside = (fixes[:, 0] > recording.imu[0, 0]) & (fixes[:, 0] <= recording.imu[-1, 0])
    fixes = fixes[inside]
    if len(fixes) < _FEWEST_FIXES:
        raise RecordingError(f"{recording.name}: {len(fixes)} fixes lie in the time of the inertial samples")
    gaps = np.diff(fixes[:, 0])
    if gaps.max() > 2.0 * np.median(gaps) and gaps[0] == gaps.max():
        fixes = fixes[1:]  # the inertial sensor starts with a gap
    time, position = fixes[:, 0], fixes[:, 1:]
    every = max(1, round(interval / float(np.median(np.diff(time)))))
    used = np.arange(len(fixes)) % every == 0
    if used.sum() < 2:
        raise RecordingError(f"{recording.name}: is too short for a fix every {interval:g} s")
    judged = ~used & (np.arange(len(fixes)) < np.flatnonzero(used)[-1])
    if not judged.any():
        raise RecordingError(f"{recording.name}: with a fix every {interval:g} s none is left to judge by")
    imu = recording.imu
    poses = smooth(
        SmootherConfig(), imu[:, 0], imu[:, 1:4], imu[:, 4:7], time, position, _GNSS_SIGMA, used
    )  # fmt: skip
    filtered = _filter(imu, time, position, used)
    return {
        "fixes_used": int(used.sum()),
        "fixes_held_out": int(judged.sum()),
        "smoother": _errors(poses[judged, :3, 3], position[judged]),
        "filter": _errors(filtered[judged], position[judged]),
    }


def _errors(estimate: FloatArray, truth: FloatArray) -> dict[str, float]:
    error = np.linalg.norm(estimate - truth, axis=1)
    flat = np.linalg.norm((estimate - truth)[:, :2], axis=1)
    return {
        "median_m": float(np.median(error)),
        "median_horizontal_m": float(np.median(flat)),
        "p95_m": float(np.percentile(error, 95)),
        "max_m": float(error.max()),
    }


def _filter(imu: FloatArray, time: FloatArray, position: FloatArray, used: np.ndarray) -> FloatArray:
    """(M, 3) the error-state filter's position at each of ``time``, before that fix is used."""
    config = LocalizationConfig(
        accelerometer_noise=0.1,
        gyro_noise=0.002,
        gnss_bias_sigma=0.0,
        vertical_speed_sigma=0.5,
        gate_2d=100.0,
        gate_1d=100.0,
    )
    known = np.flatnonzero(used)
    way = position[known[1]] - position[known[0]]
    speed = float(np.linalg.norm(way)) / (time[known[1]] - time[known[0]])
    sigma = np.full(3, _GNSS_SIGMA)
    yaw = float(np.arctan2(way[1], way[0]))
    kalman = initial_filter(config, position[0], yaw, speed, sigma, 0.2)
    kalman.covariance[3:6, 3:6] += np.eye(3) * 4.0  # the speed is a guess as well
    arm = np.zeros(3)
    out = np.zeros((len(time), 3))
    out[0] = position[0]
    now, i = float(time[0]), int(np.searchsorted(imu[:, 0], time[0]))
    for k in range(1, len(time)):
        while now < time[k]:
            sample = imu[min(i, len(imu) - 1)]
            upto = float(min(sample[0], time[k])) if i < len(imu) else float(time[k])
            while now < upto:
                dt = min(upto - now, _LONGEST_STEP)
                kalman.predict(sample[1:4], sample[4:7], dt, arm)
                now = upto if upto - now <= _LONGEST_STEP else now + dt
            if i >= len(imu) or sample[0] <= time[k]:
                i += 1
        # the unit sits away from the rear axle: it slides sideways in bends
        kalman.update_body_velocity(float("nan"), 0.0, _SIDEWAYS_SIGMA)
        out[k] = kalman.state[:3]
        if used[k]:
            kalman.update_position(position[k] - kalman.state[:3], arm, sigma)
    return out

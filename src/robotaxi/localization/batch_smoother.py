"""Fixed-interval smoother over inertial samples and positions: where the car was, from what came before and after.

A factor graph with preintegrated inertial factors (Forster et al., "On-Manifold Preintegration", T-RO 2017),
solved by gtsam. For recorded drives: it sees the future, a filter does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from robotaxi.params import param
from robotaxi.types import FloatArray


@dataclass(frozen=True)
class SmootherConfig:
    """Densities are above the data sheet's: they cover vibration, timing and scale errors as well."""

    accelerometer_noise: float = param(0.1, lo=1e-4, hi=10.0, unit="m/s^2/sqrt(Hz)", doc="accelerometer white noise")
    gyro_noise: float = param(0.002, lo=1e-6, hi=1.0, unit="rad/s/sqrt(Hz)", doc="gyro white noise")
    accelerometer_bias_walk: float = param(1e-3, lo=0.0, hi=1.0, unit="m/s^3/sqrt(Hz)", doc="accelerometer bias walk")
    gyro_bias_walk: float = param(1e-5, lo=0.0, hi=0.1, unit="rad/s^2/sqrt(Hz)", doc="gyro bias walk")
    accelerometer_bias_sigma: float = param(0.1, lo=0.0, hi=2.0, unit="m/s^2", doc="accelerometer bias at the start")
    gyro_bias_sigma: float = param(0.005, lo=0.0, hi=0.2, unit="rad/s", doc="gyro bias at the start")
    gravity: float = param(9.8, lo=9.7, hi=9.9, unit="m/s^2", doc="local gravity")


def smooth(
    config: SmootherConfig,
    imu_time: FloatArray,
    force: FloatArray,
    rate: FloatArray,
    times: FloatArray,
    positions: FloatArray,
    sigma: float,
    used: np.ndarray,
) -> FloatArray:
    """(M, 4, 4) poses of the inertial unit (x forward, z up) in the frame of ``positions``, at ``times``.

    ``imu_time`` (N,) s: end of the interval that each sample ``force`` (N, 3), ``rate`` (N, 3) stands for.
    ``times`` (M,) s, rising; ``positions`` (M, 3) with standard deviation ``sigma`` (m), believed only where
    ``used`` (M,) is true. Raises ImportError without gtsam and ValueError for data that cannot be smoothed.
    """
    import gtsam
    from gtsam.symbol_shorthand import B, V, X

    known = np.flatnonzero(used)
    if len(known) < 2:
        raise ValueError(f"smoothing needs two positions, has {len(known)}")
    start = np.stack([np.interp(times, times[known], positions[known, c]) for c in range(3)], axis=1)
    way = start[known[1]] - start[known[0]]
    velocity = np.gradient(start, times, axis=0)
    diagonal, isotropic = gtsam.noiseModel.Diagonal.Sigmas, gtsam.noiseModel.Isotropic.Sigma
    bias = gtsam.imuBias.ConstantBias()
    pose = gtsam.Pose3(gtsam.Rot3.Yaw(float(np.arctan2(way[1], way[0]))), start[0])
    graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
    tilt_yaw = [0.05, 0.05, 0.3]
    graph.add(gtsam.PriorFactorPose3(X(0), pose, diagonal(np.array([*tilt_yaw, 1.0, 1.0, 1.0]))))
    graph.add(gtsam.PriorFactorVector(V(0), velocity[0], isotropic(3, 2.0)))
    bias_sigma = [config.accelerometer_bias_sigma] * 3 + [config.gyro_bias_sigma] * 3
    graph.add(gtsam.PriorFactorConstantBias(B(0), bias, diagonal(np.array(bias_sigma))))
    state = gtsam.NavState(pose, velocity[0])
    params = _preintegration(config)
    position_noise = isotropic(3, sigma)
    at = np.searchsorted(imu_time, times)
    for k in range(len(times)):
        if k:
            summed = gtsam.PreintegratedCombinedMeasurements(params, bias)
            _integrate(summed, imu_time, force, rate, float(times[k - 1]), float(times[k]), int(at[k - 1]), int(at[k]))
            graph.add(gtsam.CombinedImuFactor(X(k - 1), V(k - 1), X(k), V(k), B(k - 1), B(k), summed))
            state = summed.predict(state, bias)
        if used[k]:
            graph.add(gtsam.GPSFactor(X(k), positions[k], position_noise))
        values.insert(X(k), gtsam.Pose3(state.pose().rotation(), start[k]))
        values.insert(V(k), velocity[k])
        values.insert(B(k), bias)
    result = gtsam.LevenbergMarquardtOptimizer(graph, values, gtsam.LevenbergMarquardtParams()).optimize()
    return np.array([result.atPose3(X(k)).matrix() for k in range(len(times))])


def _preintegration(config: SmootherConfig) -> Any:
    import gtsam

    params = gtsam.PreintegrationCombinedParams.MakeSharedU(config.gravity)
    eye = np.eye(3)
    params.setAccelerometerCovariance(eye * config.accelerometer_noise**2)
    params.setGyroscopeCovariance(eye * config.gyro_noise**2)
    params.setIntegrationCovariance(eye * 1e-8)
    params.setBiasAccCovariance(eye * config.accelerometer_bias_walk**2)
    params.setBiasOmegaCovariance(eye * config.gyro_bias_walk**2)
    return params


def _integrate(
    summed: Any, time: FloatArray, force: FloatArray, rate: FloatArray, begin: float, end: float, first: int, last: int
) -> None:
    """From ``begin`` to ``end``; sample i holds over the interval that ends at its time."""
    before = begin
    for i in range(first, last + 1):
        sample = min(i, len(time) - 1)
        upto = end if i == last else min(float(time[sample]), end)
        if upto > before:
            summed.integrateMeasurement(force[sample], rate[sample], upto - before)
            before = upto

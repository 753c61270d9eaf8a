"""Parameters of the localizer (sensor noise, gates, and when the estimate counts as trustworthy) and of map making."""

from __future__ import annotations

from dataclasses import dataclass

from robotaxi.params import param


@dataclass(frozen=True)
class LocalizationConfig:
    """Densities are per square root of hertz; ``*_sigma`` are standard deviations."""

    # inertial sensor, continuous-time noise as on an automotive MEMS data sheet
    accelerometer_noise: float = param(0.02, lo=1e-4, hi=1.0, unit="m/s^2/sqrt(Hz)", doc="accelerometer white noise")
    gyro_noise: float = param(0.0015, lo=1e-6, hi=0.1, unit="rad/s/sqrt(Hz)", doc="gyro white noise")
    accelerometer_bias_walk: float = param(1e-3, lo=0.0, hi=0.1, unit="m/s^3/sqrt(Hz)", doc="accelerometer bias walk")
    gyro_bias_walk: float = param(2e-5, lo=0.0, hi=0.01, unit="rad/s^2/sqrt(Hz)", doc="gyro bias walk")
    accelerometer_bias_sigma: float = param(0.15, lo=0.0, hi=2.0, unit="m/s^2", doc="accelerometer bias at the start")
    gyro_bias_sigma: float = param(0.01, lo=0.0, hi=0.2, unit="rad/s", doc="gyro bias at the start")
    tilt_sigma: float = param(0.02, lo=1e-3, hi=0.3, unit="rad", doc="roll and pitch at the start")
    gravity: float = param(9.80665, lo=9.7, hi=9.9, unit="m/s^2", doc="local gravity")
    max_specific_force: float = param(80.0, lo=15.0, hi=500.0, unit="m/s^2", doc="larger readings are faults")
    max_angular_rate: float = param(10.0, lo=1.0, hi=50.0, unit="rad/s", doc="larger readings are faults")

    # heading reference (dual antenna or magnetometer)
    heading_sigma_floor: float = param(0.003, lo=1e-4, hi=0.5, unit="rad", doc="least white noise believed")
    heading_bias_sigma: float = param(0.002, lo=0.0, hi=0.2, unit="rad", doc="slowly varying heading error")
    heading_bias_time: float = param(300.0, lo=1.0, hi=1e5, unit="s", doc="correlation time of that error")

    # satellite positions
    gnss_sigma_floor: float = param(0.02, lo=1e-3, hi=10.0, unit="m", doc="least white noise believed")
    gnss_bias_sigma: float = param(0.03, lo=0.0, hi=10.0, unit="m", doc="slowly varying error, each of east and north")
    gnss_bias_time: float = param(30.0, lo=1.0, hi=1e5, unit="s", doc="correlation time of that error")
    gnss_initial_sigma: float = param(1.0, lo=0.01, hi=50.0, unit="m", doc="coarsest fix that may start the filter")
    gnss_max_delay: float = param(0.5, lo=0.0, hi=2.0, unit="s", doc="older fixes are dropped")

    # scan matches
    match_max_delay: float = param(0.5, lo=0.05, hi=2.0, unit="s", doc="older scan matches are dropped")
    match_timeout: float = param(1.0, lo=0.1, hi=60.0, unit="s", doc="a scan match this old is no witness any more")
    map_sigma: float = param(0.025, lo=0.0, hi=1.0, unit="m", doc="error of the localization map itself")
    map_yaw_sigma: float = param(0.0005, lo=0.0, hi=0.1, unit="rad", doc="the same for yaw")
    match_restart: int = param(5, lo=2, hi=100, doc="matches that put the car elsewhere before the filter follows")
    match_rejection: float = param(2.0, lo=0.1, hi=60.0, unit="s", doc="without an accepted match: degraded")

    # lidar odometry, where no map holds the car
    odometry_drift: float = param(0.01, lo=1e-4, hi=1.0, unit="m/sqrt(m)", doc="drift of lidar odometry")
    odometry_turn: float = param(0.0004, lo=1e-6, hi=0.1, unit="rad/sqrt(m)", doc="the same for yaw")
    odometry_sigma: float = param(0.02, lo=1e-3, hi=1.0, unit="m", doc="white noise of lidar odometry")
    odometry_yaw_sigma: float = param(0.001, lo=1e-5, hi=0.1, unit="rad", doc="the same for yaw")

    # wheels
    wheel_speed_sigma: float = param(0.05, lo=1e-3, hi=2.0, unit="m/s", doc="wheel speed noise")
    wheel_scale_sigma: float = param(0.01, lo=0.0, hi=0.2, doc="relative scale error at the start")
    wheel_scale_walk: float = param(1e-5, lo=0.0, hi=0.01, unit="1/sqrt(s)", doc="scale error walk")
    lateral_speed_sigma: float = param(0.10, lo=1e-3, hi=2.0, unit="m/s", doc="sideways speed of the rear axle")
    rear_slip_angle: float = param(
        0.006, lo=0.0, hi=0.05, unit="rad/(m/s^2)", doc="rear tyre slip angle per lateral acceleration"
    )
    rear_slip_spread: float = param(0.5, lo=0.0, hi=2.0, doc="relative standard deviation of that slip angle")
    vertical_speed_sigma: float = param(0.10, lo=1e-3, hi=2.0, unit="m/s", doc="vertical speed in body axes")
    wheel_timeout: float = param(0.1, lo=0.02, hi=2.0, unit="s", doc="older vehicle reports are not used")

    # standstill
    standstill_speed: float = param(0.02, lo=0.0, hi=0.5, unit="m/s", doc="wheel speed below which the car stands")
    standstill_rate: float = param(0.03, lo=0.0, hi=0.5, unit="rad/s", doc="unbiased yaw rate above which it does not")
    standstill_estimate: float = param(0.3, lo=0.01, hi=2.0, unit="m/s", doc="estimated speed above which it does not")
    standstill_time: float = param(0.4, lo=0.0, hi=5.0, unit="s", doc="how long before standstill is believed")
    standstill_speed_sigma: float = param(0.01, lo=1e-4, hi=0.5, unit="m/s", doc="zero-velocity noise")
    standstill_rate_sigma: float = param(0.005, lo=1e-5, hi=0.1, unit="rad/s", doc="gyro reading noise at standstill")

    # gates: chi-square quantiles, so large that a healthy sensor meets them once in 1e5 readings
    gate_1d: float = param(19.5, lo=3.0, hi=100.0, doc="squared Mahalanobis distance, 1 degree of freedom")
    gate_2d: float = param(23.0, lo=4.0, hi=100.0, doc="squared Mahalanobis distance, 2 degrees of freedom")

    # trust
    protection_sigmas: float = param(4.4, lo=1.0, hi=8.0, doc="protection level in standard deviations (1e-5)")
    good_protection: float = param(0.5, lo=0.05, hi=10.0, unit="m", doc="above this lateral level: degraded")
    lost_protection: float = param(1.5, lo=0.1, hi=50.0, unit="m", doc="above this lateral level: lost")
    good_yaw_sigma: float = param(0.02, lo=0.001, hi=0.5, unit="rad", doc="above this: degraded")
    gnss_timeout: float = param(1.0, lo=0.1, hi=60.0, unit="s", doc="without an accepted fix: degraded")
    wheel_silence: float = param(0.3, lo=0.05, hi=10.0, unit="s", doc="without wheel speed: degraded")
    heading_silence: float = param(10.0, lo=0.1, hi=600.0, unit="s", doc="a lost heading reference: degraded")
    heading_rejection: float = param(1.0, lo=0.1, hi=60.0, unit="s", doc="a heading reference refused: degraded")
    imu_hold: float = param(0.2, lo=0.0, hi=2.0, unit="s", doc="bridge unusable inertial samples so long, then lost")
    max_gap: float = param(0.5, lo=0.05, hi=5.0, unit="s", doc="silence of the inertial sensor that starts over")
    out_of_order: float = param(
        0.1, lo=0.0, hi=1.0, unit="s", doc="older samples are ignored; further back: start over"
    )
    contradiction_fixes: int = param(3, lo=1, hi=100, doc="rejected fixes in a row that count as contradiction")
    contradiction_time: float = param(5.0, lo=0.1, hi=120.0, unit="s", doc="contradiction that long: lost")
    restart_time: float = param(10.0, lo=1.0, hi=600.0, unit="s", doc="standing and lost that long: start over")

    # output
    correction_speed: float = param(0.5, lo=0.01, hi=10.0, unit="m/s", doc="how fast the output follows a correction")
    correction_rate: float = param(0.03, lo=0.001, hi=1.0, unit="rad/s", doc="the same for yaw")
    acceleration_time: float = param(0.08, lo=0.0, hi=1.0, unit="s", doc="low-pass time constant of the acceleration")
    yaw_rate_time: float = param(0.0, lo=0.0, hi=1.0, unit="s", doc="low-pass time constant of the yaw rate; 0 is off")
    course_distance: float = param(
        5.0, lo=1.0, hi=50.0, unit="m", doc="drive that gives a heading where none is sensed"
    )


@dataclass(frozen=True)
class MappingConfig:
    """Noise of the pose graph's edges, and what the map is made of."""

    step_sigma: float = param(0.015, lo=1e-4, hi=1.0, unit="m", doc="odometry from keyframe to keyframe")
    step_turn_sigma: float = param(0.001, lo=1e-5, hi=0.1, unit="rad", doc="the same in attitude")
    loop_sigma: float = param(0.03, lo=1e-4, hi=1.0, unit="m", doc="a match with another pass of the same place")
    loop_turn_sigma: float = param(0.002, lo=1e-5, hi=0.1, unit="rad", doc="the same in attitude")
    prior_tilt_sigma: float = param(0.01, lo=1e-4, hi=1.0, unit="rad", doc="roll and pitch of the filter")
    prior_yaw_sigma: float = param(0.02, lo=1e-4, hi=1.0, unit="rad", doc="yaw of the filter")
    gnss_correlation: float = param(30.0, lo=1.0, hi=1e4, unit="s", doc="fixes within it share their error")
    loop_distance: float = param(8.0, lo=1.0, hi=50.0, unit="m", doc="keyframes so near may close a loop")
    loop_gap: int = param(30, lo=5, hi=1000, doc="keyframes apart on one drive before a loop is one")
    drift: float = param(0.05, lo=0.0, hi=0.5, doc="share of its way that a drive without fixes may drift by")
    loop_overlap: float = param(0.6, lo=0.1, hi=1.0, doc="least share of points that fit")
    voxel_size: float = param(1.0, lo=0.2, hi=5.0, unit="m", doc="cells of the map")
    spacing: float = param(0.3, lo=0.05, hi=2.0, unit="m", doc="between two points of the map")
    per_voxel: int = param(20, lo=4, hi=100, doc="most points in a cell")
    plane_radius: float = param(0.8, lo=0.1, hi=5.0, unit="m", doc="neighbours that make a plane")

"""Tunables of the controller, declared once."""

from __future__ import annotations

from dataclasses import dataclass

from robotaxi.params import param


@dataclass(frozen=True)
class ControlConfig:
    """Steering and speed control. Vehicle geometry and actuation come from `VehicleParams`."""

    # timing
    period: float = param(0.02, lo=0.005, hi=0.1, unit="s", doc="time between two calls of step")
    command_latency: float = param(0.02, lo=0.0, hi=0.2, unit="s", doc="command stamp to actuator input (gate's LET)")
    max_trajectory_age: float = param(0.4, lo=0.1, hi=5.0, unit="s", doc="older: brake comfortably along it")

    # the vehicle beyond its kinematics
    understeer_gradient: float = param(
        0.0011, lo=-0.02, hi=0.05, unit="rad s^2/m", doc="extra tyre angle per lateral acceleration"
    )
    rear_slip_gradient: float = param(
        0.0068, lo=0.0, hi=0.05, unit="rad s^2/m", doc="rear axle slip angle per lateral acceleration"
    )
    curvature_bias_sigma: float = param(
        0.0036, lo=0.0, hi=0.05, unit="1/m", doc="steering offset over wheelbase that is expected (1 sigma)"
    )
    curvature_bias_drift: float = param(3e-4, lo=0.0, hi=0.01, unit="1/m", doc="its change in a second (1 sigma)")
    curvature_noise: float = param(
        1.6e-4, lo=1e-6, hi=0.01, unit="1/m", doc="of the yaw rate over speed, averaged over a second (1 sigma)"
    )
    gradient_sigma: float = param(
        0.0015, lo=0.0, hi=0.02, unit="rad s^2/m", doc="how far both gradients are from the configured (1 sigma)"
    )
    gradient_drift: float = param(2e-5, lo=0.0, hi=0.001, unit="rad s^2/m", doc="their change in a second (1 sigma)")
    slip_bias_sigma: float = param(0.001, lo=0.0, hi=0.05, unit="rad", doc="side slip on a straight (1 sigma)")
    slip_bias_drift: float = param(1e-4, lo=0.0, hi=0.01, unit="rad", doc="its change in a second (1 sigma)")
    pose_noise: float = param(
        0.007, lo=1e-4, hi=0.2, unit="m", doc="of the measured pose, averaged over a second (1 sigma)"
    )
    pose_drift: float = param(0.02, lo=1e-4, hi=1.0, unit="m", doc="of the modelled pose in a second (1 sigma)")
    yaw_filter_rate: float = param(5.0, lo=0.5, hi=50.0, unit="rad/s", doc="how fast the heading follows the measured")
    pose_jump: float = param(0.3, lo=0.02, hi=5.0, unit="m", doc="measured this far beside the model: taken as it is")
    delay_memory: float = param(20.0, lo=1.0, hi=300.0, unit="s", doc="the steering's delay is learned over this time")
    max_delay_shift: float = param(0.06, lo=0.0, hi=0.3, unit="s", doc="limit of what is learned of the delay")
    cg_fraction: float = param(0.48, lo=0.2, hi=0.8, doc="rear axle to centre of mass, share of the wheelbase")
    inertia_ratio: float = param(
        0.85, lo=0.3, hi=2.0, doc="radius of gyration squared over the distances to both axles multiplied"
    )
    max_curvature_bias: float = param(0.02, lo=0.0, hi=0.1, unit="1/m", doc="limit of the observed curvature offset")
    max_slip_bias: float = param(0.03, lo=0.0, hi=0.1, unit="rad", doc="limit of the observed side-slip angle")
    max_gradient_change: float = param(
        0.006, lo=0.0, hi=0.05, unit="rad s^2/m", doc="limit of what is learned on top of both gradients"
    )
    min_observer_speed: float = param(2.0, lo=0.2, hi=10.0, unit="m/s", doc="slower: lateral observers keep")
    steering_measurement_gain: float = param(0.3, lo=0.0, hi=1.0, doc="weight of the reported tyre angle per step")

    # lateral MPC
    mpc_steps: int = param(30, lo=5, hi=80, doc="horizon in steps")
    mpc_step_time: float = param(0.05, lo=0.02, hi=0.2, unit="s", doc="length of one step of the horizon")
    lateral_weight: float = param(1.0, lo=0.0, hi=1e3, unit="1/m^2", doc="cost of lateral error")
    heading_weight: float = param(1.0, lo=0.0, hi=1e3, unit="1/rad^2", doc="cost of heading error")
    terminal_weight: float = param(5.0, lo=0.0, hi=1e3, doc="factor on both errors at the end of the horizon")
    steering_rate_weight: float = param(0.005, lo=1e-6, hi=10.0, unit="s^2/rad^2", doc="cost of steering rate")
    lateral_jerk_weight: float = param(
        1e-5, lo=0.0, hi=1.0, unit="s^6/m^2", doc="cost of lateral jerk, (v^2/L) steering rate"
    )
    speed_error_time: float = param(1.0, lo=0.1, hi=10.0, unit="s", doc="decay of today's speed error over the horizon")
    max_lateral_acceleration: float = param(
        4.2, lo=0.5, hi=8.0, unit="m/s^2", doc="v^2 times curvature of the tyres; the command gate's is 4.5"
    )
    max_lateral_jerk: float = param(
        9.0, lo=1.0, hi=50.0, unit="m/s^3", doc="v^2 times the rate of the curvature; the command gate's is 10"
    )
    max_heading_error: float = param(0.6, lo=0.1, hi=1.5, unit="rad", doc="beyond: pure pursuit instead of the MPC")
    max_lateral_error: float = param(2.0, lo=0.2, hi=10.0, unit="m", doc="beyond: pure pursuit instead of the MPC")

    # pure pursuit, where the MPC cannot be used
    lookahead_time: float = param(0.8, lo=0.1, hi=3.0, unit="s", doc="look-ahead distance per speed")
    min_lookahead: float = param(4.0, lo=1.0, hi=20.0, unit="m", doc="shortest look-ahead")

    # speed
    speed_gain: float = param(1.2, lo=0.0, hi=5.0, unit="1/s", doc="acceleration per speed error")
    station_gain: float = param(0.5, lo=0.0, hi=5.0, unit="1/s^2", doc="acceleration per position error along the path")
    max_station_lag: float = param(
        0.6, lo=0.0, hi=10.0, unit="m", doc="fed back at most when behind: no racing after it"
    )
    max_station_lead: float = param(2.0, lo=0.0, hi=10.0, unit="m", doc="fed back at most when ahead of the trajectory")
    max_feedback: float = param(1.2, lo=0.1, hi=5.0, unit="m/s^2", doc="limit of the fed back acceleration")
    grade_observer_rate: float = param(1.5, lo=0.1, hi=10.0, unit="rad/s", doc="bandwidth of the grade observer")
    max_grade_acceleration: float = param(1.5, lo=0.0, hi=3.0, unit="m/s^2", doc="limit of the observed disturbance")
    max_acceleration: float = param(
        2.2, lo=0.5, hi=4.0, unit="m/s^2", doc="commanded at most; nuPlan comfort limit 2.40"
    )
    launch_acceleration: float = param(0.4, lo=0.1, hi=2.0, unit="m/s^2", doc="commanded at once when driving off")
    launch_jerk: float = param(1.0, lo=0.1, hi=10.0, unit="m/s^3", doc="beyond it, until the car moves (uphill)")
    jerk_limit: float = param(3.0, lo=0.5, hi=20.0, unit="m/s^3", doc="change of the commanded acceleration")
    braking_jerk_limit: float = param(15.0, lo=1.0, hi=60.0, unit="m/s^3", doc="the same when braking hard is wanted")
    hard_braking: float = param(3.0, lo=1.0, hi=8.0, unit="m/s^2", doc="wanted deceleration that counts as hard")

    # stopping
    soft_stop_speed: float = param(0.8, lo=0.1, hi=3.0, unit="m/s", doc="slower, before a stop: the tapered final stop")
    soft_stop_distance: float = param(1.2, lo=0.1, hi=5.0, unit="m", doc="farther from the stop: no final stop yet")
    final_deceleration: float = param(0.3, lo=0.05, hi=1.0, unit="m/s^2", doc="deceleration at standstill")
    hold_speed: float = param(0.05, lo=0.005, hi=0.3, unit="m/s", doc="slower, at a stop: hold")
    hold_distance: float = param(0.4, lo=0.05, hi=2.0, unit="m", doc="a stop this near is not crept to from standstill")
    hold_deceleration: float = param(1.0, lo=0.2, hi=4.0, unit="m/s^2", doc="brake demand while standing")
    departure_speed: float = param(0.3, lo=0.05, hi=2.0, unit="m/s", doc="trajectory faster than this: drive off")
    comfortable_deceleration: float = param(2.0, lo=0.5, hi=4.0, unit="m/s^2", doc="without a usable trajectory")

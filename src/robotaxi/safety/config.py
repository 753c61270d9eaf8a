"""Tunables of the command gate, declared once."""

from __future__ import annotations

from dataclasses import dataclass

from robotaxi.params import param


@dataclass(frozen=True)
class GateConfig:
    """Ages, limits, emergency envelope and recovery."""

    # ages beyond which an input is lost
    max_command_age: float = param(0.06, lo=0.02, hi=0.5, unit="s", doc="of control/command_raw")
    max_state_age: float = param(0.1, lo=0.02, hi=0.5, unit="s", doc="of localization/kinematic_state")
    max_trajectory_age: float = param(0.4, lo=0.1, hi=2.0, unit="s", doc="of planning/trajectory")
    max_sweep_age: float = param(0.3, lo=0.1, hi=2.0, unit="s", doc="of the last usable lidar sweep")
    max_report_age: float = param(0.1, lo=0.02, hi=0.5, unit="s", doc="of vehicle/status")
    max_health_age: float = param(0.5, lo=0.1, hi=3.0, unit="s", doc="of system/health")
    max_manual_age: float = param(0.2, lo=0.02, hi=1.0, unit="s", doc="of control/manual_command")
    max_future: float = param(0.02, lo=0.0, hi=0.2, unit="s", doc="a stamp may lie this far ahead of now")
    min_sweep_points: int = param(100, lo=1, hi=100_000, doc="a sweep with fewer points is none: the lidar is blind")

    # limits on the command
    max_lateral_acceleration: float = param(4.5, lo=1.0, hi=8.0, unit="m/s^2", doc="v^2 times curvature of the tyres")
    max_lateral_jerk: float = param(10.0, lo=2.0, hi=50.0, unit="m/s^3", doc="v^2 times the rate of the curvature")
    max_acceleration: float = param(2.5, lo=0.5, hi=5.0, unit="m/s^2", doc="forward")
    max_deceleration: float = param(8.0, lo=2.0, hi=12.0, unit="m/s^2", doc="braking, positive")
    max_speed: float = param(20.0, lo=1.0, hi=60.0, unit="m/s", doc="faster: only braking passes")
    max_reverse_speed: float = param(2.0, lo=0.2, hi=5.0, unit="m/s", doc="backwards faster: only braking passes")
    overspeed_deceleration: float = param(1.0, lo=0.1, hi=3.0, unit="m/s^2", doc="asked at least above max_speed")
    jerk_up: float = param(6.0, lo=1.0, hi=50.0, unit="m/s^3", doc="rise of the acceleration")
    jerk_down: float = param(20.0, lo=1.0, hi=100.0, unit="m/s^3", doc="fall of the acceleration")

    # comfortable stop
    stop_deceleration: float = param(2.0, lo=0.5, hi=4.0, unit="m/s^2", doc="of the comfortable stop")
    stop_deceleration_most: float = param(6.0, lo=2.0, hi=8.0, unit="m/s^2", doc="to stop where the trajectory ended")
    stop_jerk: float = param(4.0, lo=0.5, hi=20.0, unit="m/s^3", doc="onset and end of the comfortable stop")
    stop_taper: float = param(0.4, lo=0.1, hi=1.0, unit="m/s^2", doc="deceleration at standstill")
    stop_taper_rate: float = param(1.0, lo=0.1, hi=5.0, unit="1/s", doc="its growth with speed, up to the full value")
    lane_stop_deceleration: float = param(3.5, lo=1.0, hi=6.0, unit="m/s^2", doc="of the stop in lane")
    hold_deceleration: float = param(2.0, lo=0.5, hi=8.0, unit="m/s^2", doc="brake demand while standing")
    standing_speed: float = param(0.05, lo=0.005, hi=0.3, unit="m/s", doc="slower is standing")
    lookahead_time: float = param(0.8, lo=0.2, hi=3.0, unit="s", doc="pure pursuit along the last good trajectory")
    min_lookahead: float = param(4.0, lo=1.0, hi=20.0, unit="m", doc="its shortest look-ahead")
    max_path_offset: float = param(1.0, lo=0.2, hi=5.0, unit="m", doc="farther off, the trajectory is not the car's")
    max_path_heading: float = param(0.4, lo=0.1, hi=1.5, unit="rad", doc="the same for heading")

    max_return_offset: float = param(3.0, lo=0.2, hi=10.0, unit="m", doc="so far off, a stop still steers back to it")
    max_return_heading: float = param(0.9, lo=0.1, hi=1.5, unit="rad", doc="the same for heading")

    # pull over, and any cap of the speed
    pull_over_speed: float = param(5.0, lo=1.0, hi=15.0, unit="m/s", doc="no faster while looking for a place to stand")
    pull_over_time: float = param(20.0, lo=1.0, hi=120.0, unit="s", doc="then it stops where it is")
    cap_deceleration: float = param(1.5, lo=0.3, hi=4.0, unit="m/s^2", doc="asked at least above a cap of the speed")

    # contradictions
    max_speed_contradiction: float = param(2.0, lo=0.3, hi=10.0, unit="m/s", doc="wheels against localization")
    max_steering_contradiction: float = param(0.12, lo=0.02, hi=1.0, unit="rad", doc="tyre angle against commands")
    contradiction_time: float = param(0.5, lo=0.1, hi=5.0, unit="s", doc="how long before it counts")
    actuation_memory: float = param(1.0, lo=0.2, hi=3.0, unit="s", doc="commands whose effect may still be under way")
    max_pose_jump: float = param(1.0, lo=0.2, hi=10.0, unit="m", doc="state off where the wheels took the car")
    max_frozen_way: float = param(0.3, lo=0.05, hi=5.0, unit="m", doc="driven while localization stays at one place")

    # emergency braking
    motion_compensation: bool = param(
        True, doc="move each point by the ego motion between its time and the stamp; off for drivers that have done it"
    )
    corridor_margin: float = param(0.15, lo=0.0, hi=1.0, unit="m", doc="beside the body")
    min_height: float = param(0.3, lo=0.05, hi=1.0, unit="m", doc="lower points are ground or kerb")
    max_height: float = param(2.0, lo=1.0, hi=5.0, unit="m", doc="higher points are bridges and branches")
    ground_slope: float = param(0.01, lo=0.0, hi=0.1, doc="rise of min_height with distance, for pitch and grades")
    min_points: int = param(5, lo=1, hi=100, doc="points near each other that make an obstacle")
    neighbourhood: float = param(0.6, lo=0.1, hi=3.0, unit="m", doc="how near")
    min_sweeps: int = param(2, lo=1, hi=10, doc="consecutive sweeps that must see it")
    reaction_time: float = param(
        0.15, lo=0.0, hi=1.0, unit="s", doc="in the envelope, beyond the drive's delay and lag"
    )
    envelope_deceleration: float = param(6.5, lo=2.0, hi=10.0, unit="m/s^2", doc="braking the envelope counts on")
    lead_deceleration: float = param(8.0, lo=3.0, hi=12.0, unit="m/s^2", doc="hardest braking of what drives ahead")
    envelope_margin: float = param(0.4, lo=0.0, hi=3.0, unit="m", doc="gap left after the emergency stop")
    motion_tolerance: float = param(0.2, lo=0.0, hi=2.0, unit="m", doc="displacement that does not prove motion")
    min_emergency_speed: float = param(0.5, lo=0.05, hi=3.0, unit="m/s", doc="slower: no emergency braking")
    max_corridor_length: float = param(60.0, lo=5.0, hi=150.0, unit="m", doc="corridor length at most")

    # recovery
    recovery_time: float = param(0.5, lo=0.1, hi=10.0, unit="s", doc="inputs good so long end a comfortable stop")
    emergency_clear_time: float = param(1.0, lo=0.1, hi=30.0, unit="s", doc="standing and clear so long: released")
    clear_distance: float = param(1.5, lo=0.2, hi=10.0, unit="m", doc="nothing nearer in the corridor is clear")

"""Parameters of the planner, one place for all of planning."""

from __future__ import annotations

from dataclasses import dataclass

from robotaxi.params import param


@dataclass(frozen=True)
class PlannerConfig:
    # -- time and inputs
    horizon: float = param(8.0, lo=3.0, hi=12.0, unit="s", doc="length of the trajectory")
    max_state_age: float = param(0.1, lo=0.02, hi=1.0, unit="s", doc="older ego state counts as lost")
    max_objects_age: float = param(0.4, lo=0.1, hi=2.0, unit="s", doc="older objects count as lost")
    max_lights_age: float = param(0.8, lo=0.2, hi=5.0, unit="s", doc="older light states count as lost")
    # -- comfort and limits
    max_speed: float = param(16.7, lo=1.0, hi=40.0, unit="m/s", doc="fastest speed whatever the map allows")
    acceleration: float = param(1.4, lo=0.3, hi=2.4, unit="m/s^2", doc="normal acceleration; nuPlan comfort limit 2.40")
    deceleration: float = param(1.5, lo=0.3, hi=4.0, unit="m/s^2", doc="normal braking")
    max_deceleration: float = param(
        4.0, lo=2.0, hi=9.0, unit="m/s^2", doc="hardest braking that is planned; nuPlan comfort limit 4.05"
    )
    jerk: float = param(1.8, lo=0.3, hi=8.0, unit="m/s^3", doc="normal jerk; nuPlan comfort limit 4.13")
    max_jerk: float = param(4.0, lo=1.0, hi=20.0, unit="m/s^3", doc="jerk when braking hard")
    emergency_deceleration: float = param(
        7.0, lo=4.0, hi=9.0, unit="m/s^2", doc="braking for what is hit otherwise; dry asphalt gives 8"
    )
    emergency_jerk: float = param(15.0, lo=4.0, hi=40.0, unit="m/s^3", doc="of that braking")
    lateral_acceleration: float = param(2.0, lo=0.5, hi=4.0, unit="m/s^2", doc="speed in curves keeps below this")
    # -- reference path
    lane_change_time: float = param(4.5, lo=2.0, hi=10.0, unit="s", doc="duration of a lane change")
    lane_change_length_min: float = param(22.0, lo=8.0, hi=60.0, unit="m", doc="shortest lane change")
    pull_over_reach: float = param(
        80.0, lo=20.0, hi=300.0, unit="m", doc="farthest place to stand that is pulled over to"
    )
    bay_shift_length: float = param(20.0, lo=8.0, hi=60.0, unit="m", doc="length of the shift into and out of a bay")
    max_path_offset: float = param(1.2, lo=0.3, hi=5.0, unit="m", doc="farther from the path, it is laid anew")
    max_crawling_offset: float = param(0.15, lo=0.05, hi=5.0, unit="m", doc="the same for a car that hardly moves")
    smoothing: float = param(1.5, lo=0.0, hi=4.0, unit="m", doc="sigma of the smoothing of the centerline")
    # -- corridor
    moving_margin: float = param(0.3, lo=0.0, hi=1.0, unit="m", doc="beside the body, against moving objects")
    static_margin: float = param(0.2, lo=0.0, hi=1.0, unit="m", doc="beside the body, against standing objects")
    pass_margin: float = param(0.6, lo=0.0, hi=2.0, unit="m", doc="closer than this to a standing object: pass slowly")
    pass_speed: float = param(6.0, lo=1.0, hi=15.0, unit="m/s", doc="speed beside a close standing object")
    look_ahead: float = param(120.0, lo=40.0, hi=300.0, unit="m", doc="how far ahead along the path causes count")
    # -- leads and obstacles
    time_gap: float = param(1.4, lo=0.5, hi=4.0, unit="s", doc="time gap behind a lead")
    lead_gap: float = param(3.5, lo=1.0, hi=10.0, unit="m", doc="gap behind a standing lead")
    obstacle_gap: float = param(2.5, lo=0.5, hi=10.0, unit="m", doc="gap before a standing obstacle")
    ghost_time: float = param(0.35, lo=0.0, hi=2.0, unit="s", doc="an object on the path is kept when it flickers")
    min_existence: float = param(0.3, lo=0.0, hi=1.0, doc="less certain objects are ignored")
    # -- going round what stands in the way
    detour_range: float = param(50.0, lo=10.0, hi=150.0, unit="m", doc="obstacles nearer than this are gone round")
    detour_gap: float = param(6.0, lo=2.0, hi=20.0, unit="m", doc="gap before a standing obstacle: room to go round")
    detour_clearance: float = param(0.7, lo=0.2, hi=2.0, unit="m", doc="beside an obstacle, wanted")
    detour_clearance_min: float = param(0.45, lo=0.2, hi=1.0, unit="m", doc="beside an obstacle, at least")
    detour_offset_max: float = param(5.0, lo=0.5, hi=8.0, unit="m", doc="farthest from the path")
    detour_speed: float = param(8.0, lo=2.0, hi=15.0, unit="m/s", doc="fastest while going round")
    detour_lateral_acceleration: float = param(0.9, lo=0.3, hi=3.0, unit="m/s^2", doc="of the shift, where room allows")
    detour_lateral_most: float = param(2.5, lo=0.5, hi=4.0, unit="m/s^2", doc="of a shift, where room is short")
    detour_deceleration: float = param(2.0, lo=0.5, hi=4.0, unit="m/s^2", doc="braking that a shift may ask for")
    detour_patience_obstacle: float = param(0.5, lo=0.0, hi=60.0, unit="s", doc="seen standing: things, roadside")
    detour_patience_parked: float = param(3.0, lo=0.0, hi=60.0, unit="s", doc="seen standing: never moved, in lane")
    detour_patience_stopped: float = param(8.0, lo=0.0, hi=120.0, unit="s", doc="seen standing: drove before")
    detour_patience_junction: float = param(25.0, lo=0.0, hi=300.0, unit="s", doc="seen standing before a junction")
    reroute_patience: float = param(
        30.0, lo=0.0, hi=600.0, unit="s", doc="standing for something this long, the car looks for another way"
    )
    # -- turning round and backing out where no lane leads on
    reverse_speed: float = param(1.5, lo=0.3, hi=2.0, unit="m/s", doc="backwards at most; the gate allows 2")
    manoeuvre_speed: float = param(2.0, lo=0.3, hi=4.0, unit="m/s", doc="forwards at most, while turning round")
    manoeuvre_clearance: float = param(0.35, lo=0.1, hi=1.0, unit="m", doc="kept to what stands, while turning round")
    manoeuvre_limit: float = param(
        14.0, lo=0.0, hi=40.0, unit="m/s", doc="turning round only onto lanes with no higher speed limit; 0: never"
    )
    # -- overtaking somebody slow
    overtake_patience: float = param(2.5, lo=0.0, hi=60.0, unit="s", doc="driven behind somebody slow this long")
    overtake_clearance: float = param(
        1.7, lo=0.5, hi=3.0, unit="m", doc="beside somebody overtaken; German StVO 5 (4) asks for 1.5 m to cyclists"
    )
    # -- lines
    line_gap: float = param(1.0, lo=0.2, hi=5.0, unit="m", doc="front bumper to stop line when stopped")
    amber_deceleration: float = param(2.8, lo=1.0, hi=5.0, unit="m/s^2", doc="amber: stop if this is enough")
    red_deceleration: float = param(4.0, lo=2.0, hi=9.0, unit="m/s^2", doc="red: stop if this is enough")
    unknown_deceleration: float = param(1.8, lo=1.0, hi=5.0, unit="m/s^2", doc="unseen light: brake this late")
    light_confirmations: int = param(2, lo=1, hi=10, doc="equal messages in a row before a light's change counts")
    light_hold: float = param(1.0, lo=0.0, hi=5.0, unit="s", doc="a light that drops out keeps its state this long")
    stop_sign_speed: float = param(0.1, lo=0.0, hi=0.5, unit="m/s", doc="standstill at a stop sign")
    stop_sign_range: float = param(3.5, lo=1.0, hi=10.0, unit="m", doc="standstill counts this near the line")
    yield_speed: float = param(6.0, lo=2.0, hi=15.0, unit="m/s", doc="fastest over a line where others go first")
    # -- giving way
    gap_before: float = param(1.5, lo=0.3, hi=5.0, unit="s", doc="clear time before somebody with priority arrives")
    gap_after: float = param(0.7, lo=0.0, hi=5.0, unit="s", doc="clear time after somebody with priority has left")
    merge_deceleration: float = param(1.2, lo=0.3, hi=4.0, unit="m/s^2", doc="braking that a merge may ask of others")
    priority_range: float = param(90.0, lo=30.0, hi=200.0, unit="m", doc="traffic farther from the conflict is ignored")
    priority_speed: float = param(0.6, lo=0.1, hi=3.0, unit="m/s", doc="slower traffic does not use its priority")
    commit_deceleration: float = param(3.0, lo=1.0, hi=6.0, unit="m/s^2", doc="going, unless this still stops the car")
    # -- pedestrians
    crosswalk_time: float = param(3.0, lo=0.5, hi=8.0, unit="s", doc="walking this far from the path is about to cross")
    crosswalk_margin: float = param(1.5, lo=0.0, hi=5.0, unit="m", doc="beside the crosswalk that counts as on it")
    crosswalk_gap: float = param(1.5, lo=0.5, hi=5.0, unit="m", doc="front bumper to crosswalk when stopped")
    walking_speed: float = param(0.3, lo=0.1, hi=1.5, unit="m/s", doc="slower pedestrians stand")
    standing_patience: float = param(6.0, lo=0.0, hi=60.0, unit="s", doc="standing pedestrians beside the path: go on")
    hazard_time: float = param(3.0, lo=0.5, hi=6.0, unit="s", doc="entering the path within this time is a hazard")
    hidden_margin: float = param(
        1.5, lo=0.0, hi=4.0, unit="m", doc="beside the corridor: somebody may step out from behind a parked van here"
    )
    hidden_speed: float = param(
        6.0, lo=1.0, hi=15.0, unit="m/s", doc="past such a van; stops within 7 m, which somebody who walks leaves"
    )
    # -- goal
    goal_tolerance: float = param(1.5, lo=0.2, hi=5.0, unit="m", doc="standing this near the goal is arrival")
    goal_blocked_tolerance: float = param(8.0, lo=1.0, hi=30.0, unit="m", doc="arrival where the bay is blocked")
    goal_blocked_time: float = param(8.0, lo=1.0, hi=120.0, unit="s", doc="blocked this long before that counts")
    standstill_speed: float = param(0.1, lo=0.01, hi=0.5, unit="m/s", doc="slower is standing")
    start_distance: float = param(0.4, lo=0.05, hi=3.0, unit="m", doc="a standing car stays until it can go this far")

"""Every tunable of the simulated world. Sensors and scenery have their own."""

from __future__ import annotations

from dataclasses import dataclass, fields

from robotaxi.params import ParameterError, param


@dataclass(frozen=True)
class WorldConfig:
    """Flat on purpose: one ``key: value`` file or scenario entry sets any of them."""

    # ego: a mid-size electric car
    ego_mass: float = param(1900.0, lo=300.0, hi=20000.0, unit="kg", doc="mass with passengers")
    ego_yaw_inertia: float = param(3100.0, lo=100.0, hi=200000.0, unit="kg m^2", doc="about the centre of mass")
    ego_cg_fraction: float = param(0.48, lo=0.2, hi=0.8, doc="rear axle to centre of mass, share of the wheelbase")
    ego_cornering_front: float = param(115e3, lo=1e4, hi=1e6, unit="N/rad", doc="both front tyres together")
    ego_cornering_rear: float = param(145e3, lo=1e4, hi=1e6, unit="N/rad", doc="both rear tyres together")
    ego_friction: float = param(0.9, lo=0.05, hi=1.5, doc="tyre on road; 0.9 is dry asphalt, 0.3 snow")
    ego_kinematic_below: float = param(2.0, lo=0.5, hi=10.0, unit="m/s", doc="purely kinematic bicycle below")
    ego_dynamic_above: float = param(4.0, lo=0.6, hi=20.0, unit="m/s", doc="purely dynamic bicycle above")
    ego_substep: float = param(0.005, lo=0.0005, hi=0.005, unit="s", doc="longest integration step")

    # traffic: who drives
    traffic_cars: int = param(30, lo=0, hi=300, doc="motor vehicles in the town")
    traffic_truck_share: float = param(0.08, lo=0.0, hi=1.0, doc="trucks and buses among them")
    traffic_motorbike_share: float = param(0.08, lo=0.0, hi=1.0, doc="motorbikes among them")
    traffic_bus_share: float = param(0.0, lo=0.0, hi=1.0, doc="city buses among them")
    traffic_bicycle_share: float = param(0.0, lo=0.0, hi=1.0, doc="cyclists on the road among them")
    traffic_lane_changes: bool = param(False, doc="drivers change lanes where it pays (MOBIL)")
    traffic_spawn_spacing: float = param(25.0, lo=10.0, hi=500.0, unit="m", doc="between two vehicles at the start")
    traffic_ego_clearance: float = param(40.0, lo=10.0, hi=500.0, unit="m", doc="around the ego's start")
    traffic_speed_factor_min: float = param(0.85, lo=0.2, hi=1.5, doc="slowest driver, times the speed limit")
    traffic_speed_factor_max: float = param(1.05, lo=0.2, hi=1.5, doc="fastest driver, times the speed limit")

    # traffic: car following, IDM of Treiber, Hennecke, Helbing (2000), Phys. Rev. E 62, 1805
    traffic_headway_min: float = param(1.1, lo=0.5, hi=4.0, unit="s", doc="shortest desired time gap of a driver")
    traffic_headway_max: float = param(1.8, lo=0.5, hi=6.0, unit="s", doc="longest desired time gap of a driver")
    traffic_standstill_gap: float = param(2.0, lo=0.5, hi=10.0, unit="m", doc="bumper to bumper in a queue")
    traffic_acceleration: float = param(1.5, lo=0.3, hi=5.0, unit="m/s^2", doc="comfortable acceleration")
    traffic_deceleration: float = param(2.0, lo=0.5, hi=5.0, unit="m/s^2", doc="comfortable deceleration, positive")
    traffic_hard_deceleration: float = param(8.0, lo=3.0, hi=12.0, unit="m/s^2", doc="what brakes can do, positive")
    traffic_lateral_acceleration: float = param(2.0, lo=0.5, hi=6.0, unit="m/s^2", doc="in curves")
    traffic_horizon: float = param(80.0, lo=30.0, hi=300.0, unit="m", doc="how far a driver looks along the path")

    # traffic: junctions
    traffic_stop_margin: float = param(0.8, lo=0.1, hi=5.0, unit="m", doc="front bumper to the stop line at rest")
    traffic_gap_margin: float = param(
        1.5, lo=0.0, hi=10.0, unit="s", doc="between leaving a conflict area and the arrival of one who goes first"
    )
    traffic_amber_deceleration: float = param(3.0, lo=1.0, hi=8.0, unit="m/s^2", doc="amber: stop if this suffices")
    traffic_patience_min: float = param(
        8.0, lo=1.0, hi=600.0, unit="s", doc="least wait before a driver no longer gives way to those who stand"
    )
    traffic_patience_max: float = param(16.0, lo=1.0, hi=600.0, unit="s", doc="longest such wait")

    # pedestrians; speeds as observed on crosswalks (HCM 2010: 0.9-1.8 m/s, design value 1.2)
    pedestrian_count: int = param(20, lo=0, hi=200, doc="people in the streets")
    pedestrian_crosser_share: float = param(0.7, lo=0.0, hi=1.0, doc="those who keep crossing; the rest stroll")
    pedestrian_speed_min: float = param(1.0, lo=0.3, hi=3.0, unit="m/s", doc="slowest walker")
    pedestrian_speed_max: float = param(1.6, lo=0.3, hi=3.0, unit="m/s", doc="fastest walker")
    pedestrian_kerb_setback: float = param(1.2, lo=0.3, hi=5.0, unit="m", doc="where one waits, from the crosswalk")
    pedestrian_gap_margin: float = param(1.5, lo=0.0, hi=10.0, unit="s", doc="spare time over what crossing takes")
    pedestrian_stroll: float = param(18.0, lo=2.0, hi=200.0, unit="m", doc="longest walk between two crossings")

    # lights
    light_green_min: float = param(15.0, lo=4.0, hi=120.0, unit="s", doc="shortest green")
    light_green_max: float = param(20.0, lo=4.0, hi=120.0, unit="s", doc="longest green")
    light_amber: float = param(3.0, lo=2.0, hi=8.0, unit="s", doc="amber after green")
    light_all_red: float = param(2.0, lo=0.0, hi=10.0, unit="s", doc="all red between two phases")

    # cabin
    cabin_radius: float = param(6.0, lo=0.5, hi=50.0, unit="m", doc="from the planned place, ego's body centre")
    cabin_standing_speed: float = param(0.05, lo=0.001, hi=1.0, unit="m/s", doc="slower counts as standing")
    cabin_standing_time: float = param(1.0, lo=0.0, hi=60.0, unit="s", doc="standing before the door opens")

    # battery
    battery_capacity: float = param(75.0, lo=5.0, hi=300.0, unit="kWh", doc="energy of a full battery")
    battery_at_start: float = param(0.8, lo=0.0, hi=1.0, doc="charge when the world begins")

    # contact
    contact_restitution: float = param(0.1, lo=0.0, hi=1.0, doc="share of the closing speed that comes back")
    contact_friction_deceleration: float = param(6.0, lo=0.5, hi=12.0, unit="m/s^2", doc="of one who was hit")
    contact_repeat_time: float = param(2.0, lo=0.0, hi=60.0, unit="s", doc="apart so long: a new collision")
    contact_stopped_speed: float = param(0.05, lo=0.0, hi=1.0, unit="m/s", doc="nuPlan's limit for a stopped ego")

    # infractions
    stop_sign_speed: float = param(0.1, lo=0.0, hi=1.0, unit="m/s", doc="CARLA leaderboard: slower has stopped")
    stop_sign_zone: float = param(5.0, lo=1.0, hi=30.0, unit="m", doc="front bumper to the line where it counts")
    yield_time: float = param(1.5, lo=0.0, hi=10.0, unit="s", doc="cutting in front of one who is nearer than this")
    off_road_tolerance: float = param(0.05, lo=0.0, hi=1.0, unit="m", doc="how far a wheel may stand outside")

    def __post_init__(self) -> None:
        """Raises ParameterError where the two ends of a range are swapped."""
        for low in sorted(field.name for field in fields(self) if field.name.endswith("_min")):
            high = low[: -len("_min")] + "_max"
            if getattr(self, low) > getattr(self, high):
                raise ParameterError(f"'{low}' is {getattr(self, low):g}, above '{high}' {getattr(self, high):g}")

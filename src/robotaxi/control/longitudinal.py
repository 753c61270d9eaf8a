"""Speed control: feedforward from the trajectory, feedback on speed and position, smooth stops."""

from __future__ import annotations

import math
from dataclasses import dataclass

from robotaxi.control.config import ControlConfig
from robotaxi.types import VehicleParams

_SLOPE_ITERATIONS = 40  # bisections; leaves 1e-10 of the bracket
_MAX_SLOPE = 20.0  # 1/s; a taper steeper than this is a plain hard stop


@dataclass(frozen=True)
class SpeedTask:
    """What the trajectory wants at the time the command takes effect, and what is predicted then.

    ``wanted_acceleration`` is taken one drive lag later, which makes up for the lag.
    ``distance_to_stop``: along the path to the trajectory's end at rest, infinite if it does not end so.
    ``departing``: the trajectory drives off within the next moment.
    """

    wanted_speed: float
    wanted_acceleration: float
    station_error: float  # wanted minus predicted, m
    predicted_speed: float
    grade: float  # observed disturbance, m/s^2
    measured_speed: float
    distance_to_stop: float
    departing: bool


class SpeedController:
    """Keeps the last acceleration and whether the car is held."""

    def __init__(self, config: ControlConfig, vehicle: VehicleParams) -> None:
        self._config = config
        self._vehicle = vehicle
        self.holding = True
        self.acceleration = -config.hold_deceleration

    def step(self, task: SpeedTask) -> float:
        """Acceleration to command now."""
        config = self._config
        self._decide_hold(task)
        if self.holding:
            # standing: the change of the brake demand is not felt
            self.acceleration = -config.hold_deceleration
            return self.acceleration
        wanted = self._wanted(task) - task.grade
        if abs(task.measured_speed) < config.hold_speed:
            # dead time and lag: what is asked for before the first motion comes as one push
            slowly = max(config.launch_acceleration, self.acceleration + config.launch_jerk * config.period)
            wanted = min(wanted, slowly)
        return self._limited(wanted)

    def brake(self, measured_speed: float) -> float:
        """Acceleration to command when there is nothing to follow."""
        config = self._config
        if abs(measured_speed) < config.hold_speed:
            self.holding = True
            self.acceleration = -config.hold_deceleration
            return self.acceleration
        taper = config.final_deceleration + max(measured_speed, 0.0)  # slope 1/s: soft at the very end only
        return self._limited(-min(config.comfortable_deceleration, taper))

    def _decide_hold(self, task: SpeedTask) -> None:
        config = self._config
        standing = abs(task.measured_speed) < config.hold_speed and task.predicted_speed < config.hold_speed
        if self.holding:
            if task.departing and task.distance_to_stop > config.hold_distance:
                self.holding = False
                self.acceleration = 0.0  # brakes released while standing
        elif standing and (not task.departing or task.distance_to_stop < config.hold_distance):
            self.holding = True

    def _wanted(self, task: SpeedTask) -> float:
        config = self._config
        stands = task.predicted_speed < config.hold_speed
        drives_off = stands and task.departing and task.distance_to_stop > config.hold_distance
        near = task.predicted_speed < config.soft_stop_speed and task.distance_to_stop < config.soft_stop_distance
        if near and not drives_off:
            soft = self._soft_stop(task.predicted_speed, task.distance_to_stop)
            if soft is not None:
                return soft
        station = min(max(task.station_error, -config.max_station_lead), config.max_station_lag)
        feedback = config.speed_gain * (task.wanted_speed - task.predicted_speed) + config.station_gain * station
        return task.wanted_acceleration + min(max(feedback, -config.max_feedback), config.max_feedback)

    def _soft_stop(self, speed: float, distance: float) -> float | None:
        """Deceleration that falls linearly with speed to ``final_deceleration`` exactly at the stop.

        None when the stop is too far for it: then the trajectory's own profile is followed.
        """
        final = self._config.final_deceleration
        if speed <= 0.0 or distance <= 0.0:
            return -max(final, speed * _MAX_SLOPE)
        if distance > 0.5 * speed * speed / final:
            return None
        low, high = 0.0, _MAX_SLOPE
        for _ in range(_SLOPE_ITERATIONS):
            slope = 0.5 * (low + high)
            if taper_distance(speed, slope, final) > distance:
                low = slope
            else:
                high = slope
        # the lag makes the real deceleration run behind: lead by its rate of change
        return -(final + high * speed) * max(1.0 - high * self._vehicle.drive_lag, 0.3)

    def _limited(self, wanted: float) -> float:
        config, vehicle = self._config, self._vehicle
        wanted = min(max(wanted, -vehicle.max_deceleration), min(vehicle.max_acceleration, config.max_acceleration))
        down = config.braking_jerk_limit if wanted < -config.hard_braking else config.jerk_limit
        step_up = config.jerk_limit * config.period
        step_down = down * config.period
        self.acceleration = min(max(wanted, self.acceleration - step_down), self.acceleration + step_up)
        return self.acceleration


def taper_distance(speed: float, slope: float, final: float) -> float:
    """Way to standstill when braking with ``final + slope * speed`` (m)."""
    ratio = slope * speed / final
    if ratio < 1e-4:
        return 0.5 * speed * speed / final * (1.0 - 2.0 * ratio / 3.0)
    return speed / slope - final / (slope * slope) * math.log1p(ratio)

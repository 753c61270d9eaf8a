"""The ego's motion: a planar single-track model behind lagged, delayed actuators.

Above ``ego_dynamic_above`` the dynamic bicycle with linear tyres, each axle saturated by its friction
circle (Rajamani, Vehicle Dynamics and Control, 2nd ed., chapters 2 and 13); below
``ego_kinematic_below`` the kinematic bicycle, whose slip angles need no speed to divide by; between
them a linear blend of the state derivatives (as in AMZ Driverless: Kabzan et al. 2020, J. Field Robotics).

The drive controller of the car compensates rolling and air drag, so a commanded acceleration is the
net one. It drives in the direction of the gear that is engaged: braking ends at standstill, and there it
holds without creeping until a positive acceleration arrives at the wheels. A gear is engaged at standstill
only; until then a car that is asked for the other one brakes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.interfaces import TICK_NS
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import Command, Pose2, VehicleParams

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
SHIFT_BRAKING = 2.0  # m/s^2, until the car stands and the other gear can be engaged
GRAVITY = 9.81  # m/s^2
NS = 1e-9  # s

# layout of the state vector
X, Y, YAW, VX, VY, YAW_RATE, STEERING, DRIVE, AX, AY = range(10)
STATE_SIZE = 10


@dataclass
class EgoMotion:
    """Mutable state. ``vector``: (10,) x, y, yaw of the centre of mass, body speeds vx, vy and yaw
    rate there, tyre angle, acceleration at the wheels (in the gear's direction), and the accelerations of the last
    step. ``steering_line``, ``drive_line`` and ``gear_line`` (true: reverse): commands on their way, oldest first, one
    a substep. ``reverse``: the gear that is engaged."""

    vector: FloatArray
    steering_line: FloatArray
    drive_line: FloatArray
    gear_line: BoolArray
    command: tuple[float, float, bool] | None = None
    reverse: bool = False
    rejected_commands: int = field(default=0)


class EgoVehicle:
    """Integrates `EgoMotion` from tick to tick. All poses in and out are of the rear axle, in map."""

    def __init__(self, vehicle: VehicleParams, config: WorldConfig, start: Pose2) -> None:
        if not all(math.isfinite(value) for value in (start.x, start.y, start.yaw)):
            raise ValueError(f"start pose of the ego is not finite: {start}")
        self._vehicle = vehicle
        self._substeps = math.ceil(TICK_NS * NS / config.ego_substep - 1e-9)
        self._dt = TICK_NS * NS / self._substeps
        self._to_rear = config.ego_cg_fraction * vehicle.wheelbase
        self._constants = np.array(
            [
                config.ego_mass,
                config.ego_yaw_inertia,
                vehicle.wheelbase - self._to_rear,
                self._to_rear,
                config.ego_cornering_front,
                config.ego_cornering_rear,
                config.ego_friction * GRAVITY,
                config.ego_kinematic_below,
                max(config.ego_dynamic_above, config.ego_kinematic_below + 0.1),
                vehicle.max_steering,
                vehicle.max_steering_rate,
                vehicle.steering_lag,
                vehicle.drive_lag,
                self._dt,
            ]
        )
        vector = np.zeros(STATE_SIZE)
        vector[X] = start.x + self._to_rear * math.cos(start.yaw)
        vector[Y] = start.y + self._to_rear * math.sin(start.yaw)
        vector[YAW] = start.yaw
        vector[DRIVE] = -vehicle.max_deceleration
        self.motion = EgoMotion(
            vector,
            np.zeros(round(vehicle.steering_delay / self._dt) + self._substeps),
            np.full(round(vehicle.drive_delay / self._dt) + self._substeps, -vehicle.max_deceleration),
            np.zeros(round(vehicle.drive_delay / self._dt) + self._substeps, np.bool_),
        )

    @property
    def mass(self) -> float:
        return float(self._constants[0])

    @property
    def yaw_inertia(self) -> float:
        return float(self._constants[1])

    @property
    def steering(self) -> float:
        """Tyre angle, rad."""
        return float(self.motion.vector[STEERING])

    def step(self, command: Command | None) -> None:
        """Advance by one tick. ``None`` or a command that is not finite leaves the last one in force;
        before the first, the brakes are held."""
        motion, limits = self.motion, self._vehicle
        if command is not None:
            if math.isfinite(command.steering) and math.isfinite(command.acceleration):
                motion.command = (
                    min(max(command.steering, -limits.max_steering), limits.max_steering),
                    min(max(command.acceleration, -limits.max_deceleration), limits.max_acceleration),
                    command.reverse,
                )
            else:
                motion.rejected_commands += 1
        steering, drive, reverse = motion.command or (0.0, -limits.max_deceleration, False)
        n = self._substeps
        for line, value in ((motion.steering_line, steering), (motion.drive_line, drive), (motion.gear_line, reverse)):
            line[:-n] = line[n:].copy()
            line[-n:] = value
        pedals = self._in_gear(motion.drive_line[:n], bool(motion.gear_line[0]))
        integrate = _integrate_reverse if motion.reverse else _integrate
        integrate(motion.vector, motion.steering_line[:n], pedals, self._constants)

    def _in_gear(self, pedals: FloatArray, reverse: bool) -> FloatArray:
        """``pedals``, or braking as long as the gear asked for cannot be engaged."""
        motion = self.motion
        if reverse == motion.reverse:
            return pedals
        if motion.vector[VX] != 0.0:
            return np.minimum(pedals, -SHIFT_BRAKING)
        motion.reverse = reverse
        motion.vector[DRIVE] = min(float(motion.vector[DRIVE]), 0.0)
        return pedals

    def rear_axle(self) -> tuple[float, float, float, float, float]:
        """x, y, yaw of base_link in map, longitudinal and lateral speed of the rear axle."""
        v = self.motion.vector
        x = v[X] - self._to_rear * math.cos(v[YAW])
        y = v[Y] - self._to_rear * math.sin(v[YAW])
        return float(x), float(y), float(v[YAW]), float(v[VX]), float(v[VY] - v[YAW_RATE] * self._to_rear)

    def rear_accelerations(self) -> tuple[float, float]:
        """Longitudinal and lateral acceleration of the rear axle as a level sensor there feels them."""
        v = self.motion.vector
        return float(v[AX] + v[YAW_RATE] ** 2 * self._to_rear), float(v[AY])


@njit(cache=True)
def _axle_force(slip: float, stiffness: float, load_grip: float, longitudinal: float) -> float:
    """Lateral force (N) of one axle: linear in slip, cut at what the friction circle has left."""
    left = math.sqrt(max(load_grip * load_grip - longitudinal * longitudinal, 0.0))
    return min(max(-stiffness * slip, -left), left)


@njit(cache=True)
def _integrate(state, steering_line, drive_line, constants):  # type: ignore[no-untyped-def]
    mass, inertia, to_front, to_rear, c_front, c_rear, grip = constants[:7]
    v_kinematic, v_dynamic, max_steering, max_rate, steering_lag, drive_lag, dt = constants[7:]
    wheelbase = to_front + to_rear
    max_lateral_rate = 0.0
    for k in range(len(steering_line)):
        x, y, yaw, vx, vy, rate, steering, drive = state[:8]

        steering_rate = (steering_line[k] - steering) / max(steering_lag, dt)
        steering_rate = min(max(steering_rate, -max_rate), max_rate)
        steering_new = min(max(steering + steering_rate * dt, -max_steering), max_steering)
        drive_new = drive + (drive_line[k] - drive) * min(dt / max(drive_lag, dt), 1.0)

        standing = vx == 0.0 and drive_new <= 0.0
        if standing and abs(vy) < 0.05 and abs(rate) < 0.05:
            state[VX : AY + 1] = 0.0
            state[STEERING] = steering_new
            state[DRIVE] = drive_new
            continue

        # tyres share the wanted force by static axle load; neither can give more than its grip
        along = min(max(drive_new, -grip), grip)
        load_front = to_rear / wheelbase
        load_rear = to_front / wheelbase
        if standing:
            along = 0.0
        weight = min(max((vx - v_kinematic) / (v_dynamic - v_kinematic), 0.0), 1.0)

        dvx_dynamic = dvy_dynamic = drate_dynamic = 0.0
        if weight > 0.0:
            slip_front = math.atan2(vy + to_front * rate, vx) - steering
            slip_rear = math.atan2(vy - to_rear * rate, vx)
            f_front = _axle_force(slip_front, c_front, mass * grip * load_front, mass * along * load_front)
            f_rear = _axle_force(slip_rear, c_rear, mass * grip * load_rear, mass * along * load_rear)
            dvx_dynamic = along - f_front * math.sin(steering) / mass + vy * rate
            dvy_dynamic = (f_front * math.cos(steering) + f_rear) / mass - vx * rate
            drate_dynamic = (f_front * math.cos(steering) * to_front - f_rear * to_rear) / inertia

        # kinematic: speeds are functions of vx and the tyre angle; grip bounds the turn
        rate_kinematic = vx * math.tan(steering_new) / wheelbase
        if vx > 0.5:
            max_lateral_rate = grip / vx
            rate_kinematic = min(max(rate_kinematic, -max_lateral_rate), max_lateral_rate)
        # after a blow the tyres take sideways speed and spin away within about 0.1 s
        settle = min(dt / 0.1, 1.0)
        vy_new = (vy + weight * dvy_dynamic * dt) * weight + (1.0 - weight) * (
            vy + (rate_kinematic * to_rear - vy) * settle
        )
        rate_new = (rate + weight * drate_dynamic * dt) * weight + (1.0 - weight) * (
            rate + (rate_kinematic - rate) * settle
        )
        vx_new = vx + (weight * dvx_dynamic + (1.0 - weight) * along) * dt
        if vx >= 0.0 and vx_new < 0.0 and drive_new <= 0.0:
            vx_new = 0.0
        if vx < 0.0:  # pushed backwards by a blow: the brakes end it
            vx_new = min(vx + abs(along if along != 0.0 else grip) * dt, 0.0)

        middle = yaw + 0.5 * rate_new * dt
        vx_mid = 0.5 * (vx + vx_new)
        vy_mid = 0.5 * (vy + vy_new)
        state[X] = x + (vx_mid * math.cos(middle) - vy_mid * math.sin(middle)) * dt
        state[Y] = y + (vx_mid * math.sin(middle) + vy_mid * math.cos(middle)) * dt
        state[YAW] = math.atan2(math.sin(yaw + rate_new * dt), math.cos(yaw + rate_new * dt))
        # what an accelerometer at the rear axle feels, transport term included
        state[AX] = (vx_new - vx) / dt - vy_mid * rate_new
        state[AY] = (vy_new - vy) / dt - (rate_new - rate) / dt * to_rear + vx_mid * rate_new
        state[VX] = vx_new
        state[VY] = vy_new
        state[YAW_RATE] = rate_new
        state[STEERING] = steering_new
        state[DRIVE] = drive_new


@njit(cache=True)
def _integrate_reverse(state, steering_line, drive_line, constants):  # type: ignore[no-untyped-def]
    """The kinematic bicycle driven backwards: a car that backs out goes no faster than it holds for."""
    to_front, to_rear, grip = constants[2], constants[3], constants[6]
    max_steering, max_rate, steering_lag, drive_lag, dt = constants[9:14]
    wheelbase = to_front + to_rear
    for k in range(len(steering_line)):
        x, y, yaw, vx, vy, rate, steering, drive = state[:8]
        steering_rate = (steering_line[k] - steering) / max(steering_lag, dt)
        steering_rate = min(max(steering_rate, -max_rate), max_rate)
        steering_new = min(max(steering + steering_rate * dt, -max_steering), max_steering)
        drive_new = drive + (drive_line[k] - drive) * min(dt / max(drive_lag, dt), 1.0)
        along = min(max(drive_new, -grip), grip)
        # pushed forwards by a blow: the brakes end it
        pushed = abs(along if along != 0.0 else grip)
        vx_new = max(vx - pushed * dt, 0.0) if vx > 0.0 else min(vx - along * dt, 0.0)
        # after a blow the tyres take sideways speed and spin away within about 0.1 s
        settle = min(dt / 0.1, 1.0)
        rate_kinematic = vx_new * math.tan(steering_new) / wheelbase
        vy_new = vy + (rate_kinematic * to_rear - vy) * settle
        rate_new = rate + (rate_kinematic - rate) * settle
        if vx_new == 0.0 and abs(vy_new) < 0.05 and abs(rate_new) < 0.05:
            vy_new, rate_new = 0.0, 0.0
        middle = yaw + 0.5 * rate_new * dt
        vx_mid, vy_mid = 0.5 * (vx + vx_new), 0.5 * (vy + vy_new)
        state[X] = x + (vx_mid * math.cos(middle) - vy_mid * math.sin(middle)) * dt
        state[Y] = y + (vx_mid * math.sin(middle) + vy_mid * math.cos(middle)) * dt
        state[YAW] = math.atan2(math.sin(yaw + rate_new * dt), math.cos(yaw + rate_new * dt))
        state[AX] = (vx_new - vx) / dt - vy_mid * rate_new
        state[AY] = (vy_new - vy) / dt - (rate_new - rate) / dt * to_rear + vx_mid * rate_new
        state[VX], state[VY], state[YAW_RATE] = vx_new, vy_new, rate_new
        state[STEERING], state[DRIVE] = steering_new, drive_new

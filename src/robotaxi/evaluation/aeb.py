"""Emergency braking alone: no planner, no tracker, only the command gate, raw lidar points and odometry.

Scenes after Euro NCAP's AEB protocols (car-to-car rear and crossing, pedestrian, cyclist), on a straight
road, against the ray-cast lidar. Whether a collision could be avoided at all is reckoned from the true
motion: full braking 0.4 s after the target is both in sight and in the way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from robotaxi.interfaces import TICK_NS
from robotaxi.safety import CommandGate, GateConfig, GateInput
from robotaxi.sensor_rig import SensorRig
from robotaxi.sim import contact
from robotaxi.sim.contact import Box
from robotaxi.sim.ego import DRIVE, VX, EgoVehicle
from robotaxi.sim.events.conditions import Conditions
from robotaxi.sim.mesh import Mesh, join, make_mesh, quads
from robotaxi.sim.mesh import box as box_mesh
from robotaxi.sim.scenery.road_users import road_users_mesh
from robotaxi.sim.sensors.lidar import Lidar
from robotaxi.sim.view import AGENT_DTYPE, REMEMBERED_NS, EgoTruth, Moment, WorldView
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import (
    TRAJECTORY_DTYPE,
    Command,
    EgoState,
    LidarSweep,
    ObjectClass,
    Pose2,
    RecordArray,
    SystemMode,
    Trajectory,
    VehicleParams,
    VehicleReport,
)

_DT = TICK_NS * 1e-9
_DELAY = 0.4  # s, from "in sight and in the way" to full braking, for the reckoning
_REMEMBERED = REMEMBERED_NS // TICK_NS  # moments
_SWEEP_TICKS, _SWEEP_LATENCY_TICKS = 5, 1
_RUN_UP = 1.2  # s of steady driving before the scene begins to matter
_LIMIT_S = 14.0
_CAR, _ADULT, _CHILD, _CYCLE = (4.5, 1.8, 1.5), (0.5, 0.6, 1.8), (0.4, 0.45, 1.15), (1.8, 0.6, 1.75)
_ROAD = make_mesh(
    quads([[[-100.0, -40.0, 0.0], [300.0, -40.0, 0.0], [300.0, 40.0, 0.0], [-100.0, 40.0, 0.0]]]), 0, (0.3, 0.3, 0.3)
)


@dataclass(frozen=True)
class Mover:
    """A road user: class, size (length, width, height), and its pose and velocity as a function of time."""

    label: ObjectClass
    size: tuple[float, float, float]
    motion: Callable[[float], tuple[float, float, float, float, float]]  # x, y, yaw, vx, vy


@dataclass(frozen=True)
class Scene:
    """``kmh``: the ego's speed. ``fixed``: what stands there for ever. ``danger``: braking is wanted."""

    name: str
    kmh: float
    movers: tuple[Mover, ...] = ()
    fixed: Mesh = field(default_factory=lambda: _ROAD)
    hidden_until: float = 0.0  # m the first mover has gone sideways when it comes out of hiding
    danger: bool = True
    weather: Conditions | None = None
    leaf: bool = False


def _straight(x: float, y: float, vx: float, vy: float) -> Callable[[float], tuple[float, float, float, float, float]]:
    yaw = math.atan2(vy, vx) if vx or vy else 0.0
    return lambda t: (x + vx * t, y + vy * t, yaw, vx, vy)


def _braking(x: float, speed: float, begin: float, deceleration: float) -> Callable[[float], Any]:
    def motion(t: float) -> tuple[float, float, float, float, float]:
        braked = min(max(t - begin, 0.0), speed / deceleration)
        v = speed - deceleration * braked
        return (x + speed * min(t, begin) + speed * braked - 0.5 * deceleration * braked**2
                , 0.0, 0.0, v, 0.0)  # fmt: skip

    return motion


def scenes(vehicle: VehicleParams, speeds: tuple[float, ...] = (20.0, 30.0, 40.0, 50.0, 60.0)) -> list[Scene]:
    """Every scene at every speed (km/h)."""
    out: list[Scene] = []
    for kmh in speeds:
        v = kmh / 3.6
        meet = _RUN_UP + max(3.0, 1.5 + v / 8.0 * 1.3)  # s at which an ego that does not brake gets there
        x = vehicle.front + v * meet

        def crossing(name: str, label: ObjectClass, size: tuple[float, float, float], speed_kmh: float, side: float,
                     share: float, fixed: Mesh = _ROAD, hidden: float = 0.0, *, kmh: float = kmh, meet: float = meet,
                     x: float = x) -> Scene:  # fmt: skip
            """Comes from ``side`` (-1 right) and is ``share`` of the ego's width across it at the meeting."""
            vy = -side * speed_kmh / 3.6
            at = side * vehicle.width * (0.5 - share)
            start = at - vy * meet
            mover = Mover(label, size, _straight(x + (size[0] if abs(vy) < 1e-9 else size[1]) / 2.0, start, 0.0, vy))
            return Scene(f"{name}", kmh, (mover,), fixed, hidden)

        for overlap in (-0.5, 0.0, 0.5):
            car = Mover(ObjectClass.CAR, _CAR, _straight(x + 2.25, overlap * 1.8, 0.0, 0.0))
            out.append(Scene(f"CCRs {100 - 50 * (overlap != 0):.0f}%", kmh, (car,)))
        if kmh > 25.0:
            ahead = vehicle.front + 2.25 + (v - 20.0 / 3.6) * meet
            out.append(
                Scene("CCRm 20 km/h", kmh, (Mover(ObjectClass.CAR, _CAR, _straight(ahead, 0.0, 20 / 3.6, 0.0)),))
            )
        for gap, hard in ((12.0, 2.0), (12.0, 6.0), (40.0, 6.0)):
            if gap < 20.0 and kmh > 50.0:
                continue
            lead = Mover(ObjectClass.CAR, _CAR, _braking(vehicle.front + gap + 2.25, v, _RUN_UP, hard))
            out.append(Scene(f"CCRb {gap:.0f} m {hard:.0f} m/s2", kmh, (lead,)))
        for other in (20.0, 40.0):
            out.append(crossing(f"CCCscp {other:.0f} km/h", ObjectClass.CAR, _CAR, other, 1.0, 0.5))
        out.append(crossing("CPFA-50", ObjectClass.PEDESTRIAN, _ADULT, 8.0, 1.0, 0.5))
        out.append(crossing("CPNA-25", ObjectClass.PEDESTRIAN, _ADULT, 5.0, -1.0, 0.25))
        out.append(crossing("CPNA-75", ObjectClass.PEDESTRIAN, _ADULT, 5.0, -1.0, 0.75))
        parked = [(x - 3.3, -2.9), (x - 8.3, -2.9)]
        hide = join([_ROAD, _parked(parked)])
        out.append(crossing("CPNCO-50", ObjectClass.PEDESTRIAN, _CHILD, 5.0, -1.0, 0.5, hide, 2.0))
        for share in (0.25, 0.5):
            lateral = -vehicle.width * (0.5 - share)
            adult = Mover(ObjectClass.PEDESTRIAN, _ADULT,
                          _straight(vehicle.front + 0.25 + (v - 5 / 3.6) * meet, lateral, 5 / 3.6, 0.0))  # fmt: skip
            out.append(Scene(f"CPLA-{100 * share:.0f}", kmh, (adult,)))
        out.append(crossing("CBNA-50", ObjectClass.BICYCLE, _CYCLE, 15.0, -1.0, 0.5))
        rider = Mover(
            ObjectClass.BICYCLE, _CYCLE, _straight(vehicle.front + 0.9 + (v - 15 / 3.6) * meet, 0, 15 / 3.6, 0)
        )
        if kmh > 20.0:
            out.append(Scene("CBLA-50", kmh, (rider,)))
    return out


def harmless(vehicle: VehicleParams, speeds: tuple[float, ...] = (20.0, 40.0, 60.0)) -> list[Scene]:
    """What must not stop the car."""
    flat = box_mesh((40.0, 40.7), (-0.35, 0.35), (0.0, 0.03))
    things = {
        "manhole cover": [flat],
        "steel plate": [box_mesh((35.0, 38.0), (-1.5, 1.5), (0.0, 0.04))],
        "speed hump": [box_mesh((40.0, 41.0), (-3.0, 3.0), (0.0, 0.10))],
        "gantry": [box_mesh((45.0, 45.6), (-8.0, 8.0), (4.6, 5.6)), box_mesh((45.0, 45.4), (-8.0, -7.6), (0.0, 5.6))],
        "low branch": [box_mesh((40.0, 43.0), (-3.0, 3.0), (2.6, 3.4))],
        "guard rail beside": [box_mesh((0.0, 90.0), (-2.1, -2.0), (0.4, 0.8))],
    }
    out = [
        Scene(name, kmh, (), join([_ROAD, *(make_mesh(part, 9, (0.4, 0.4, 0.4)) for part in parts)]), danger=False)
        for name, parts in things.items()
        for kmh in speeds
    ]
    for name, weather in (("rain", Conditions(rain=25.0)), ("fog", Conditions(visibility=60.0))):
        out += [Scene(name, kmh, (), danger=False, weather=weather) for kmh in speeds]
    out += [Scene("leaf", kmh, (), danger=False, leaf=True) for kmh in speeds]
    out += [
        Scene("parked row beside", kmh, (), join([_ROAD, _parked([(12.0 + 6.0 * k, -2.6) for k in range(10)])]),
              danger=False)
        for kmh in speeds
    ]  # fmt: skip
    oncoming = Mover(ObjectClass.CAR, _CAR, _straight(120.0, 3.2, -12.0, 0.0))
    out += [Scene("oncoming traffic", kmh, (oncoming,), danger=False) for kmh in speeds]
    return out


def _parked(places: list[tuple[float, float]]) -> Mesh:
    cars = np.zeros(len(places), AGENT_DTYPE)
    cars["x"], cars["y"] = [p[0] for p in places], [p[1] for p in places]
    cars["length"], cars["width"], cars["height"], cars["label"] = 4.6, 1.8, 1.9, int(ObjectClass.CAR)
    return road_users_mesh(cars, detail=False)[0]


def run(scene: Scene, vehicle: VehicleParams, rig: SensorRig, config: GateConfig, seed: int) -> dict[str, Any]:
    """One drive. Speeds in km/h."""
    v = scene.kmh / 3.6
    world = WorldConfig()
    ego = EgoVehicle(vehicle, world, Pose2(0.0, 0.0, 0.0))
    ego.motion.vector[VX], ego.motion.vector[DRIVE] = v, 0.0
    ego.motion.drive_line[:] = 0.0
    name, spec = next(iter(rig.lidars.items()))
    stage = SimpleNamespace(mesh=scene.fixed, instance=np.zeros(len(scene.fixed), np.uint32))
    lidar = Lidar(stage, spec, seed, f"lidar_{name}")  # type: ignore[arg-type]
    gate = CommandGate(config, vehicle)
    gate.warm_up()
    gate.begin_driving()
    points = np.zeros(200, TRAJECTORY_DTYPE)
    points["x"], points["speed"] = np.arange(200) * 2.0, v
    avoidable = not scene.danger or _avoidable(scene, vehicle)
    rng = np.random.default_rng([seed, 909])
    pending: list[tuple[int, LidarSweep]] = []
    braked_at, impact, mode = None, None, SystemMode.AUTONOMOUS
    emergencies = 0
    tick = 0
    past: list[Moment] = []
    trajectory = Trajectory(0, points)
    while tick * _DT < _LIMIT_S:
        now, t = tick * TICK_NS, tick * _DT
        agents = _agents(scene, t)
        x, y, yaw, speed, lateral = ego.rear_axle()
        if tick % _SWEEP_TICKS == 0:
            truth = EgoTruth(now, x, y, 0.0, yaw, speed, lateral, 0.0, 0.0, 0.0, ego.steering)
            cloud = lidar.sweep(WorldView(now, truth, agents, {}, scene.weather, tuple(past)))
            if scene.leaf and tick % 25 == 0:
                cloud = np.concatenate([cloud, _leaf(cloud.dtype, rng)])
            pending.append((tick + _SWEEP_LATENCY_TICKS, LidarSweep(now, cloud, rig.T_base_lidar)))
            trajectory = Trajectory(now, points)
        ready = [sweep for due, sweep in pending if due <= tick]
        pending = [row for row in pending if row[0] > tick]
        past = [*past[-_REMEMBERED + 1 :], Moment(now, (x, y, 0.0, yaw), agents)]
        output = gate.step(
            GateInput(now, VehicleReport(now, speed, ego.steering), Command(now, 0.0, 0.5 * (v - speed), v),
                      EgoState(now, x, y, yaw, speed), trajectory, ready[-1] if ready else None)
        )  # fmt: skip
        if output.mode is SystemMode.EMERGENCY_STOP and mode is not SystemMode.EMERGENCY_STOP:
            emergencies += 1
            braked_at = t if braked_at is None else braked_at
        mode = output.mode
        ego.step(output.command)
        body = Box(x + vehicle.center_offset, y, yaw, vehicle.length, vehicle.width)
        mask, _, _ = contact.overlap(body, agents)
        if len(agents) and mask.any():
            closing = speed - float(agents["vx"][0])
            impact = {"speed_kmh": round(speed * 3.6, 1), "closing_kmh": round(closing * 3.6, 1),
                      "side": contact.touched_side(body, _box_of(agents[0])).value}  # fmt: skip
            break
        if speed < 0.05 and t > 1.0:
            break
        tick += 1
    return {
        "scene": scene.name,
        "kmh": scene.kmh,
        "seed": seed,
        "danger": scene.danger,
        "avoidable": avoidable,
        "collided": impact is not None,
        "impact": impact,
        "braked_at_s": None if braked_at is None else round(braked_at, 2),
        "emergency_stops": emergencies,
    }


def _agents(scene: Scene, t: float) -> RecordArray:
    out = np.zeros(len(scene.movers), AGENT_DTYPE)
    for row, mover in zip(out, scene.movers, strict=True):
        row["x"], row["y"], row["yaw"], row["vx"], row["vy"] = mover.motion(t)
        row["length"], row["width"], row["height"] = mover.size
        row["label"], row["id"] = int(mover.label), 1
    return out


def _box_of(row: np.void) -> Box:
    return Box(*(float(row[name]) for name in ("x", "y", "yaw", "length", "width")))


def _leaf(dtype: np.dtype, rng: np.random.Generator) -> RecordArray:
    """A cluster of echoes near the car, which is there in one sweep only."""
    out = np.zeros(25, dtype)
    for name, middle in (("x", rng.uniform(4.0, 15.0)), ("y", rng.normal(0.0, 0.5)), ("z", -0.8)):
        out[name] = middle + rng.normal(0.0, 0.06, len(out))
    return out


def _avoidable(scene: Scene, vehicle: VehicleParams) -> bool:
    """Whether full braking ``_DELAY`` after the target is in sight and in the way keeps clear of it."""
    v = scene.kmh / 3.6
    x, speed, since = 0.0, v, None
    start_y = scene.movers[0].motion(0.0)[1]
    for tick in range(round(_LIMIT_S / 0.005)):
        t = tick * 0.005
        row = _agents(scene, t)[0]
        body = Box(x + vehicle.center_offset, 0.0, 0.0, vehicle.length, vehicle.width)
        if contact.overlap(body, np.array([row]))[0][0]:
            return False
        corners = _box_of(row).corners()
        in_way = np.abs(corners[:, 1]).min() < vehicle.width / 2.0 or corners[:, 1].min() < 0.0 < corners[:, 1].max()
        in_way = in_way and corners[:, 0].max() > x + vehicle.front
        closing = speed - float(row["vx"])
        # who drives on ahead at our own speed or faster is in the way of nobody
        in_sight = abs(float(row["y"]) - start_y) >= scene.hidden_until and closing > 0.0
        if since is None and in_way and in_sight:
            since = t
        if since is not None and t - since >= _DELAY:
            speed = max(speed - vehicle.max_deceleration * 0.005, 0.0)
        x += speed * 0.005
        if speed == 0.0 and row["vx"] >= 0.0:
            return True
    return True

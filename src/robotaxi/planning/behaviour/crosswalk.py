"""Pedestrians: on crosswalks, about to step on them, and walking into the path elsewhere."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from robotaxi.planning.constraint import Constraint, Kind, stop_sentence
from robotaxi.planning.route_features import RouteCrosswalk, distance_to_polygon
from robotaxi.planning.scene import Scene
from robotaxi.types import Cause, ObjectClass

NEAR_PATH = 0.8  # m beside the corridor that a pedestrian on the crosswalk keeps closed
PASS_TIME = 1.0  # s between the car and a pedestrian that it passes before
LEFT_BEHIND = 0.3  # m/s away from the path that counts as walking away
SPARE_GAP_FROM = 2.2  # m/s^2 of braking needed from which the gap to the crosswalk is given up
LEAST_GAP = 0.3  # m
SLOW = 1.0  # m/s
FLANK_TIME = 1.5  # s until somebody walks against the side of a car that is slower
FORGET = 2.0  # s after which a vanished pedestrian's waiting time starts anew


@dataclass
class WalkerMemory:
    """When each pedestrian was first and last seen standing."""

    standing_since: dict[int, tuple[int, int]] = field(default_factory=dict)

    def stood_for(self, key: int, standing: bool, stamp_ns: int) -> float:
        """Seconds that pedestrian ``key`` has stood."""
        if not standing:
            self.standing_since.pop(key, None)
            return 0.0
        first, last = self.standing_since.get(key, (stamp_ns, stamp_ns))
        if stamp_ns - last > FORGET * 1e9:
            first = stamp_ns
        self.standing_since[key] = (first, stamp_ns)
        return (stamp_ns - first) * 1e-9

    def forget(self, stamp_ns: int) -> None:
        old = [key for key, (_, last) in self.standing_since.items() if stamp_ns - last > FORGET * 1e9]
        for key in old:
            del self.standing_since[key]


def mind_pedestrians(scene: Scene, memory: WalkerMemory) -> list[Constraint]:
    """Stops before crosswalks in use and before pedestrians who walk into the path."""
    out: list[Constraint] = []
    memory.forget(scene.stamp_ns)
    walkers = np.flatnonzero(scene.objects["label"] == int(ObjectClass.PEDESTRIAN))
    for i in walkers:
        on_crosswalk = False
        for item in scene.features.crosswalks:
            if item.s_out < scene.s or item.s_in - scene.front_s > scene.config.look_ahead / 2:
                continue
            polygon = item.crosswalk.polygon
            # most are far away: look at the bounding box before the exact distance
            x, y, reach = scene.objects["x"][i], scene.objects["y"][i], scene.config.crosswalk_margin
            low, high = polygon[:, :2].min(axis=0) - reach, polygon[:, :2].max(axis=0) + reach
            if not (low[0] <= x <= high[0] and low[1] <= y <= high[1]):
                continue
            away = distance_to_polygon(float(scene.objects["x"][i]), float(scene.objects["y"][i]), polygon)
            if away > scene.config.crosswalk_margin:
                continue
            on_crosswalk = True
            if item.s_in > scene.front_s - 0.5 and _uses(scene, int(i), item, away, memory):
                out.append(_stop_before(scene, int(i), item))
        if not on_crosswalk:
            out += _walks_into_path(scene, int(i))
    return out


def _uses(scene: Scene, i: int, item: RouteCrosswalk, away: float, memory: WalkerMemory) -> bool:
    config = scene.config
    half = scene.vehicle.width / 2.0 + config.moving_margin
    beside = abs(float(scene.offset[i])) - half
    speed = math.hypot(float(scene.objects["vx"][i]), float(scene.objects["vy"][i]))
    towards = float(scene.lateral[i])
    stood = memory.stood_for(int(scene.objects["id"][i]), speed < config.walking_speed, scene.stamp_ns)
    if beside <= 0.0:
        return True
    if towards < -LEFT_BEHIND:
        return False
    if speed < config.walking_speed:
        # standing beside the road is waiting for us; on the road it is respected for a while
        return away <= 0.0 and beside < NEAR_PATH + 1.5 and stood < config.standing_patience
    if beside < NEAR_PATH:
        return True
    if towards < config.walking_speed:
        return False
    t_enter = beside / towards
    if t_enter > config.crosswalk_time:
        return False
    to_clear = item.s_out + scene.vehicle.rear_overhang - scene.s
    clears_first = scene.speed > 2.0 and to_clear / scene.speed + PASS_TIME < t_enter
    return not clears_first


def _stop_before(scene: Scene, i: int, item: RouteCrosswalk) -> Constraint:
    distance = item.s_in - scene.front_s
    key = item.crosswalk.id
    sentence = stop_sentence(scene.standing, f"{scene.name(i)} on crosswalk {key}", distance)
    gap = scene.config.crosswalk_gap
    if scene.needed_deceleration(item.s_in - gap - scene.vehicle.front) > SPARE_GAP_FROM:
        gap = min(gap, LEAST_GAP)  # rather stop close to it than hard
    s = item.s_in - gap - scene.vehicle.front
    limit = scene.config.max_deceleration
    return Constraint(Kind.STOP, s, Cause.CROSSWALK, sentence, key, distance, deceleration=limit)


def _walks_into_path(scene: Scene, i: int) -> list[Constraint]:
    """A pedestrian off the crosswalks whose straight walk meets the car in the corridor."""
    config = scene.config
    if scene.lateral[i] < config.walking_speed or not math.isnan(scene.now[i, 0]):
        return []  # standing or parallel; or on the path already, which `follow` handles
    for p in np.flatnonzero(scene.predictions.owner == i):
        for k in range(1, scene.ahead.shape[1]):
            lo, hi = scene.ahead[p, k, 0], scene.ahead[p, k, 1]
            t = float(scene.predictions.times[k])
            beside = scene.speed < SLOW and t <= FLANK_TIME  # walks against the car's side: stay until he has passed
            if math.isnan(lo) or hi < (scene.s - scene.vehicle.rear_overhang if beside else scene.front_s):
                continue
            gone = (hi + scene.vehicle.rear_overhang - scene.s) / max(scene.speed, 0.5)
            if gone + PASS_TIME < t or scene.time_to(lo - scene.front_s) > t + 3.0:
                continue
            distance = float(lo) - scene.front_s
            sentence = stop_sentence(scene.standing, f"{scene.name(i)} walks onto the road", distance)
            s = float(lo) - config.obstacle_gap - scene.vehicle.front
            subject = int(scene.objects["id"][i])
            return [
                Constraint(
                    Kind.STOP,
                    s,
                    Cause.OBSTACLE,
                    sentence,
                    subject,
                    distance,
                    deceleration=config.emergency_deceleration,
                )
            ]
    return []

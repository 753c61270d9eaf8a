"""Traffic: motor vehicles that follow lanes, keep their distance and take their turn.

Each driver decides at 10 Hz, a fifth of them in each tick; all move in every tick. A driver enters a
junction lane only with a grant (see `right_of_way`), so no two vehicles are ever granted paths that
meet; in between, IDM keeps them apart from whoever is ahead on the path.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

from robotaxi.sim.traffic.drivers import follow, stop_in
from robotaxi.sim.traffic.lane_change import better_lane
from robotaxi.sim.traffic.looks import cyclists, looks
from robotaxi.sim.traffic.network import RoadNetwork
from robotaxi.sim.traffic.presence import Presence
from robotaxi.sim.traffic.right_of_way import may_enter, must_keep_grant
from robotaxi.sim.view import AGENT_DTYPE
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import LightState, RecordArray

FloatArray = NDArray[np.float64]

_DECIDE_EVERY = 5  # ticks between two decisions of one driver
_CHANGE_EVERY = 50  # ticks between two thoughts of one driver about changing lanes
_CYCLIST_SPEED = 0.4  # of what a driver would drive
_SIDEWAYS = 1.0  # m/s of a lane change
_STANDING = 0.3  # m/s
_STOP_SIGN_REACH = 1.5  # m: standing this near a stop line counts as stopped at it
_CROSSWALK_MARGIN = 1.0  # m from the front bumper to the crosswalk, at rest
_CROSSWALK_EDGE = 0.2  # m that must be left even when braking hard
_COURTEOUS_BRAKING = 2.5  # m/s^2 that a driver spends to let somebody cross
_REFERENCE = 0.3  # of the length, ahead of and behind the centre: about where the axles are


@dataclass
class Fleet:
    """All mutable state of the traffic. Arrays are (n,), lists have one entry a vehicle.

    ``path[i]``: the lane behind the vehicle (or -1), the one under its centre, those ahead.
    ``s``: centre along ``path[i][1]``. ``grants[i]``: junction lanes it may use, not yet left.
    ``overdue[i]``: junction lane that it has waited for too long, or -1.
    ``shift``: m to the left of the path, while changing lanes.
    ``loose``: knocked off its path by a collision; it slides to rest and stays.
    """

    rng: np.random.Generator
    records: RecordArray
    path: list[list[int]] = field(default_factory=list)
    grants: list[list[int]] = field(default_factory=list)
    stopped_for: list[int] = field(default_factory=list)
    overdue: list[int] = field(default_factory=list)
    s: FloatArray = field(default_factory=lambda: np.zeros(0))
    speed: FloatArray = field(default_factory=lambda: np.zeros(0))
    acceleration: FloatArray = field(default_factory=lambda: np.zeros(0))
    waited: FloatArray = field(default_factory=lambda: np.zeros(0))
    speed_factor: FloatArray = field(default_factory=lambda: np.zeros(0))
    headway: FloatArray = field(default_factory=lambda: np.zeros(0))
    patience: FloatArray = field(default_factory=lambda: np.zeros(0))
    loose: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    shift: FloatArray = field(default_factory=lambda: np.zeros(0))


@dataclass
class Surroundings:
    """What drivers see besides each other in one tick. ``waiting``: (crosswalk, lane) pairs with
    someone at the kerb who has priority; ``walking``: with someone on it who has not passed the lane."""

    presence: Presence
    lights: dict[int, LightState]
    waiting: set[tuple[int, int]]
    walking: set[tuple[int, int]]


class Traffic:
    """The fleet on its network. `spawn` makes it, `step` moves it."""

    def __init__(self, net: RoadNetwork, config: WorldConfig, fleet: Fleet, blocked: set[int]) -> None:
        self.net, self.config, self.fleet = net, config, fleet
        alive = net.living(blocked)
        usable = alive if any(alive) else [k not in blocked for k in range(len(net.ids))]
        self.onward = [tuple(n for n in group if usable[n]) for group in net.successors]
        self.usable = usable

    # ------------------------------------------------------------------ one tick

    def locate(self, presence: Presence) -> None:
        """Enter every vehicle into ``presence``."""
        fleet, net, horizon = self.fleet, self.net, self.config.traffic_horizon
        lengths, s, speed = fleet.records["length"].tolist(), fleet.s.tolist(), fleet.speed.tolist()
        loose, shifted = fleet.loose.tolist(), (fleet.shift != 0.0).tolist()
        for i, path in enumerate(fleet.path):
            if loose[i]:
                r = fleet.records[i]
                presence.add_wreck(
                    net, float(r["x"]), float(r["y"]), float(r["yaw"]), float(r["length"]), float(r["width"])
                )
            else:
                presence.add_vehicle(net, i, path, s[i], lengths[i], speed[i], horizon)
                if shifted[i]:
                    presence.add_beside(net, i, path, fleet.records[i], speed[i])

    def step(self, tick: int, dt: float, around: Surroundings) -> None:
        """Decide for a fifth of the drivers, then move everybody by ``dt`` seconds."""
        fleet = self.fleet
        for i in range(tick % _DECIDE_EVERY, len(fleet.path), _DECIDE_EVERY):
            if not fleet.loose[i]:
                fleet.acceleration[i] = self._decide(i, around)
        if self.config.traffic_lane_changes:
            self._change_lanes(tick, dt, around.presence)
        speed = np.maximum(fleet.speed + fleet.acceleration * dt, 0.0)
        speed[(speed < 0.1) & (fleet.acceleration < 0.1)] = 0.0
        fleet.s += np.where(fleet.loose, 0.0, 0.5 * (fleet.speed + speed) * dt)
        fleet.waited = np.where(speed < _STANDING, fleet.waited + dt, 0.0)
        fleet.speed = np.where(fleet.loose, 0.0, speed)
        ends = self.net.lengths[[path[1] for path in fleet.path]]
        for i in np.flatnonzero(fleet.s >= ends).tolist():
            self._advance(i)
        self._pose(dt)

    def knock(self, i: int, vx: float, vy: float) -> None:
        """A blow takes vehicle ``i`` off its path at the velocity given (map, m/s)."""
        self.fleet.loose[i] = True
        self.fleet.grants[i] = []
        self.fleet.overdue[i] = -1
        self.fleet.records["vx"][i], self.fleet.records["vy"][i] = vx, vy

    # ------------------------------------------------------------------ decisions

    def _decide(self, i: int, around: Surroundings) -> float:
        net, config, fleet = self.net, self.config, self.fleet
        path, s, speed = fleet.path[i], float(fleet.s[i]), float(fleet.speed[i])
        length = float(fleet.records["length"][i])
        front = s + length / 2.0
        a, b, hard, rest = (
            config.traffic_acceleration,
            config.traffic_deceleration,
            config.traffic_hard_deceleration,
            config.traffic_standstill_gap,
        )
        desired = self._desired_speed(i, path, s)
        gap, leader_speed = leader(net, around.presence, i, path, s, length, config.traffic_horizon)
        chosen = follow(speed, desired, gap, leader_speed, float(fleet.headway[i]), rest, a, b, hard)

        # beyond this distance nothing needs a decision yet
        fleet.overdue[i] = -1
        window = speed * speed / (2.0 * b) + speed + 4.0
        base = 0.0
        for k in range(1, len(path)):
            lane = path[k]
            if k > 1 and net.needs_grant[lane]:
                distance = base - front - (config.traffic_stop_margin if net.gates[path[k - 1]].kind else 0.3)
                if distance > window:
                    break
                if not self._passes(i, k, base, distance, around):
                    return min(chosen, stop_in(speed, desired, distance, rest, a, b, hard))
            halt = self._crosswalk_ahead(lane, base - front, speed, around)
            if halt < window:
                chosen = min(chosen, stop_in(speed, desired, halt, rest, a, b, hard))
            base += net.length[lane]
            if base - front > window:
                break
        else:
            chosen = min(chosen, stop_in(speed, desired, max(base - front - 1.0, 0.0), rest, a, b, hard))
        return chosen

    def _passes(self, i: int, k: int, base: float, distance: float, around: Surroundings) -> bool:
        """Whether vehicle ``i`` may drive on into ``path[k]``, ``base`` metres from its lane's start."""
        fleet, lane = self.fleet, self.fleet.path[i][k]
        if self.net.gates[fleet.path[i][k - 1]].kind == "stop":
            if fleet.speed[i] < _STANDING and distance < _STOP_SIGN_REACH:
                fleet.stopped_for[i] = lane
            if fleet.stopped_for[i] != lane:
                return False
        if lane in fleet.grants[i]:
            if must_keep_grant(self, i, k, distance, around):
                return True
            fleet.grants[i].remove(lane)
            return False
        if not may_enter(self, i, k, base, distance, around):
            return False
        fleet.grants[i].append(lane)
        return True

    def _crosswalk_ahead(self, lane: int, offset: float, speed: float, around: Surroundings) -> float:
        """Metres to the nearest crosswalk on ``lane`` that must be kept free; infinite for none."""
        for crosswalk, start, _ in self.net.crossings[lane]:
            edge = offset + start
            if edge < 0.0:
                continue  # already on it: clear it
            braking = speed * speed / (2.0 * max(edge - _CROSSWALK_EDGE, 0.1))
            walked = (crosswalk, lane) in around.walking and braking < self.config.traffic_hard_deceleration
            # those who wait look for vehicles that stand off the crosswalk, so only they give way
            awaited = (crosswalk, lane) in around.waiting and braking < _COURTEOUS_BRAKING
            if walked or (awaited and edge > 0.5 * _CROSSWALK_MARGIN):
                return edge - _CROSSWALK_MARGIN
        return math.inf

    def _desired_speed(self, i: int, path: list[int], s: float) -> float:
        net, b = self.net, self.config.traffic_deceleration
        lane = path[1]
        at = min(max(int(s / net.step[lane]), 0), net.count[lane] - 1)
        desired = net.speed[net.first[lane] + at]
        ahead = net.length[lane] - s
        for following in path[2:]:
            entry = net.speed[net.first[following]]
            desired = min(desired, math.sqrt(entry * entry + 2.0 * b * max(ahead, 0.0)))
            ahead += net.length[following]
            if ahead > self.config.traffic_horizon:
                break
        return desired * float(self.fleet.speed_factor[i])

    # ------------------------------------------------------------------ motion

    def _change_lanes(self, tick: int, dt: float, presence: Presence) -> None:
        """Who is on the way to another lane moves on; one driver in fifty thinks of it in each tick."""
        fleet = self.fleet
        rate = np.minimum(_SIDEWAYS, 0.3 * fleet.speed) * dt
        fleet.shift -= np.clip(fleet.shift, -rate, rate)
        for i in range(tick % _CHANGE_EVERY, len(fleet.path), _CHANGE_EVERY):
            found = None if fleet.loose[i] else better_lane(self, i, presence)
            if found is not None:
                lane, fleet.s[i], fleet.shift[i] = found
                fleet.path[i] = [next(iter(self.net.predecessors[lane]), -1), lane]
                fleet.stopped_for[i] = fleet.overdue[i] = -1
                self.look_ahead(i)

    def _advance(self, i: int) -> None:
        """Step to the next lane of the path, forget what is left behind, look further ahead."""
        fleet, net = self.fleet, self.net
        path = fleet.path[i]
        while len(path) > 2 and fleet.s[i] >= net.length[path[1]]:
            fleet.s[i] -= net.length[path[1]]
            path.pop(0)
            fleet.stopped_for[i] = -1
            self.look_ahead(i)
        fleet.grants[i] = [lane for lane in fleet.grants[i] if lane in path]
        if len(path) == 2:
            fleet.s[i] = min(fleet.s[i], net.length[path[1]])

    def look_ahead(self, i: int) -> None:
        """Extend the path of vehicle ``i`` to the horizon, choosing at random where it forks."""
        path = self.fleet.path[i]
        reach = sum(self.net.length[lane] for lane in path[2:])
        while reach < self.config.traffic_horizon + 60.0:
            ways = self.onward[path[-1]]
            if not ways:
                return
            # no second lap of a roundabout, where there is another way
            ways = tuple(lane for lane in ways if lane not in path) or ways
            path.append(ways[int(self.fleet.rng.integers(len(ways)))] if len(ways) > 1 else ways[0])
            reach += self.net.length[path[-1]]

    def _pose(self, dt: float) -> None:
        """Box poses: the chord between two points of the path near the axles."""
        fleet, net, records = self.fleet, self.net, self.fleet.records
        n = len(fleet.path)
        half = records["length"] * _REFERENCE
        lanes = np.array([path[1] for path in fleet.path] * 2, np.int64)  # front axles first, then rear ones
        at = np.concatenate((fleet.s + half, fleet.s - half))
        for i in np.flatnonzero((at < 0.0) | (at > net.lengths[lanes])).tolist():
            lanes[i], at[i] = _resolve(net, fleet.path[i % n], float(at[i]))
        points = _along(net.samples, *net.sampling, lanes, at).reshape(2, n, 3)
        chord = points[0] - points[1]
        yaw = np.arctan2(chord[:, 1], chord[:, 0])
        turn = np.arctan2(np.sin(yaw - records["yaw"]), np.cos(yaw - records["yaw"]))
        middle = 0.5 * (points[0] + points[1])
        if fleet.shift.any():
            middle[:, 0] -= np.sin(yaw) * fleet.shift
            middle[:, 1] += np.cos(yaw) * fleet.shift
            yaw = yaw - np.sign(fleet.shift) * np.arctan2(np.minimum(_SIDEWAYS, 0.3 * fleet.speed), fleet.speed + 0.1)
        knocked = fleet.loose.any()
        for name, value in (
            ("x", middle[:, 0]),
            ("y", middle[:, 1]),
            ("z", middle[:, 2]),
            ("yaw_rate", turn / dt if dt > 0.0 else np.zeros(n)),
            ("yaw", yaw),
            ("vx", fleet.speed * np.cos(yaw)),
            ("vy", fleet.speed * np.sin(yaw)),
        ):
            records[name] = np.where(fleet.loose, records[name], value) if knocked else value
        if knocked:
            self._slide(dt)

    def _slide(self, dt: float) -> None:
        records, loose = self.fleet.records, self.fleet.loose
        speed = np.hypot(records["vx"], records["vy"])
        left = np.maximum(speed - self.config.contact_friction_deceleration * dt, 0.0) / np.maximum(speed, 1e-6)
        for axis, velocity in (("x", "vx"), ("y", "vy")):
            records[velocity] = np.where(loose, records[velocity] * left, records[velocity])
            records[axis] = np.where(loose, records[axis] + records[velocity] * dt, records[axis])
        records["yaw_rate"] = np.where(loose, 0.0, records["yaw_rate"])


def leader(
    net: RoadNetwork, presence: Presence, i: int, path: list[int], s: float, length: float, horizon: float
) -> tuple[float, float]:
    """Gap (m) from the front bumper to whoever is next on the path, and their speed along it."""
    front = s + length / 2.0
    base = 0.0
    for lane in path[1:]:
        best, best_speed = math.inf, 0.0
        for body in presence.bodies.get(lane, ()):
            if body.who == i or base + body.mid < s or (base + body.mid == s and body.who > i):
                continue
            gap = base + body.rear - front
            if body.crossing and gap < 0.0:
                continue  # already inside: this vehicle goes first
            if gap < best:
                best, best_speed = gap, body.speed
        if best < math.inf:
            return best, best_speed
        base += net.length[lane]
        if base - front > horizon:
            break
    return math.inf, 0.0


@njit(cache=True)  # type: ignore[untyped-decorator]
def _along(
    samples: FloatArray,
    first: NDArray[np.int64],
    count: NDArray[np.int64],
    step: FloatArray,
    lanes: NDArray[np.int64],
    at: FloatArray,
) -> FloatArray:
    """(N, 3) points of ``lanes`` (N,) at the arc lengths ``at`` (N,)."""
    out = np.empty((len(lanes), 3))
    for i in range(len(lanes)):
        lane = lanes[i]
        place = at[i] / step[lane]
        k = min(max(int(place), 0), count[lane] - 2)
        fraction = place - k
        for axis in range(3):
            here = samples[first[lane] + k, axis]
            out[i, axis] = here + fraction * (samples[first[lane] + k + 1, axis] - here)
    return out


def _resolve(net: RoadNetwork, path: list[int], at: float) -> tuple[int, float]:
    """Lane and arc length of a point ``at`` metres from the start of ``path[1]``."""
    if at < 0.0 and path[0] >= 0:
        return path[0], at + net.length[path[0]]
    k = 1
    while at > net.length[path[k]] and k + 1 < len(path):
        at -= net.length[path[k]]
        k += 1
    return path[k], at


def spawn(
    net: RoadNetwork,
    config: WorldConfig,
    rng: np.random.Generator,
    blocked: set[int],
    keep_clear: tuple[float, float],
) -> Traffic:
    """A fleet on lanes outside junctions, ``traffic_spawn_spacing`` apart and
    ``traffic_ego_clearance`` from the point ``keep_clear``; fewer vehicles where there is no room."""
    fleet = Fleet(rng, np.zeros(0, dtype=AGENT_DTYPE))
    traffic = Traffic(net, config, fleet, blocked)
    lanes = [k for k in range(len(net.ids)) if traffic.usable[k] and not net.junction[k] and net.length[k] > 12.0]
    places = [(lane, s) for lane in lanes for s in np.arange(6.0, net.length[lane] - 6.0, 2.0).tolist()]
    taken: list[tuple[float, float]] = []
    chosen: list[tuple[int, float]] = []
    for k in rng.permutation(len(places)).tolist():
        if len(chosen) == config.traffic_cars:
            break
        lane, s = places[k]
        x, y, _, _ = net.poses_on(lane, s)
        if math.hypot(x - keep_clear[0], y - keep_clear[1]) < config.traffic_ego_clearance:
            continue
        if all(math.hypot(x - u, y - v) >= config.traffic_spawn_spacing for u, v in taken):
            taken.append((x, y))
            chosen.append((lane, s))
    n = len(chosen)
    fleet.records = looks(n, config, rng)
    fleet.s = np.array([s for _, s in chosen])
    fleet.speed_factor = rng.uniform(config.traffic_speed_factor_min, config.traffic_speed_factor_max, n)
    fleet.speed_factor[cyclists(fleet.records)] *= _CYCLIST_SPEED
    fleet.headway = rng.uniform(config.traffic_headway_min, config.traffic_headway_max, n)
    fleet.patience = rng.uniform(config.traffic_patience_min, config.traffic_patience_max, n)
    fleet.speed, fleet.acceleration, fleet.waited = np.zeros(n), np.zeros(n), np.zeros(n)
    fleet.loose = np.zeros(n, dtype=np.bool_)
    fleet.shift = np.zeros(n)
    fleet.grants = [[] for _ in range(n)]
    fleet.stopped_for = [-1] * n
    fleet.overdue = [-1] * n
    fleet.path = [[next(iter(net.predecessors[lane]), -1), lane] for lane, _ in chosen]
    for i, (lane, s) in enumerate(chosen):
        traffic.look_ahead(i)
        # slow enough to stop at the end of the lane, and behind the nearest who stands there
        room = min(max(net.length[lane] - s - 8.0, 0.0), config.traffic_spawn_spacing - 12.0)
        top = math.sqrt(2.0 * config.traffic_deceleration * max(room, 0.0))
        fleet.speed[i] = min(0.7 * net.speed_limit[lane], top)
    traffic._pose(0.0)
    return traffic

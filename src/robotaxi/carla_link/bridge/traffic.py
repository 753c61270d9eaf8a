"""`python -m robotaxi.carla_link.bridge.traffic HOST:PORT CARS SECONDS SEED`: cars that TrafficManager drives on a
server, as one JSON line: how well they keep their lanes, how far they come, what a frame costs the client.

A program of its own: CARLA's client ends a process on its own terms. Written against CARLA's public API.
"""

from __future__ import annotations

import json
import math
import random
import sys
import time
from typing import Any

import numpy as np

from robotaxi.carla_link.bridge.connection import CarlaError, connect, leave, parse_address
from robotaxi.carla_link.bridge.guard import TrafficGuard

_FRAME_S = 0.05
_RUN_UP_FRAMES = 60
_EVERY = 5  # frames between two looks at the lanes
_MOVES = 0.5  # m/s
_BARE_FRAMES = 100


def drive(host: str, port: int, cars: int, seconds: float, seed: int) -> dict[str, Any]:
    """See the module. Raises CarlaError, RuntimeError."""
    import carla

    client = connect(host, port)
    world = client.get_world()
    town = world.get_map()
    before = world.get_settings()
    settings = world.get_settings()
    settings.synchronous_mode, settings.fixed_delta_seconds = True, _FRAME_S
    world.apply_settings(settings)
    bare = [_timed(world.tick) for _ in range(_BARE_FRAMES)]
    manager = client.get_trafficmanager(port + 6000 if port < 59000 else port - 6000)
    manager.set_synchronous_mode(True)
    manager.set_random_device_seed(seed)
    guard = TrafficGuard(world, manager)
    library = world.get_blueprint_library().filter("vehicle.*")
    kinds = sorted((b for b in library if b.get_attribute("base_type").as_str() == "car"), key=lambda b: str(b.id))
    rng = random.Random(seed)
    points = town.get_spawn_points()
    rng.shuffle(points)
    spawn, future, autopilot = carla.command.SpawnActor, carla.command.FutureActor, carla.command.SetAutopilot
    batch = [spawn(rng.choice(kinds), p).then(autopilot(future, True, manager.get_port())) for p in points[:cars]]
    with guard:
        answers = client.apply_batch_sync(batch, True)
    ids = [answer.actor_id for answer in answers if not answer.error]
    offsets: list[float] = []
    frames_ms: list[float] = []
    last: dict[int, Any] = {}
    driven = dict.fromkeys(ids, 0.0)
    lost: dict[int, float] = {}
    for k in range(round(seconds / _FRAME_S)):
        with guard:
            frames_ms.append(_timed(world.tick))
        if k < _RUN_UP_FRAMES or k % _EVERY:
            continue
        snapshot = world.get_snapshot()
        for number in ids:
            state = snapshot.find(number)
            if state is None:  # TrafficManager takes away who has stood for 90 s
                lost.setdefault(number, round(k * _FRAME_S, 1))
                continue
            here, velocity = state.get_transform().location, state.get_velocity()
            if number in last:
                driven[number] += here.distance(last[number])
            last[number] = here
            lane = town.get_waypoint(here)
            if lane is not None and math.hypot(velocity.x, velocity.y) > _MOVES:
                yaw = math.radians(lane.transform.rotation.yaw)
                dx, dy = here.x - lane.transform.location.x, here.y - lane.transform.location.y
                offsets.append(abs(math.cos(yaw) * dy - math.sin(yaw) * dx))
    found = {
        "map": str(town.name),
        "cars": len(ids),
        "seconds": seconds,
        "still_there": len(ids) - len(lost),
        "taken_away": [
            {"after_s": t, "x": round(last[n].x, 1), "y": round(last[n].y, 1)} for n, t in lost.items() if n in last
        ],
        "lane_offset_p50_m": _percentile(offsets, 50),
        "lane_offset_p95_m": _percentile(offsets, 95),
        "measured": len(offsets),
        "driven_m_min": round(min(driven.values(), default=0.0), 1),
        "driven_m_median": round(float(np.median(list(driven.values()) or [0.0])), 1),
        "moved": sum(distance > 10.0 for distance in driven.values()),
        "frames": len(bare) + len(frames_ms),
        "bare_frame_ms_p50": _percentile(bare, 50),
        "frame_ms_p50": _percentile(frames_ms, 50),
        "frame_ms_p95": _percentile(frames_ms, 95),
        "woken": guard.woken,
    }
    guard.close()
    manager.shut_down()
    client.apply_batch_sync([carla.command.DestroyActor(number) for number in ids], True)
    world.apply_settings(before)
    return found


def _timed(work: Any) -> float:
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1e3


def _percentile(values: list[float], q: float) -> float:
    return round(float(np.percentile(values, q)), 4) if values else math.nan


def main() -> int:
    try:
        host, port = parse_address(sys.argv[1])
        print(json.dumps(drive(host, port, int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))), flush=True)
    except (CarlaError, RuntimeError) as error:
        print(f"robotaxi: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    leave(main())

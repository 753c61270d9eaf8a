"""`robotaxi bench sim`: how fast are world, sensors, CARLA server and the closed loop?"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from robotaxi.commands.bench import add_json, finish
from robotaxi.hdmap.lane_map import MapError, RouteError

_LAYER, _STEP_MS, _TICK_MS = 1.3, 2.0, 3.0
_CLOSED, _CLOSED_OFF = 1.0, 8.0


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "sim",
        help="world step, sensor layer, CARLA server, closed loop",
        description="Measures the simulated world: the sensor layer beside bare rays and a bare picture (wanted: at "
        "most 1.3 of them), a step with 100 agents (2 ms), a frame of the CARLA server with 50 cars (3 ms), the "
        "closed loop with the whole stack (real-time factor 1) and with the sensors off (8).",
    )
    parser.add_argument("--map", default="town", help="map name, or path to .osm or .xodr (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the world (default %(default)s)")
    parser.add_argument("--agents", type=int, default=100, help="in the step that is measured (default %(default)s)")
    parser.add_argument("--turns", type=int, default=20, help="measurements of each sensor (default %(default)s)")
    parser.add_argument("--ride-s", type=float, default=30.0, help="of the closed loop; 0 leaves it out")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from robotaxi.evaluation.sim_bench import carla_tick, sensor_layer, sensors_off, world_step
    from robotaxi.hdmap import load_map
    from robotaxi.resources import config_dir
    from robotaxi.sensor_rig import load_rig
    from robotaxi.sim.scenery import build_scenery
    from robotaxi.vehicle import load_vehicle

    console = Console(stderr=True)
    figures: dict[str, Any] = {"map": args.map, "seed": args.seed}
    try:
        lane_map, vehicle, rig = load_map(args.map), load_vehicle("robotaxi"), load_rig("robotaxi")
        console.print("stepping the world ...")
        figures["world"] = world_step(lane_map, vehicle, args.seed, args.agents, 300)
        console.print("measuring the sensors ...")
        scenery = build_scenery(lane_map)
        figures["sensors"] = sensor_layer(lane_map, vehicle, scenery, rig, args.seed, 50, args.turns)
        console.print("driving with the sensors off ...")
        figures["sensors_off"] = sensors_off(lane_map, vehicle, args.seed, 30.0)
    except (MapError, RouteError, ValueError) as error:
        print(f"robotaxi bench sim: {error}", file=sys.stderr)
        return finish(args, {**figures, "error": str(error)}, f"not measured: {error}", holds=False)
    try:
        console.print("ticking the CARLA server ...")
        source = args.map if args.map.endswith(".xodr") else str(config_dir() / "maps" / args.map / f"{args.map}.xodr")
        figures["carla"] = carla_tick(source, 50, 200) if Path(source).is_file() else {"left_out": "no OpenDRIVE file"}
    except ModuleNotFoundError as error:
        figures["carla"] = {"left_out": f"{error}: pip install robotaxi[carla]"}
    if args.ride_s > 0.0:
        console.print(f"{args.ride_s:g} s of closed loop with the whole stack ...")
        figures["closed_loop"] = _closed_loop(args.map, args.seed, args.ride_s)
    checks = {
        "sensor layer": figures["sensors"]["layer_ratio"] <= _LAYER,
        "world step": figures["world"]["step_cpu_ms_p50"] < _STEP_MS,
        "sensors off": figures["sensors_off"]["real_time_factor"] >= _CLOSED_OFF,
        "CARLA tick": figures["carla"].get("tick_cpu_ms_p50", 0.0) < _TICK_MS,
        "closed loop": figures.get("closed_loop", {"real_time_factor": _CLOSED})["real_time_factor"] >= _CLOSED,
    }
    figures["ratios"] = _ratios(figures)
    figures["checks"] = checks
    short = [name for name, holds in checks.items() if not holds]
    said = ", ".join(f"{name} {value:.2f}" for name, value in figures["ratios"].items())
    return finish(args, figures, said + (f"; FELL SHORT: {', '.join(short)}" if short else ""), holds=not short)


def _ratios(figures: dict[str, Any]) -> dict[str, float]:
    """Each below 1 is within what is wanted."""
    out = {
        "sensor_layer_to_bare": figures["sensors"]["layer_ratio"],
        "world_step_to_tick": figures["world"]["step_cpu_ms_p50"] / figures["world"]["per_tick_ms"],
        "real_time_factor_sensors_off": figures["sensors_off"]["real_time_factor"],
    }
    if "tick_cpu_ms_p50" in figures["carla"]:
        out["carla_tick_to_frame"] = figures["carla"]["tick_cpu_ms_p50"] / 50.0
    if "closed_loop" in figures:
        out["real_time_factor"] = figures["closed_loop"]["real_time_factor"]
    return {name: round(float(value), 4) for name, value in out.items()}


def _closed_loop(town: str, seed: int, seconds: float) -> dict[str, Any]:
    """A ride that ends after ``seconds``: whether the passenger arrives is not the question here."""
    with tempfile.TemporaryDirectory(prefix="robotaxi-bench-") as folder:
        result = Path(folder) / "ride.json"
        command = [sys.executable, "-m", "robotaxi", "ride", "--map", town, "--seed", str(seed), "--runs", folder]
        command += ["--max-duration", str(seconds), "--json", str(result)]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        summary = json.loads(result.read_text()) if result.exists() else {}
    return {
        "ride_s": summary.get("duration_s", 0.0),
        "real_time_factor": summary.get("real_time_factor") or 0.0,
        **({"error": summary["error"]} if "error" in summary else {}),
    }

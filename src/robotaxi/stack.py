"""The shared description of the stack: which executables run, with which parameters.

`robotaxi bringup` and the launch files both start what `describe` returns, so they bring up one graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from robotaxi.bags.plan import NEVER_NS, ReplayPlan, plan_replay
from robotaxi.bags.reader import bag_info, stamps_by_topic, table_topic
from robotaxi.bags.writer import BagError
from robotaxi.interfaces import VEHICLE
from robotaxi.resources import share_dir

MODES = ("sim", "carla", "bag", "vehicle")
ODOMETRY_ONLY = "odometry"  # in place of a localization map: none, but lidar odometry
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")
DOMAINS = ("simulation", "localization", "perception", "planning", "control", "safety", "dispatch")


class StackError(ValueError):
    """Launch arguments that cannot be used."""


@dataclass(frozen=True)
class StackArguments:
    """The launch arguments, as `key:=value`. See `HELP` for what each means."""

    mode: str = "sim"
    map: str = "town"
    vehicle: str = "robotaxi"
    sensors: str = "robotaxi"
    odd: str = "robotaxi"
    seed: int = 0
    namespace: str = ""
    use_sim_time: bool = True
    params_file: str = ""
    rviz: bool = False
    log_level: str = "warn"
    bag: str = ""
    nodes: str = ""
    carla: str = "127.0.0.1:2000"
    broker: str = ""
    pki: str = ""
    localization_map: str = ""
    events: str = ""


HELP: dict[str, str] = {
    "mode": "where sensor data comes from: " + " | ".join(MODES),
    "map": "map name in config/maps, or a path to a Lanelet2 .osm or an OpenDRIVE .xodr",
    "vehicle": "vehicle name in config/vehicle, or a path to a .yaml",
    "sensors": "sensor rig name in config/sensors, or a path to a .yaml",
    "odd": "operational design domain: name in config/odd, or a path to a .yaml",
    "seed": "seed of the simulator's world and noise",
    "namespace": "prefix of every node and topic: one for each vehicle",
    "use_sim_time": "true: lock step with the clock's owner; false: wall clock (default in mode:=vehicle)",
    "params_file": "YAML with parameters that override config/stack/*.param.yaml",
    "rviz": "true: start RViz with config/rviz/robotaxi.rviz",
    "log_level": " | ".join(LOG_LEVELS),
    "bag": "bag to play in mode:=bag",
    "nodes": "domains or nodes that run on the bag, by comma; empty: all that it can feed",
    "carla": "host:port of the CARLA server in mode:=carla",
    "broker": "host:port of the dispatch broker; empty: no dispatch bridge",
    "pki": "folder with the certificates for the broker",
    "localization_map": "folder that `robotaxi map build` made; odometry: lidar odometry alone; empty: neither",
    "events": "folder for the event recorder's packages; empty: no event recorder",
}


@dataclass(frozen=True)
class Executable:
    """One process: its name in ``lib/robotaxi``, its domain, the nodes in it, and its own parameters."""

    name: str
    domain: str
    roles: tuple[str, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)


def parse_arguments(words: Sequence[str]) -> StackArguments:
    """`key:=value` words to arguments. StackError names the word and what is allowed."""
    values: dict[str, Any] = {}
    types = {item.name: type(item.default) for item in fields(StackArguments)}
    for word in words:
        key, separator, text = word.partition(":=")
        if not separator:
            raise StackError(f"'{word}' is not a launch argument; write key:=value, e.g. mode:=sim")
        if key not in types:
            raise StackError(f"unknown launch argument '{key}'; known are: {', '.join(types)}")
        values[key] = _parse(key, text, types[key])
    if values.get("mode") == "vehicle":
        values.setdefault("use_sim_time", False)
    return check(StackArguments(**values))


def _parse(key: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise StackError(f"launch argument '{key}' is '{text}', allowed is true or false")
        return text.lower() == "true"
    if kind is int:
        if not text.isdigit():
            raise StackError(f"launch argument '{key}' is '{text}', expected an integer from 0")
        return int(text)
    return text


def check(arguments: StackArguments) -> StackArguments:
    """The arguments, or StackError naming the one that cannot be used."""
    for key, allowed in (("mode", MODES), ("log_level", LOG_LEVELS)):
        if getattr(arguments, key) not in allowed:
            raise StackError(
                f"launch argument '{key}' is '{getattr(arguments, key)}', allowed is one of {', '.join(allowed)}"
            )
    if arguments.mode == "bag" and not arguments.bag:
        raise StackError("mode:=bag needs bag:=PATH, the bag to play")
    if arguments.params_file and not Path(arguments.params_file).is_file():
        raise StackError(f"launch argument 'params_file' is '{arguments.params_file}', which is not a file")
    by_map = arguments.localization_map not in ("", ODOMETRY_ONLY)
    if by_map and not (Path(arguments.localization_map) / "map.yaml").is_file():
        raise StackError(
            f"launch argument 'localization_map' is '{arguments.localization_map}', which holds no map.yaml; "
            "make a map with 'robotaxi map build'"
        )
    return arguments


def describe(arguments: StackArguments, *, recorder: bool = False, record_profile: str = "") -> list[Executable]:
    """Every process of the stack, the clock's owner first."""
    stack = _driving()
    if arguments.localization_map:
        parameters = {"localization_map": arguments.localization_map}
        stack.insert(1, Executable("map_matcher", "localization", ("map_matcher",), parameters))
    if arguments.broker:
        simulated = arguments.mode in ("sim", "carla")  # car and dispatcher share this machine's clock
        address = {"broker": arguments.broker, "pki": arguments.pki, "trust_clock": simulated}
        stack.append(Executable("dispatch", "dispatch", ("dispatch_bridge",), address))
    if arguments.mode == "bag":
        return describe_replay(arguments, plan_bag(arguments.bag, arguments.nodes))
    if arguments.mode == "sim":
        stack.insert(0, Executable("simulator", "simulation", (VEHICLE,), {"seed": arguments.seed}))
    if arguments.mode == "carla":
        bridge = {"seed": arguments.seed, "carla": arguments.carla}
        stack.insert(0, Executable("carla_bridge", "simulation", (VEHICLE,), bridge))
    if recorder:
        stack.append(Executable("recorder", "simulation", ("recorder",), {
            "record_profile": record_profile, "params_file": arguments.params_file, "seed": arguments.seed
        }))  # fmt: skip
    if arguments.events:
        parameters = {"bag": str(Path(arguments.events).absolute()), "params_file": arguments.params_file}
        stack.append(Executable("event_recorder", "safety", ("event_recorder",), parameters))
    return stack


def _driving() -> list[Executable]:
    return [
        Executable("localization", "localization", ("localization",)),
        Executable("perception", "perception", ("lidar_perception", "camera_perception")),
        Executable("planning", "planning", ("planner",)),
        Executable("control", "control", ("controller",)),
        Executable("safety", "safety", ("command_gate",)),
        Executable("health", "safety", ("health_monitor",)),
    ]


def replayed_roles(names: str) -> tuple[str, ...]:
    """'perception,planner' -> the roles of these domains and nodes; '' or 'all' for every one. StackError otherwise."""
    wanted = {name.strip() for name in names.split(",") if name.strip()} - {"all"}
    stack = _driving()
    known = {item.domain for item in stack} | {role for item in stack for role in item.roles}
    unknown = sorted(wanted - known)
    if unknown:
        raise StackError(f"no node '{unknown[0]}' to replay; known are: all, {', '.join(sorted(known))}")
    return tuple(role for item in stack for role in item.roles if not wanted or item.domain in wanted or role in wanted)


@lru_cache(maxsize=4)  # every domain's launch file asks for it
def plan_bag(bag: str, nodes: str = "", from_s: float | None = None, to_s: float | None = None) -> ReplayPlan:
    """What a replay of the bag plays and what it makes anew. StackError when it can feed none of the nodes."""
    roles = replayed_roles(nodes)
    try:
        info = bag_info(bag)
        if not info.native:
            raise StackError(
                f"bag {bag} was not recorded by this stack; `robotaxi bag inspect {bag}` proposes how to adapt it"
            )
        recorded = {table_topic(topic): stamps for topic, stamps in stamps_by_topic(bag).items() if table_topic(topic)}
    except BagError as error:
        raise StackError(str(error)) from error
    plan = plan_replay(
        roles,
        recorded,
        -NEVER_NS if from_s is None else round(from_s * 1e9),
        NEVER_NS if to_s is None else round(to_s * 1e9),
    )
    if not plan.roles:
        topics = ", ".join(sorted(info.topics)) or "none"
        raise StackError(f"bag {bag}: {'; '.join(plan.warnings())}. No node can run; its topics are: {topics}")
    return plan


def describe_replay(arguments: StackArguments, plan: ReplayPlan, **player: Any) -> list[Executable]:
    """The bag player and the processes of the nodes that run. ``player``: further parameters of the bag player."""
    roles = list(plan.roles)
    gaps = [f"{topic} {first} {last}" for topic, spans in plan.gaps().items() for first, last in spans]
    left_out = [role for item in _driving() for role in item.roles if role not in roles]
    given = {"played": list(plan.played) or [""], "gaps": gaps or [""], "left_out": left_out or [""]}
    executables = [Executable("bag_player", "simulation", (), {"bag": arguments.bag, "peers": roles, **player})]
    for item in _driving():
        running = tuple(role for role in item.roles if role in roles)
        if running:
            executables.append(Executable(item.name, item.domain, running, given))
    return executables


def common_parameters(arguments: StackArguments, executables: Sequence[Executable]) -> dict[str, Any]:
    """Parameters that every node gets."""
    peers = [role for item in executables for role in item.roles]
    return {
        "map": arguments.map,
        "vehicle": arguments.vehicle,
        "sensors": arguments.sensors,
        "odd": arguments.odd,
        "use_sim_time": arguments.use_sim_time,
        "peers": peers if arguments.use_sim_time else [""],
    }


def parameter_files(arguments: StackArguments) -> list[Path]:
    """The YAML files that every node reads, the overriding one last."""
    files = sorted((share_dir() / "config" / "stack").glob("*.param.yaml"))
    return [*files, Path(arguments.params_file)] if arguments.params_file else files

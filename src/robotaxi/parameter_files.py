"""config/stack/*.param.yaml: written from the config dataclasses, and checked against them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from robotaxi.params import ParameterError, build, load_yaml
from robotaxi.stack import StackArguments, parameter_files

# node -> {parameter prefix: module:config dataclass}, by domain (one file each)
CONFIGS: dict[str, dict[str, dict[str, str]]] = {
    "localization": {
        "localization": {"": "robotaxi.localization:LocalizationConfig"},
        "map_matcher": {"": "robotaxi.localization:MatchConfig"},
    },
    "perception": {
        "lidar_perception": {"": "robotaxi.perception.lidar:LidarPerceptionConfig"},
        "camera_perception": {"": "robotaxi.perception.camera:CameraPerceptionConfig"},
    },
    "planning": {"planner": {"": "robotaxi.planning:PlannerConfig"}},
    "control": {"controller": {"": "robotaxi.control:ControlConfig"}},
    "safety": {
        "command_gate": {"": "robotaxi.safety:GateConfig"},
        "health_monitor": {"": "robotaxi.safety:HealthConfig"},
        "event_recorder": {"": "robotaxi.safety:EventConfig"},
    },
    "dispatch": {
        "dispatch_bridge": {
            "bridge": "robotaxi.dispatch.bridge:BridgeConfig",
            "outbox_limits": "robotaxi.dispatch.outbox:OutboxConfig",
        }
    },
    "simulation": {
        "simulator": {"world": "robotaxi.sim.world_config:WorldConfig"},
        "carla_bridge": {"world": "robotaxi.sim.world_config:WorldConfig"},
    },
}
# parameters that a node has beside its config; see `stack.common_parameters` and each node's `setup`
_COMMON = {"map", "vehicle", "sensors", "use_sim_time", "peers", "record_profile", "autostart"}
_OWN = {
    "map_matcher": {"localization_map"},
    "lidar_perception": {"use_map"},
    "dispatch_bridge": {"broker", "pki", "outbox", "wait_for_order"},
    "simulator": {"seed", "camera", "real_time_rate", "max_duration", "stop_after_trip"},
    "carla_bridge": {
        "seed",
        "camera",
        "real_time_rate",
        "max_duration",
        "stop_after_trip",
        "carla",
        "carla_traffic",
        "role_name",
        "blueprint",
    },
    "bag_player": {"bag", "rate"},
    "recorder": {"bag"},
    "event_recorder": {"bag"},
}


def config_type(target: str) -> type:
    """'module:Class' -> the class."""
    module, name = target.split(":")
    found: type = getattr(import_module(module), name)
    return found


def check_parameter_files(arguments: StackArguments) -> None:
    """Check every file that the stack would read. ParameterError names file, key, value and allowed range."""
    for path in parameter_files(arguments):
        check_file(path)


def check_file(path: Path) -> None:
    """Check one parameter file; see `check_parameter_files`."""
    content = load_yaml(path)
    if not isinstance(content, Mapping):
        raise ParameterError(f"{path}: expected 'node: ros__parameters:' sections")
    known = {node: prefixes for domain in CONFIGS.values() for node, prefixes in domain.items()}
    for section, body in content.items():
        node = str(section).rsplit("/", 1)[-1]
        if not isinstance(body, Mapping) or not isinstance(body.get("ros__parameters"), Mapping):
            raise ParameterError(f"{path}: section '{section}' has no 'ros__parameters:' below it")
        if node == "**":
            continue
        if node not in known and node not in _OWN:
            raise ParameterError(f"{path}: unknown node '{section}'; known are: {', '.join(sorted(known))}")
        _check_node(path, node, dict(_flat(body["ros__parameters"])), known.get(node, {}))


def _check_node(path: Path, node: str, values: dict[str, Any], prefixes: Mapping[str, str]) -> None:
    allowed = _COMMON | _OWN.get(node, set())
    left = {key: value for key, value in values.items() if key not in allowed}
    for prefix, target in prefixes.items():
        lead = prefix + "." if prefix else ""
        mine = {key: left.pop(key) for key in list(left) if key.startswith(lead) and (prefix or "." not in key)}
        build(config_type(target), {key.removeprefix(lead): value for key, value in mine.items()}, f"{path}: {node}")
    if left:
        raise ParameterError(f"{path}: {node}: unknown parameter '{next(iter(left))}'")


def _flat(values: Mapping[str, Any], lead: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{lead}{key}.")
        else:
            yield f"{lead}{key}", value


def domain_text(domain: str) -> str:
    """The domain's parameter file: every parameter with its default, meaning, unit and range."""
    lines = [f"# Parameters of the {domain} domain. Ranges are checked at start."]
    for node, prefixes in CONFIGS[domain].items():
        lines += [f"/**/{node}:", "  ros__parameters:"]
        for prefix, target in prefixes.items():
            indent = "    "
            if prefix:
                lines.append(f"{indent}{prefix}:")
                indent += "  "
            for spec in dataclasses.fields(config_type(target)):
                lines.append(f"{indent}{spec.name}: {_yaml_value(spec.default)}  # {_comment(spec)}")
    return "\n".join(lines) + "\n"


def _yaml_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        text = repr(value)
        return text if "e" not in text else f"{value:.12f}".rstrip("0")
    return repr(value) if isinstance(value, str) else str(value)


def _comment(spec: dataclasses.Field[Any]) -> str:
    meta = spec.metadata
    span = ""
    if meta.get("choices"):
        span = " | ".join(map(str, meta["choices"]))
    elif meta.get("lo") is not None or meta.get("hi") is not None:
        low = "" if meta.get("lo") is None else f"{meta['lo']:g}"
        high = "" if meta.get("hi") is None else f"{meta['hi']:g}"
        span = f"{low}..{high}"
    unit = meta.get("unit") or ""
    tail = " ".join(part for part in (span, unit) if part)
    return f"{meta.get('doc', '')}{f' [{tail}]' if tail else ''}"

"""Vehicle types: ``config/vehicle/<name>.yaml`` read into VehicleParams, every value checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from robotaxi.params import ParameterError, load_yaml
from robotaxi.resources import config_dir
from robotaxi.types import VehicleParams

# Allowed range of each field, inclusive, and its unit: from a quadricycle to a 12 m bus.
_RANGES: dict[str, tuple[float, float, str]] = {
    "wheelbase": (1.0, 8.0, "m"),
    "length": (1.5, 15.0, "m"),
    "width": (0.8, 3.0, "m"),
    "height": (0.8, 4.5, "m"),
    "rear_overhang": (0.0, 5.0, "m"),
    "max_steering": (0.1, 1.2, "rad"),
    "max_steering_rate": (0.05, 5.0, "rad/s"),
    "max_acceleration": (0.2, 10.0, "m/s^2"),
    "max_deceleration": (1.0, 12.0, "m/s^2"),
    "steering_lag": (0.0, 1.0, "s"),
    "steering_delay": (0.0, 1.0, "s"),
    "drive_lag": (0.0, 1.5, "s"),
    "drive_delay": (0.0, 1.0, "s"),
}


def load_vehicle(name_or_path: str | Path) -> VehicleParams:
    """The vehicle called ``name_or_path`` in ``config/vehicle``, or the one in that YAML file.

    Raises ParameterError naming the file, the key, the value and what is allowed.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        directory = config_dir() / "vehicle"
        known = sorted(file.stem for file in directory.glob("*.yaml"))
        if str(name_or_path) not in known:
            raise ParameterError(f"unknown vehicle '{name_or_path}'; known are: {', '.join(known) or 'none'}")
        path = directory / f"{name_or_path}.yaml"
    values = load_yaml(path)
    if not isinstance(values, Mapping):
        raise ParameterError(f"{path}: expected 'key: value' lines, found {type(values).__name__}")
    return vehicle_from(values, str(path))


def vehicle_from(values: Mapping[str, object], source: str = "vehicle") -> VehicleParams:
    """VehicleParams from plain values. Raises ParameterError as `load_vehicle` does."""
    names = [field.name for field in fields(VehicleParams)]
    for key in values:
        if key not in names:
            raise ParameterError(f"{source}: unknown parameter '{key}'; known are: {', '.join(sorted(names))}")
    for key in names:
        if key not in values:
            raise ParameterError(f"{source}: parameter '{key}' is missing")
    name = values["name"]
    if not isinstance(name, str) or not name:
        raise ParameterError(f"{source}: parameter 'name' is {name!r}, expected a name")
    vehicle = VehicleParams(name=name, **{key: _number(key, values[key], source) for key in _RANGES})
    if vehicle.wheelbase + vehicle.rear_overhang >= vehicle.length:
        raise ParameterError(
            f"{source}: wheelbase {vehicle.wheelbase:g} m and rear_overhang {vehicle.rear_overhang:g} m "
            f"do not fit in a length of {vehicle.length:g} m"
        )
    return vehicle


def _number(key: str, value: object, source: str) -> float:
    lo, hi, unit = _RANGES[key]
    allowed = f"{lo:g} to {hi:g} {unit}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ParameterError(f"{source}: parameter '{key}' is {value!r} ({type(value).__name__}), expected {allowed}")
    number = float(value)
    if not math.isfinite(number) or not lo <= number <= hi:
        raise ParameterError(f"{source}: parameter '{key}' is {number:g}, allowed is {allowed}")
    return number

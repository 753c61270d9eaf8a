"""Operational design domains: ``config/odd/<name>.yaml`` read into OperationalDesignDomain, every value checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.params import ParameterError, build, load_yaml
from robotaxi.resources import config_dir
from robotaxi.safety.odd import OddLimits, OperationalDesignDomain
from robotaxi.types import FloatArray

_HEX = frozenset("0123456789abcdef")
_SHORTEST = 8  # digits of a checksum that are told apart


def load_odd(name_or_path: str | Path, frame: LocalFrame) -> OperationalDesignDomain:
    """The domain called ``name_or_path`` in ``config/odd``, or the one in that YAML file, in the map's ``frame``.

    Raises ParameterError naming the file, the key, the value and what is allowed.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        directory = config_dir() / "odd"
        known = sorted(file.stem for file in directory.glob("*.yaml"))
        if str(name_or_path) not in known:
            raise ParameterError(
                f"unknown operational design domain '{name_or_path}'; known are: {', '.join(known) or 'none'}"
            )
        path = directory / f"{name_or_path}.yaml"
    values = load_yaml(path)
    if not isinstance(values, Mapping):
        raise ParameterError(f"{path}: expected 'key: value' lines, found {type(values).__name__}")
    rest: dict[str, Any] = dict(values)
    name, area, maps = rest.pop("name", ""), rest.pop("area", None) or [], rest.pop("map_sha256", None) or []
    if not isinstance(name, str) or not name:
        raise ParameterError(f"{path}: parameter 'name' is {name!r}, expected what the domain is, in words")
    return OperationalDesignDomain(
        name, build(OddLimits, rest, str(path)), _area(area, frame, str(path)), _maps(maps, str(path))
    )


def _area(corners: object, frame: LocalFrame, source: str) -> FloatArray:
    if not isinstance(corners, list) or 0 < len(corners) < 3:
        raise ParameterError(f"{source}: parameter 'area' is {corners!r}, expected at least 3 corners, or none")
    points = np.zeros((len(corners), 2))
    for index, corner in enumerate(corners):
        if not (isinstance(corner, list) and len(corner) == 2 and all(map(_is_number, corner))):
            raise ParameterError(
                f"{source}: corner {index + 1} of 'area' is {corner!r}, expected [latitude, longitude]"
            )
        if abs(corner[0]) > 90.0 or abs(corner[1]) > 180.0:
            raise ParameterError(
                f"{source}: corner {index + 1} of 'area' is {corner!r}; latitudes go to 90, longitudes to 180"
            )
        points[index] = frame.to_map(float(corner[0]), float(corner[1]), frame.origin[2])[:2]
    return points


def _maps(values: object, source: str) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise ParameterError(f"{source}: parameter 'map_sha256' is {values!r}, expected a list of checksums, or none")
    for value in values:
        if not isinstance(value, str) or len(value) < _SHORTEST or not set(value.lower()) <= _HEX:
            raise ParameterError(
                f"{source}: '{value}' in 'map_sha256' is no checksum; "
                f"expected {_SHORTEST} to 64 hexadecimal digits in quotes"
            )
    return tuple(value.lower() for value in values)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

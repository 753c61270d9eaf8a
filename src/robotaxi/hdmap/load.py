"""Maps by name or path: ``load_map("town")``, ``load_map("/maps/harbour.osm")``."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robotaxi.hdmap.lane_map import LaneMap, MapError
from robotaxi.params import ParameterError, load_yaml
from robotaxi.resources import config_dir

SUFFIXES = (".osm", ".xodr")


def known_maps(folder: str | Path | None = None) -> list[str]:
    """Names of the maps in ``config/maps``."""
    root = Path(folder) if folder is not None else config_dir() / "maps"
    return sorted(p.parent.name for p in root.glob("*/map.yaml"))


def load_map(name_or_path: str | Path, folder: str | Path | None = None) -> LaneMap:
    """Load a map by the name of its folder in ``config/maps``, or a .osm, .xodr or map.yaml file.

    Raises MapError: unknown map (the message lists the known ones), or what is wrong with the file.
    """
    path = Path(name_or_path)
    if path.suffix in SUFFIXES:
        return _read(path, None, None)
    if path.name == "map.yaml":
        return _from_description(path)
    root = Path(folder) if folder is not None else config_dir() / "maps"
    folders = (root / str(name_or_path), path)  # a known name wins over a folder that happens to be called so
    description = next((each / "map.yaml" for each in folders if (each / "map.yaml").is_file()), None)
    if description is None:
        known = ", ".join(known_maps(folder)) or "none"
        raise MapError(f"unknown map '{name_or_path}'; known maps: {known}; or give the path of a .osm or .xodr file")
    return _from_description(description)


def _from_description(path: Path) -> LaneMap:
    try:
        values = load_yaml(path)
    except ParameterError as error:
        raise MapError(str(error)) from error
    if not isinstance(values, Mapping):
        raise MapError(f"{path}: expected 'key: value' lines")
    origin = values.get("origin")
    if not isinstance(origin, Mapping):
        raise MapError(f"{path}: needs 'origin' with latitude_deg, longitude_deg and altitude")
    try:
        place = (float(origin["latitude_deg"]), float(origin["longitude_deg"]), float(origin.get("altitude", 0.0)))
    except (KeyError, TypeError, ValueError) as error:
        raise MapError(f"{path}: origin: {error} is missing or not a number") from error
    file = values.get("lanelet2") or values.get("opendrive")
    if not isinstance(file, str):
        raise MapError(f"{path}: needs 'lanelet2' or 'opendrive' with the name of a file beside it")
    return _read(path.parent / file, _text(values, "name") or path.parent.name, place)


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key, "")
    return value if isinstance(value, str) else str(value)


def _read(path: Path, name: str | None, origin: tuple[float, float, float] | None) -> LaneMap:
    with _no_cycle_search():
        if path.suffix == ".osm":
            from robotaxi.hdmap.lanelet2_io import read_lanelet2

            return read_lanelet2(path, name, origin)
        from robotaxi.hdmap.opendrive import read_opendrive

        return read_opendrive(path, name, origin)


@contextmanager
def _no_cycle_search() -> Iterator[None]:
    """Pause the garbage collector: a file's 50,000 elements hold no cycles, and the search for them
    takes a third of the loading time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()

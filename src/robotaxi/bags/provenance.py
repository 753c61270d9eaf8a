"""Where a bag comes from: what a later replay needs to be the same, and what a reader wants to know.

Keys of the bag's custom data: ``robotaxi`` (version of these keys), ``git_revision``, ``map``, ``vehicle``,
``sensors`` with a ``..._sha256`` each, ``models_sha256``, ``config_sha256``, ``seed``, ``parameters`` (YAML,
as the nodes read them), ``overrides`` (YAML, what --params-file held), ``camera``.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from robotaxi.bags.reader import custom_data
from robotaxi.bags.writer import KEYS_VERSION, NATIVE
from robotaxi.resources import config_dir, share_dir

_GIT_S = 5.0
_PARAMETERS = "ros__parameters"


def origin(
    map_name: str,
    vehicle: str,
    sensors: str,
    seed: int | None = None,
    params_file: str = "",
    camera: bool = True,
    odd: str = "",
) -> dict[str, str]:
    """Custom data of a recording that begins now. Files that are missing get an empty checksum."""
    return {
        NATIVE: KEYS_VERSION,
        "git_revision": git_revision(),
        "map": map_name,
        "map_sha256": _sha256(_files_of(map_name, "maps")),
        "vehicle": vehicle,
        "vehicle_sha256": _sha256(_files_of(vehicle, "vehicle")),
        "sensors": sensors,
        "sensors_sha256": _sha256(_files_of(sensors, "sensors")),
        "odd": odd,
        "odd_sha256": _sha256(_files_of(odd, "odd")),
        "models_sha256": _sha256(sorted(p for p in (share_dir() / "models").rglob("*") if p.is_file())),
        "config_sha256": _sha256(sorted((config_dir() / "stack").glob("*.yaml"))),
        "seed": "" if seed is None else str(seed),
        "parameters": yaml.safe_dump(_parameters(params_file), sort_keys=True),
        "overrides": Path(params_file).read_text(encoding="utf-8") if params_file else "",
        "camera": "true" if camera else "false",
    }


def captured(source: Path, roles: Sequence[str], params_file: str = "") -> dict[str, str]:
    """Custom data of what a replay of ``source`` made anew by ``roles``, with the code and parameters of now."""
    known = custom_data(source)
    now = origin(known.get("map", ""), known.get("vehicle", ""), known.get("sensors", ""), None, params_file,
                 odd=known.get("odd", ""))  # fmt: skip
    return {**known, **now, "seed": known.get("seed", ""), "replay_of": str(source), "replayed": ",".join(roles)}


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """What differs between two origins, in sentences: revision, files, and each parameter by name."""
    said = []
    for key in ("git_revision", "map_sha256", "vehicle_sha256", "sensors_sha256", "odd_sha256", "models_sha256"):
        old, new = before.get(key, ""), after.get(key, "")
        if old and new and old != new:
            said.append(f"{key.removesuffix('_sha256')} was {old[:12]}, is {new[:12]}")
    old_values, new_values = _flat(before.get("parameters", "")), _flat(after.get("parameters", ""))
    if old_values and new_values:
        for name in sorted(old_values.keys() | new_values.keys()):
            if old_values.get(name) != new_values.get(name):
                said.append(f"parameter {name} was {old_values.get(name, 'unset')}, is {new_values.get(name, 'unset')}")
    return said


def strangers(known: Mapping[str, str], map_name: str = "", vehicle: str = "", sensors: str = "") -> list[str]:
    """Sentences about files that are not those of the recording ``known``, or are gone; names: what is used instead.

    A bag replayed on another map, vehicle or sensor rig gives other results, however alike the names are.
    """
    said = []
    for key, folder, given in (
        ("map", "maps", map_name),
        ("vehicle", "vehicle", vehicle),
        ("sensors", "sensors", sensors),
        ("odd", "odd", ""),
    ):
        recorded, name = known.get(f"{key}_sha256", ""), given or known.get(key, "")
        if not recorded or not name:
            continue
        now = _sha256(_files_of(name, folder))
        if not now:
            said.append(f"the {key} '{name}' that the bag was recorded with is not here")
        elif now != recorded:
            other = known.get(key, "")
            if name == other:
                said.append(f"the {key} '{name}' has changed since the bag was recorded")
            else:
                said.append(f"the {key} '{name}' is not the one that the bag was recorded with ('{other}')")
    return said


def git_revision() -> str:
    """Commit of the checkout, with '-dirty' where files differ from it; 'unknown' outside of one."""
    command = ["git", "-C", str(share_dir()), "describe", "--always", "--dirty", "--abbrev=40", "--match="]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_S)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def _parameters(params_file: str) -> dict[str, Any]:
    """Node -> its parameters, from config/stack and the overriding file."""
    out: dict[str, Any] = {}
    files = sorted((config_dir() / "stack").glob("*.param.yaml"))
    for file in [*files, Path(params_file)] if params_file else files:
        body: Any = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        for node, group in body.items():
            values = group.get(_PARAMETERS, {}) if isinstance(group, dict) else {}
            out.setdefault(str(node).strip("/*").replace("/", ".") or "all", {}).update(values)
    return out


def _flat(text: str, prefix: str = "") -> dict[str, Any]:
    try:
        body: Any = yaml.safe_load(text) if text else {}
    except yaml.YAMLError:
        return {}
    out: dict[str, Any] = {}

    def walk(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(item, f"{name}.{key}" if name else str(key))
        else:
            out[name] = value

    walk(body, prefix)
    return out


def _files_of(name: str, folder: str) -> list[Path]:
    """The files behind a name in ``config/<folder>`` or a path."""
    if not name:
        return []
    path, known = Path(name), config_dir() / folder
    if path.is_file():
        return [path]
    for candidate in (path, known / name):
        if candidate.is_dir():
            return sorted(p for p in candidate.rglob("*") if p.is_file())
    return [file for file in (known / f"{name}.yaml",) if file.is_file()]


def _sha256(files: Iterable[Path]) -> str:
    files = list(files)
    if not files:
        return ""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()

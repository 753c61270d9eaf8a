"""Learned models: what ``models/manifest.yaml`` says of each, where its file is, and whether it is the right one."""

from __future__ import annotations

import hashlib
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from robotaxi.resources import share_dir

_CHUNK = 1 << 20
_TIMEOUT_S = 30.0
_NEEDED = ("file", "sha256", "task", "licence")


class ModelError(ValueError):
    """A model that is unknown, missing or not what the manifest says; the message says what to do about it."""


@dataclass(frozen=True)
class ModelEntry:
    """One model of the manifest. ``shipped``: its file lies in ``models/``; others come from ``source``."""

    name: str
    file: str
    sha256: str
    task: str
    licence: str
    source: str = ""
    input: str = ""
    classes: tuple[str, ...] = ()
    card: str = ""
    trained_by: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def shipped(self) -> bool:
        return not self.source


def models_dir() -> Path:
    """Folder of the manifest and of the weights that ship with the package."""
    return share_dir() / "models"


def cache_dir() -> Path:
    """Folder of pulled weights: ``$XDG_CACHE_HOME/robotaxi/models``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "robotaxi" / "models"


def read_manifest(path: Path | None = None) -> dict[str, ModelEntry]:
    """Every entry by name. Raises ModelError naming file, model and key."""
    path = path or models_dir() / "manifest.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    models = content.get("models") if isinstance(content, dict) else None
    if not isinstance(models, dict):
        raise ModelError(f"{path}: expected 'models:' with one entry a model")
    out = {}
    for name, values in models.items():
        known = set(ModelEntry.__dataclass_fields__) - {"name"}
        if not isinstance(values, dict) or not set(values) <= known:
            odd = sorted(set(values) - known) if isinstance(values, dict) else [type(values).__name__]
            raise ModelError(f"{path}: model '{name}': unknown keys {', '.join(map(str, odd))}")
        missing = [key for key in _NEEDED if not isinstance(values.get(key), str)]
        if missing:
            raise ModelError(f"{path}: model '{name}': '{missing[0]}' is missing")
        out[str(name)] = ModelEntry(name=str(name), **{**values, "classes": tuple(values.get("classes", ()))})
    return out


def entry(name: str) -> ModelEntry:
    manifest = read_manifest()
    if name not in manifest:
        raise ModelError(f"unknown model '{name}'; the manifest knows {', '.join(sorted(manifest)) or 'none'}")
    return manifest[name]


def find(item: ModelEntry, also: Iterable[Path] = ()) -> Path:
    """The model's verified file: shipped, pulled, or in one of the folders ``also``.

    Raises ModelError when it is nowhere, or when a file of its name is another one.
    """
    tried = [models_dir(), cache_dir(), *also]
    for folder in tried:
        path = folder / item.file
        if path.is_file():
            verify(item, path)
            return path
    cure = "reinstall the package" if item.shipped else f"run 'robotaxi models pull {item.name}'"
    raise ModelError(f"model '{item.name}': {item.file} is not in {', '.join(str(t) for t in tried)}; {cure}")


def verify(item: ModelEntry, path: Path) -> None:
    """Raises ModelError when the file's SHA-256 is not the manifest's."""
    actual = sha256(path)
    if actual != item.sha256:
        raise ModelError(f"{path}: SHA-256 is {actual[:12]}..., the manifest says {item.sha256[:12]}...; "
                         f"the file is damaged or another version")  # fmt: skip


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def pull(item: ModelEntry, source: Path | None = None) -> Path:
    """Fetch a model that is not shipped into the cache, from its ``source`` or from a local file or folder.

    Nothing that fails the checksum stays behind.
    """
    if item.shipped:
        return find(item)
    target = cache_dir() / item.file
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(target.suffix + ".part")
    try:
        if source is not None:
            shutil.copyfile(source / item.file if source.is_dir() else source, part)
        else:
            with urllib.request.urlopen(item.source, timeout=_TIMEOUT_S) as answer, part.open("wb") as stream:
                shutil.copyfileobj(answer, stream, _CHUNK)
        verify(item, part)
        part.replace(target)
    except (OSError, urllib.error.URLError) as error:
        raise ModelError(f"model '{item.name}': cannot be fetched from {source or item.source}: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return target

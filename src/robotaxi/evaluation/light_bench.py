"""Traffic light states on class folders of crops: accuracy, confusions, milliseconds."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robotaxi.evaluation.camera_bench import read_image
from robotaxi.evaluation.perception_bench import percentiles
from robotaxi.perception.camera.light_state import STATES, LightStateNetwork
from robotaxi.types import LightState

_NAMES = {
    "red": LightState.RED, "stop": LightState.RED, "yellow": LightState.AMBER, "amber": LightState.AMBER,
    "orange": LightState.AMBER, "green": LightState.GREEN, "go": LightState.GREEN, "off": LightState.OFF,
    "unknown": LightState.UNKNOWN, "warning": LightState.AMBER,
}  # fmt: skip
_COLOURS = ("red", "yellow", "amber", "orange", "green")
_WAYS = ("left", "right", "forward", "straight")  # as in "goLeft"
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
LEAST_RIGHT = 0.99


@dataclass(frozen=True)
class Crop:
    path: Path
    state: LightState


class CropError(ValueError):
    """Folders without crops; the message names what was expected."""


def find_crops(data_dir: str | Path) -> list[Crop]:
    """Every image in a folder named for a state (red, amber or yellow, green, off), however deep below ``data_dir``,
    itself or one that it lies in."""
    data_dir = Path(data_dir)
    if not data_dir.is_dir():
        raise CropError(f"{data_dir}: no such folder; expected folders named red, amber or yellow, and green in it")
    crops = []
    for path in sorted(data_dir.rglob("*")):
        within = path.relative_to(data_dir).parts[-2::-1]  # the nearest folder first
        states = (state_of(name) for name in (*within, data_dir.resolve().name))
        state = next((state for state in states if state is not None), None)
        if path.suffix.lower() in _IMAGES and state is not None:
            crops.append(Crop(path, state))
    if not crops:
        raise CropError(f"{data_dir}: holds no images in folders named red, amber or yellow, green or off")
    return crops


def state_of(folder: str) -> LightState | None:
    """The state that a folder is named for: "red", "Light_Green", "goLeft"; None for other names and for two."""
    exact = _NAMES.get(folder.lower())
    if exact is not None:
        return exact
    words = [word.lower() for word in _WORD.findall(folder)]
    if len(words) > 1 and words[0] in _NAMES and set(words[1:]) <= set(_WAYS):
        return _NAMES[words[0]]
    named = {_NAMES[word] for word in words if word in _COLOURS}
    return named.pop() if len(named) == 1 else None


def run_lights(
    crops: Sequence[Crop],
    network: LightStateNetwork,
    trained_on: Collection[str],
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Figures over all crops, and over those whose file name is not in ``trained_on``.

    A crop of a light that is off, or of no light, is right when no colour is claimed.
    """
    truth, found, seen, milliseconds, unreadable = [], [], [], [], []
    for crop in crops:
        progress()
        image = read_image(crop.path)
        if image is None:
            unreadable.append(str(crop.path))
            continue
        begun = time.perf_counter()
        state, _ = network.read(image)
        milliseconds.append(1e3 * (time.perf_counter() - begun))
        truth.append(int(crop.state if crop.state in STATES else LightState.UNKNOWN))
        found.append(int(state))
        seen.append(crop.path.name in trained_on)
    t, f, s = np.array(truth, int), np.array(found, int), np.array(seen, bool)
    figures: dict[str, Any] = {"crops": len(t), "unreadable": unreadable, "ms": percentiles(milliseconds),
               "all": _score(t, f), "held_out": _score(t[~s], f[~s]), "trained_on": int(s.sum())}  # fmt: skip
    held = figures["held_out"]
    figures["holds"] = bool(
        held["crops"] and held["accuracy"] >= LEAST_RIGHT and held["red_green_confused"] == 0 and not unreadable
    )
    return figures


def _score(truth: np.ndarray, found: np.ndarray) -> dict[str, Any]:
    order = [*STATES, LightState.UNKNOWN]
    matrix = {a.name.lower(): {b.name.lower(): int(np.sum((truth == a) & (found == b))) for b in order} for a in order}
    by_class = {name: round(row[name] / sum(row.values()), 4) for name, row in matrix.items() if sum(row.values())}
    return {
        "crops": len(truth),
        "accuracy": round(float(np.mean(truth == found)), 5) if len(truth) else None,
        "recall": by_class,
        "red_green_confused": matrix["red"]["green"] + matrix["green"]["red"],
        "confusion": matrix,
    }

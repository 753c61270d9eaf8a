"""Traffic light states on class folders of crops: accuracy, confusions, milliseconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from robotaxi.evaluation.perception_bench import percentiles
from robotaxi.perception.camera.light_state import STATES, LightStateNetwork
from robotaxi.types import LightState

_NAMES = {
    "red": LightState.RED, "stop": LightState.RED, "yellow": LightState.AMBER, "amber": LightState.AMBER,
    "orange": LightState.AMBER, "green": LightState.GREEN, "go": LightState.GREEN, "off": LightState.OFF,
    "unknown": LightState.UNKNOWN,
}  # fmt: skip
_IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
LEAST_RIGHT = 0.99


@dataclass(frozen=True)
class Crop:
    path: Path
    state: LightState


class CropError(ValueError):
    """Folders without crops; the message names what was expected."""


def find_crops(data_dir: str | Path) -> list[Crop]:
    """Every image in a folder named for a state (red, amber or yellow, green, off), however deep below ``data_dir``."""
    data_dir = Path(data_dir)
    if not data_dir.is_dir():
        raise CropError(f"{data_dir}: no such folder; expected folders named red, amber or yellow, and green in it")
    crops = [
        Crop(path, _NAMES[path.parent.name.lower()])
        for path in sorted(data_dir.rglob("*"))
        if path.suffix.lower() in _IMAGES and path.parent.name.lower() in _NAMES
    ]
    if not crops:
        raise CropError(f"{data_dir}: holds no images in folders named red, amber or yellow, green or off")
    return crops


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
        image: Any = cv2.imread(str(crop.path))
        if image is None:
            unreadable.append(str(crop.path))
            continue
        begun = time.perf_counter()
        state, _ = network.read(image.astype(np.uint8, copy=False))
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

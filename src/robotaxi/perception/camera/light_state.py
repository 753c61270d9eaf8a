"""State of a traffic light from a crop of its head: colours by height, weighed by a small trained network.

Made for real cameras, where lamps bloom, arrows are thin and red looks pink: a head's colours are pooled over rows
and columns of the crop, and two layers trained on real crops (`robotaxi train lights`) tell red, amber and green.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from robotaxi.types import FloatArray, LightState

STATES = (LightState.RED, LightState.AMBER, LightState.GREEN)
_WIDTH, _HEIGHT = 24, 48  # px, to which a crop is brought
_COLUMNS, _ROWS = 3, 12
SURE = 0.8  # probability from which on a colour is claimed; of the training crops all lie above 0.97
_LEAST = 4  # px, smaller crops show nothing
FEATURES = 5 * _ROWS * _COLUMNS


class LightModelError(ValueError):
    """A weights file that does not hold this network; the message names file and array."""


@dataclass(frozen=True)
class LightStateNetwork:
    """Two layers: ``hidden`` (FEATURES + 1, H), ``out`` (H + 1, 3), the last rows being the offsets."""

    hidden: FloatArray
    out: FloatArray

    @staticmethod
    def load(path: str | Path) -> LightStateNetwork:
        """Raises LightModelError for a file that is missing, corrupt or of another shape."""
        try:
            with np.load(path, allow_pickle=False) as data:
                hidden, out = data["hidden"].astype(np.float64), data["out"].astype(np.float64)
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise LightModelError(f"{path}: is no traffic light network: {error}") from error
        fits = hidden.ndim == out.ndim == 2 and hidden.shape[0] == FEATURES + 1
        if not fits or out.shape != (hidden.shape[1] + 1, len(STATES)) or not np.isfinite(hidden).all():
            raise LightModelError(f"{path}: arrays are {hidden.shape} and {out.shape}, expected ({FEATURES + 1}, H) "
                                  f"and (H + 1, {len(STATES)})")  # fmt: skip
        return LightStateNetwork(hidden, out)

    def probabilities(self, features: FloatArray) -> FloatArray:
        """(N, 3) of STATES from (N, FEATURES)."""
        inner = np.maximum(features @ self.hidden[:-1] + self.hidden[-1], 0.0)
        logits = inner @ self.out[:-1] + self.out[-1]
        share = np.exp(logits - logits.max(axis=1, keepdims=True))
        result: FloatArray = share / share.sum(axis=1, keepdims=True)
        return result

    def read(self, crop_bgr: NDArray[np.uint8], least: float = SURE) -> tuple[LightState, float]:
        """State and its probability; UNKNOWN below ``least`` and for crops too small to show anything."""
        if crop_bgr.ndim != 3 or min(crop_bgr.shape[:2]) < _LEAST:
            return LightState.UNKNOWN, 0.0
        share = self.probabilities(features(crop_bgr)[None])[0]
        best = int(share.argmax())
        return (STATES[best], float(share[best])) if share[best] >= least else (LightState.UNKNOWN, float(share[best]))


def features(crop_bgr: NDArray[np.uint8]) -> FloatArray:
    """(FEATURES,): how red, amber, green and bright each part of the head is, and where it is brightest."""
    small = cv2.resize(crop_bgr, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float64) / 255.0
    blue, green, red = small[..., 0], small[..., 1], small[..., 2]
    bright = small.max(axis=2)
    planes = np.stack(
        [np.maximum(red - np.maximum(green, blue), 0.0), np.maximum(np.minimum(red, green) - blue, 0.0),
         np.maximum(np.minimum(green, blue) - red, 0.0), bright - np.median(bright),
         bright - small.min(axis=2)], axis=-1)  # fmt: skip
    cells = planes.reshape(_ROWS, _HEIGHT // _ROWS, _COLUMNS, _WIDTH // _COLUMNS, 5)
    pooled = 0.5 * cells.mean(axis=(1, 3)) + 0.5 * cells.max(axis=(1, 3))
    # how strong a colour is depends on the exposure: what counts is where it is strongest
    strongest = pooled.max(axis=(0, 1), keepdims=True)
    result: FloatArray = (pooled / (strongest + 0.08)).reshape(-1)
    return result

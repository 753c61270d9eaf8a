"""Training of the traffic light network on class folders of real crops."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from robotaxi.evaluation.camera_bench import read_image
from robotaxi.evaluation.light_bench import Crop, CropError
from robotaxi.perception.camera.light_state import STATES, LightStateNetwork, features
from robotaxi.types import FloatArray

_HIDDEN = 32
EPOCHS = 60
_BATCH = 64
_COPIES = 12  # of each crop, each changed a little
_RATE, _DECAY = 2e-3, 1e-4


@dataclass(frozen=True)
class Split:
    train: tuple[Crop, ...]
    held_out: tuple[Crop, ...]


def split_by_name(crops: list[Crop]) -> Split:
    """Half of each class, by a hash of the file name: stable whatever else lies in the folder."""
    train, held = [], []
    for state in STATES:
        mine = sorted((c for c in crops if c.state == state),
                      key=lambda c: hashlib.sha256(c.path.name.encode()).hexdigest())  # fmt: skip
        train += mine[: len(mine) // 2]
        held += mine[len(mine) // 2 :]
    return Split(tuple(train), tuple(held))


def train(
    crops: tuple[Crop, ...], seed: int, progress: Callable[[int], None] = lambda epoch: None
) -> LightStateNetwork:
    """Adam on softmax loss with every class weighing the same. The same crops and seed give the same weights.

    Raises CropError naming a crop that is no picture, and the classes that there are too few of. ``progress``: epochs
    done, of `EPOCHS`."""
    few = [state.name.lower() for state in STATES if not any(crop.state == state for crop in crops)]
    if few:
        raise CropError(f"no crops to train on of {' and '.join(few)}: at least 2 of each state are needed")
    rng = np.random.default_rng([seed, 8])
    rows, labels = [], []
    for crop in crops:
        image = read_image(crop.path)
        if image is None:
            raise CropError(f"{crop.path}: cannot be read as a picture; copy it again or remove it")
        for copy in range(_COPIES):
            rows.append(features(image if copy == 0 else _changed(image, rng)))
            labels.append(STATES.index(crop.state))
    x, y = np.array(rows), np.array(labels)
    count = np.bincount(y, minlength=len(STATES))
    weight = (len(y) / (len(STATES) * np.maximum(count, 1)))[y]
    hidden = rng.normal(0.0, np.sqrt(2.0 / x.shape[1]), (x.shape[1] + 1, _HIDDEN))
    out = rng.normal(0.0, np.sqrt(1.0 / _HIDDEN), (_HIDDEN + 1, len(STATES)))
    parameters, moments = [hidden, out], [[np.zeros_like(p), np.zeros_like(p)] for p in (hidden, out)]
    step = 0
    for epoch in range(EPOCHS):
        rate = _RATE * 0.5 * (1.0 + np.cos(np.pi * epoch / EPOCHS))
        for batch in np.array_split(rng.permutation(len(y)), max(len(y) // _BATCH, 1)):
            step += 1
            gradients = _gradients(x[batch], y[batch], weight[batch], *parameters)
            for p, g, m in zip(parameters, gradients, moments, strict=True):
                m[0][:] = 0.9 * m[0] + 0.1 * g
                m[1][:] = 0.999 * m[1] + 0.001 * g * g
                p -= rate * (m[0] / (1 - 0.9**step) / (np.sqrt(m[1] / (1 - 0.999**step)) + 1e-8) + _DECAY * p)
        progress(epoch + 1)
    return LightStateNetwork(hidden, out)


def _gradients(
    x: FloatArray, y: np.ndarray, weight: FloatArray, hidden: FloatArray, out: FloatArray
) -> tuple[FloatArray, FloatArray]:
    inner = np.maximum(x @ hidden[:-1] + hidden[-1], 0.0)
    logits = inner @ out[:-1] + out[-1]
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    share[np.arange(len(y)), y] -= 1.0
    share *= weight[:, None] / len(y)
    back = (share @ out[:-1].T) * (inner > 0.0)
    return np.vstack([x.T @ back, back.sum(axis=0)]), np.vstack([inner.T @ share, share.sum(axis=0)])


def _changed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shifted, scaled, blurred, brighter or darker, mirrored, of a slightly different tint."""
    height, width = image.shape[:2]
    scale = rng.uniform(0.85, 1.15, 2)
    shift = rng.uniform(-0.08, 0.08, 2) * [width, height] + 0.5 * (1.0 - scale) * [width, height]
    matrix = np.array([[scale[0], rng.normal(0.0, 0.05), shift[0]], [0.0, scale[1], shift[1]]])
    out = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    if rng.random() < 0.5:
        out = cv2.flip(out, 1)
    if rng.random() < 0.4:
        out = cv2.GaussianBlur(out, (0, 0), float(rng.uniform(0.4, 0.05 * width + 0.5)))
    if rng.random() < 0.3:  # seen from afar
        small = max(0.15, 10.0 / height)
        out = cv2.resize(cv2.resize(out, None, fx=small, fy=small, interpolation=cv2.INTER_AREA), (width, height))
    tint = rng.uniform(0.88, 1.12, 3) * rng.uniform(0.5, 1.35)
    noisy = out.astype(np.float64) * tint + rng.uniform(-15.0, 25.0) + rng.normal(0.0, 4.0, out.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)

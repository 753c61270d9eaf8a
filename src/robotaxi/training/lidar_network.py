"""The second look's network, its training and its export. Needs torch, of the extra ``train``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from robotaxi.perception.lidar.patches import CHANNELS, FACTS, SIDE
from robotaxi.training.lidar_data import TARGETS, Examples
from robotaxi.types import ObjectClass

_CLASSES = len(ObjectClass)
_WEIGHTS = (1.0, 1.0, 1.0, 2.5, 2.5)  # two-wheelers and people are rare in the scenes
_BOX_SHARE = 0.5
_SINE_FACT = 10  # the fact that changes sign when the scene is mirrored


@dataclass(frozen=True)
class TrainingConfig:
    epochs: int = 8
    batch: int = 64
    rate: float = 2e-3
    seed: int = 0

    def steps(self, examples: int) -> int:
        """Batches of all epochs."""
        return max(examples // self.batch, 1) * self.epochs


class SecondLookNetwork(nn.Module):
    """Patch (N, CHANNELS, SIDE, SIDE) and facts (N, FACTS) to logits (N, 5) and box values (N, TARGETS)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(CHANNELS, 32, 4, 4, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 48, 3, 2, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Sequential(nn.Linear(48 * (SIDE // 8) ** 2 + FACTS, 96), nn.ReLU())
        self.drop = nn.Dropout(0.2)
        self.label, self.box = nn.Linear(96, _CLASSES), nn.Linear(96, TARGETS)

    def forward(self, patch: torch.Tensor, fact: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inner = self.drop(self.head(torch.cat([self.body(patch).flatten(1), fact], 1)))
        return self.label(inner), self.box(inner)


def train(
    examples: Examples, config: TrainingConfig, progress: Callable[[int, float], None] = lambda step, loss: None
) -> SecondLookNetwork:
    """Adam with a one-cycle rate; on one thread the same examples and seed give the same weights. ``progress``: steps
    done, mean loss of the epoch so far."""
    torch.manual_seed(config.seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng([config.seed, 9])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = SecondLookNetwork().to(device)
    optimiser = torch.optim.AdamW(network.parameters(), config.rate, weight_decay=1e-3)
    steps = config.steps(len(examples.label)) // config.epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.rate, total_steps=steps * config.epochs)
    weight = torch.tensor(_WEIGHTS, device=device)
    for epoch in range(config.epochs):
        order, total = rng.permutation(len(examples.label))[: steps * config.batch], 0.0
        for step, index in enumerate(order.reshape(steps, -1), start=1):
            patch, fact, label, target = (t.to(device) for t in _batch(examples, index, rng))
            logits, box = network(patch, fact)
            loss = nn.functional.cross_entropy(logits, label, weight, label_smoothing=0.02)
            some = label > 0
            if some.any():
                loss = loss + _BOX_SHARE * nn.functional.smooth_l1_loss(box[some], target[some], beta=0.2)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
            progress(epoch * steps + step, total / step)
    return network.cpu().eval()


def _batch(examples: Examples, index: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
    """Some examples, half of them mirrored at the line of sight, some with returns taken out."""
    patch = examples.patch[index].astype(np.float32) / 255.0
    fact, target = examples.fact[index].copy(), examples.target[index].copy()
    mirrored = rng.random(len(index)) < 0.5
    patch[mirrored] = patch[mirrored][..., ::-1]
    fact[mirrored, _SINE_FACT] = 1.0 - fact[mirrored, _SINE_FACT]
    target[np.ix_(np.flatnonzero(mirrored), np.array([1, 5]))] *= -1.0
    thinned = np.flatnonzero(rng.random(len(index)) < 0.3)
    lost = rng.uniform(0.05, 0.5, (len(thinned), 1, 1, 1))
    patch[thinned] *= rng.random((len(thinned), *patch.shape[1:]), np.float32) > lost
    tensors = (patch, fact, examples.label[index].astype(np.int64), target)
    return tuple(torch.from_numpy(np.ascontiguousarray(t)) for t in tensors)


@torch.no_grad()
def evaluate(network: SecondLookNetwork, examples: Examples, batch: int = 256) -> dict[str, Any]:
    """Recall and precision of each class, and the centre's median error, over examples never trained on."""
    found, errors = [], []
    for first in range(0, len(examples.label), batch):
        part = slice(first, first + batch)
        patch = torch.from_numpy(examples.patch[part].astype(np.float32) / 255.0)
        logits, box = network(patch, torch.from_numpy(examples.fact[part]))
        found.append(logits.argmax(1).numpy())
        errors.append(np.hypot(*(box.numpy() - examples.target[part])[:, :2].T))
    guess, error = np.concatenate(found), np.concatenate(errors)
    out: dict[str, Any] = {"examples": len(guess)}
    for kind in ObjectClass:
        truth = examples.label == kind
        out[kind.name.lower()] = {
            "count": int(truth.sum()),
            "recall": round(float((guess[truth] == kind).mean()), 4) if truth.any() else None,
            "precision": round(float(truth[guess == kind].mean()), 4) if (guess == kind).any() else None,
        }
    vehicle = np.isin(examples.label, [ObjectClass.CAR, ObjectClass.TRUCK])
    out["vehicle_center_error_p50_m"] = round(float(np.median(error[vehicle])), 3) if vehicle.any() else None
    return out


def export(network: SecondLookNetwork, path: Path) -> None:
    """Write ONNX with any number of clusters, all weights inside the file."""
    example = (torch.zeros(2, CHANNELS, SIDE, SIDE), torch.zeros(2, FACTS))
    torch.onnx.export(
        network, example, str(path), input_names=["patch", "fact"], output_names=["label", "box"], opset_version=17,
        dynamic_axes={name: {0: "n"} for name in ("patch", "fact", "label", "box")}, dynamo=False,
    )  # fmt: skip

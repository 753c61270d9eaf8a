"""The street network, its training and its export. Needs torch, of the extra ``train``.

Cells near the middle of a road user learn its class (focal loss after Lin et al., "Focal Loss for Dense Object
Detection", 2017, with the soft targets of Zhou et al., "Objects as Points", 2019) and its box; every cell of road
learns whether it may be driven on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from robotaxi.perception.camera.detector import decode, overlap, suppress
from robotaxi.perception.camera.street_network import CLASSES, HEIGHT, STRIDE, WIDTH
from robotaxi.training.street_pictures import Picture
from robotaxi.types import RecordArray

_CLASSES = len(CLASSES)
_SPREAD = 0.11  # of a box's side: one deviation of the soft target
_LEARNS_BOX = 0.5  # a cell with a target above this learns the box
_BOX_SHARE, _ROAD_SHARE = 1.0, 1.0
_SURE = 0.3  # score from which on a box is counted
_OVERLAP = 0.5
_CROP_WIDE, _CROP_HIGH = 320, 192  # px, of the pieces that are trained on
_RARE = -4.6  # logit with which every class begins: 1 %


@dataclass(frozen=True)
class TrainingConfig:
    epochs: int = 16
    batch: int = 16
    rate: float = 4e-3
    seed: int = 0
    bfloat16: bool = False  # half the time on processors that have it

    def steps(self, pictures: int) -> int:
        """Batches of all epochs."""
        return max(pictures // self.batch, 1) * self.epochs


def _layer(a: int, b: int, stride: int = 1, size: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, size, stride, size // 2, bias=False), nn.BatchNorm2d(b), nn.ReLU())


class StreetNet(nn.Module):
    """BGR 0..255 (N, 3, HEIGHT, WIDTH) to box logits (N, 4 + classes, rows, columns) and road logits (N, 1, ..)."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(_layer(3, 16, 2), _layer(16, 32, 2), _layer(32, 48, 2), _layer(48, 48))
        self.middle = nn.Sequential(_layer(48, 96, 2), _layer(96, 96))
        self.coarse = nn.Sequential(_layer(96, 128, 2), _layer(128, 128))
        self.from_coarse, self.from_middle = _layer(128, 64, size=1), _layer(96, 64, size=1)
        self.from_fine, self.joined = _layer(48, 64, size=1), _layer(64, 64)
        self.box = nn.Conv2d(64, 4, 1)
        self.kind = nn.Conv2d(64, _CLASSES, 1)
        self.road = nn.Sequential(nn.Conv2d(64, 4, 1), nn.PixelShuffle(2))
        nn.init.constant_(self.kind.bias, _RARE)  # type: ignore[arg-type]

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        fine = self.fine((image - 112.0) / 64.0)
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        up = nn.functional.interpolate
        middle = self.from_middle(middle) + up(self.from_coarse(coarse), scale_factor=2.0, mode="nearest")
        joined = self.joined(self.from_fine(fine) + up(middle, scale_factor=2.0, mode="nearest"))
        return self.box(joined), self.kind(joined), self.road(joined)


class _Exported(nn.Module):
    """Rows as YOLOX gives them, and the probability of road."""

    def __init__(self, network: StreetNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        box, kind, road = self.network(image)
        kind = torch.sigmoid(kind)
        rows = torch.cat([box, torch.ones_like(box[:, :1]), kind], 1)
        return rows.flatten(2).transpose(1, 2), torch.sigmoid(road)


def train(
    pictures: Sequence[Picture],
    config: TrainingConfig,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> StreetNet:
    """AdamW with a one-cycle rate; on one thread the same pictures and seed give the same weights. ``progress``: steps
    done, mean loss of the epoch so far."""
    torch.manual_seed(config.seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng([config.seed, 8])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = StreetNet().to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), config.rate, weight_decay=1e-3)
    steps = config.steps(len(pictures)) // config.epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.rate, total_steps=steps * config.epochs)
    for epoch in range(config.epochs):
        order, total = rng.permutation(len(pictures)), 0.0
        for step in range(steps):
            some = [pictures[int(k)] for k in order[step * config.batch : (step + 1) * config.batch]]
            image, *aims = (t.to(device) for t in _batch(some, rng))
            with torch.autocast(device.type, torch.bfloat16, enabled=config.bfloat16):
                found = network(image.contiguous(memory_format=torch.channels_last))
            loss = _loss(*(f.float() for f in found), *aims)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
            progress(epoch * steps + step + 1, total / (step + 1))
    return network.cpu().eval()


def _loss(
    found: torch.Tensor, kind: torch.Tensor, way: torch.Tensor, heat: torch.Tensor, ignored: torch.Tensor,
    box: torch.Tensor, weight: torch.Tensor, road: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    share = torch.sigmoid(kind).clamp(1e-4, 1.0 - 1e-4)
    here = heat >= 1.0
    focal = torch.where(
        here, -((1.0 - share) ** 2) * torch.log(share),
        -((1.0 - heat) ** 4) * share**2 * torch.log(1.0 - share) * (1.0 - ignored),
    )  # fmt: skip
    sides = (nn.functional.smooth_l1_loss(found, box, beta=0.1, reduction="none") * weight).sum()
    return (
        focal.sum() / here.sum().clamp(min=1)
        + _BOX_SHARE * sides / weight.sum().clamp(min=1.0)
        + _ROAD_SHARE * nn.functional.binary_cross_entropy_with_logits(way, road)
    )


def _batch(pictures: Sequence[Picture], rng: np.random.Generator) -> list[torch.Tensor]:
    """Pieces of pictures, half of them mirrored, in other light, with their targets."""
    parts = []
    for picture in pictures:
        left = 8 * int(rng.integers((WIDTH - _CROP_WIDE) // 8 + 1))
        top = 8 * int(rng.integers((HEIGHT - _CROP_HIGH) // 8 + 1))
        image = picture.image[top : top + _CROP_HIGH, left : left + _CROP_WIDE].astype(np.float32)
        gain = (rng.uniform(0.7, 1.3) * rng.uniform(0.9, 1.1, 3)).astype(np.float32)
        image = np.clip(image * gain + np.float32(rng.uniform(-20.0, 20.0)), 0.0, 255.0)
        image += rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(0.0, 4.0))
        road = picture.road[top // 4 : (top + _CROP_HIGH) // 4, left // 4 : (left + _CROP_WIDE) // 4]
        boxes = _piece(picture.boxes, left, top)
        if rng.random() < 0.5:
            image, road, boxes = image[:, ::-1], road[:, ::-1], boxes.copy()
            boxes["left"], boxes["right"] = _CROP_WIDE - boxes["right"], _CROP_WIDE - boxes["left"]
        aims = targets(boxes, _CROP_HIGH // STRIDE, _CROP_WIDE // STRIDE)
        parts.append((image.transpose(2, 0, 1), *aims, road.astype(np.float32)[None]))
    return [torch.from_numpy(np.ascontiguousarray(np.stack(p), np.float32)) for p in zip(*parts, strict=True)]


def _piece(boxes: RecordArray, left: int, top: int) -> RecordArray:
    """The boxes as a piece of the picture shows them; whose middle lies outside need not be found."""
    out = boxes.copy()
    for name, by in (("left", left), ("right", left), ("top", top), ("bottom", top)):
        out[name] -= by
    x, y = 0.5 * (out["left"] + out["right"]), 0.5 * (out["top"] + out["bottom"])
    out["score"][(x < 0) | (x >= _CROP_WIDE) | (y < 0) | (y >= _CROP_HIGH)] = 0.0
    seen = (out["right"] > 0) & (out["left"] < _CROP_WIDE) & (out["bottom"] > 0) & (out["top"] < _CROP_HIGH)
    return out[seen]


def targets(
    boxes: RecordArray, rows: int, columns: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """``heat`` (classes, rows, columns), ``ignored`` (1, ..), ``box`` (4, ..) and its ``weight`` (1, ..)."""
    heat = np.zeros((_CLASSES, rows, columns), np.float32)
    ignored, weight = np.zeros((1, rows, columns), np.float32), np.zeros((1, rows, columns), np.float32)
    target = np.zeros((4, rows, columns), np.float32)
    row, column = np.mgrid[:rows, :columns]
    for box in boxes[np.argsort(boxes["top"] * boxes["left"] - boxes["bottom"] * boxes["right"], kind="stable")]:
        width, height = float(box["right"] - box["left"]), float(box["bottom"] - box["top"])
        x, y = 0.5 * float(box["left"] + box["right"]) / STRIDE, 0.5 * float(box["top"] + box["bottom"]) / STRIDE
        if box["score"] <= 0.0:
            inside = (column + 0.5 >= box["left"] / STRIDE) & (column + 0.5 <= box["right"] / STRIDE)
            inside &= (row + 0.5 >= box["top"] / STRIDE) & (row + 0.5 <= box["bottom"] / STRIDE)
            ignored[0][inside] = 1.0
            continue
        spread_x = max(_SPREAD * width / STRIDE, 0.35)
        spread_y = max(_SPREAD * height / STRIDE, 0.35)
        soft = np.exp(-0.5 * (((column + 0.5 - x) / spread_x) ** 2 + ((row + 0.5 - y) / spread_y) ** 2))
        soft[min(int(y), rows - 1), min(int(x), columns - 1)] = 1.0
        kind = int(box["kind"])
        heat[kind] = np.maximum(heat[kind], soft)
        learns = soft >= np.maximum(_LEARNS_BOX, weight[0])
        weight[0][learns] = soft[learns]
        target[0][learns], target[1][learns] = (x - column)[learns], (y - row)[learns]
        target[2][learns], target[3][learns] = np.log(width / STRIDE), np.log(height / STRIDE)
    return heat, ignored, target, weight


@torch.no_grad()
def evaluate(network: StreetNet, pictures: Sequence[Picture]) -> dict[str, Any]:
    """Recall and precision of each class at a score of 0.3 and an overlap of 0.5, and the road's overlap (IoU)."""
    exported = _Exported(network)
    wanted, found, right = (np.zeros(_CLASSES, int) for _ in range(3))
    both = either = 0
    for picture in pictures:
        rows, road = exported(torch.from_numpy(picture.image.transpose(2, 0, 1)[None].astype(np.float32)))
        boxes = suppress(decode(rows[0].numpy(), WIDTH, HEIGHT, 1.0, _SURE), 0.45)
        way = road[0, 0].numpy() > 0.5
        both += int((way & (picture.road > 0)).sum())
        either += int((way | (picture.road > 0)).sum())
        share = overlap(boxes, picture.boxes)
        taken = np.zeros(len(picture.boxes), bool)
        counted = picture.boxes["score"] > 0.0
        for kind in CLASSES:
            wanted[kind] += int((counted & (picture.boxes["kind"] == kind)).sum())
        for k, box in enumerate(boxes):
            fits = (share[k] >= _OVERLAP) & (picture.boxes["kind"] == box["kind"]) & ~taken
            if fits.any():
                best = int(np.argmax(np.where(fits, share[k], -1.0)))
                taken[best] = True
                if not counted[best]:
                    continue
                right[box["kind"]] += 1
            elif (share[k][~counted] > 0.1).any():
                continue
            found[box["kind"]] += 1
    out: dict[str, Any] = {"pictures": len(pictures), "road_iou": round(both / max(either, 1), 4)}
    for kind in CLASSES:
        out[kind.name.lower()] = {
            "count": int(wanted[kind]),
            "recall": round(float(right[kind] / wanted[kind]), 4) if wanted[kind] else None,
            "precision": round(float(right[kind] / found[kind]), 4) if found[kind] else None,
        }
    return out


def export(network: StreetNet, path: Path) -> None:
    """Write ONNX for one picture, all weights inside the file. The loaders: `StreetNetwork`, `CameraDetector`."""
    torch.onnx.export(
        _Exported(network).eval(), (torch.zeros(1, 3, HEIGHT, WIDTH),), str(path), input_names=["images"],
        output_names=["boxes", "road"], opset_version=17, dynamo=False,
    )  # fmt: skip

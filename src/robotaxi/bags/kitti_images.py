"""Annotated images of a KITTI object folder: ``image_2/`` and ``label_2/`` with one file each a frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from robotaxi.bags.kitti_files import KittiError, read_text
from robotaxi.bags.kitti_labels import nobody_cared, object_class
from robotaxi.evaluation.camera_bench import TRUTH2D_DTYPE, AnnotatedImage
from robotaxi.types import ObjectClass

_SUFFIXES = (".png", ".jpg", ".jpeg")
_LEAST_COLUMNS = 8  # up to the box in the image; the box in space is not read
_LEAST_HEIGHT = 25.0  # px, of KITTI's own evaluation ("moderate")
_MOST_CUT = 0.5  # share outside the image
_MOST_HIDDEN = 2  # KITTI's occlusion level: largely


def annotated_images(data_dir: str | Path) -> list[AnnotatedImage]:
    """Every image with its labels. Raises KittiError naming the file that is missing or broken."""
    data_dir = Path(data_dir)
    folder = next((data_dir / n for n in ("image_2", "image_02", "images") if (data_dir / n).is_dir()), None)
    if folder is None:
        raise KittiError(f"{data_dir}: has no image_2/; expected a KITTI object folder (image_2/, label_2/)")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES)
    if not paths:
        raise KittiError(f"{folder}: holds no images")
    return [AnnotatedImage(path, _truth(data_dir / "label_2" / f"{path.stem}.txt")) for path in paths]


def _truth(path: Path) -> np.ndarray:
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) < _LEAST_COLUMNS:
            raise KittiError(f"{path}: line {number}: expected 15 columns, found {len(words)}")
        try:
            cut, hidden, *box = (float(words[k]) for k in (1, 2, 4, 5, 6, 7))
        except ValueError as error:
            raise KittiError(f"{path}: line {number}: {error}") from error
        if not np.isfinite([cut, hidden, *box]).all():
            raise KittiError(f"{path}: line {number}: holds a number that is not finite")
        label = ObjectClass.UNKNOWN if nobody_cared(words[0]) else object_class(words[0])
        counted = label != ObjectClass.UNKNOWN and box[3] - box[1] >= _LEAST_HEIGHT
        rows.append((*box, int(label), counted and cut <= _MOST_CUT and hidden <= _MOST_HIDDEN))
    return np.array(rows, TRUTH2D_DTYPE)

"""`robotaxi train lidar|camera|lights`: the networks that ship, made again."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

_EXIT_UNUSABLE = 2


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train the networks that ship",
        description="Makes the data, trains, measures on what was held out, and writes weights and figures.",
        epilog="examples:\n  robotaxi train lidar -o models --scenes 600 --epochs 6\n"
        "  robotaxi train camera -o models\n"
        "  robotaxi train lights --data crops -o models",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = parser.add_subparsers(dest="network", required=True, metavar="NETWORK")
    lidar = kinds.add_parser("lidar", help="the second look at lidar clusters, on simulated street scenes")
    lidar.add_argument("--scenes", type=int, default=600, help="simulated sweeps (default %(default)s)")
    lidar.add_argument("--epochs", type=int, default=6, help="passes over the data (default %(default)s)")
    camera = kinds.add_parser("camera", help="road users, lights, signs and road, on rendered pictures")
    camera.add_argument("--map", default="town", metavar="NAME", help="where they are taken (default %(default)s)")
    camera.add_argument("--pictures", type=int, default=1600, help="to train on (default %(default)s)")
    camera.add_argument("--epochs", type=int, default=8, help="passes over them (default %(default)s)")
    camera.add_argument("--bfloat16", action="store_true", help="half the time on processors that have it")
    lights = kinds.add_parser("lights", help="traffic light states, on class folders of real crops")
    lights.add_argument("--data", type=Path, required=True, metavar="DIR", help="folders red, yellow and green")
    for item, run in ((lidar, run_lidar), (camera, run_camera), (lights, run_lights)):
        item.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where the weights go")
        item.add_argument("--seed", type=int, default=11, help="of data and weights (default %(default)s)")
        item.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
        item.set_defaults(run=run)


def run_lidar(args: argparse.Namespace) -> int:
    try:
        import torch  # noqa: F401
    except ImportError:
        print("robotaxi: torch is missing: pip install robotaxi[train]", file=sys.stderr)
        return _EXIT_UNUSABLE
    from robotaxi.bags.lidar_mount import BODY
    from robotaxi.model_store import sha256
    from robotaxi.perception.lidar import LidarPerceptionConfig
    from robotaxi.training.lidar_data import simulate, split
    from robotaxi.training.lidar_network import TrainingConfig, evaluate, export, train

    if args.scenes < 2 or args.epochs < 1:
        print(f"robotaxi: {args.scenes} scenes and {args.epochs} epochs: at least 2 and 1 are needed", file=sys.stderr)
        return _EXIT_UNUSABLE
    console = Console(stderr=True)
    with console.status("simulating ...") as status:
        examples = simulate(args.seed, args.scenes, LidarPerceptionConfig(), BODY,
                            lambda k: status.update(f"simulating ... {k + 1} of {args.scenes} scenes"))  # fmt: skip
        ours, held_out = split(examples)
        status.update("training ...")
        config = TrainingConfig(epochs=args.epochs, seed=args.seed)
        network = train(ours, config, lambda e, loss: status.update(f"training ... epoch {e + 1}, loss {loss:.3f}"))
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / "lidar_second_look.onnx"
    export(network, path)
    figures = {"file": str(path), "sha256": sha256(path), "scenes": args.scenes, "epochs": args.epochs,
               "seed": args.seed, "examples": len(ours.label), "held_out": evaluate(network, held_out)}  # fmt: skip
    _write(args.json, figures)
    car = figures["held_out"]["car"]
    print(f"train lidar: {len(ours.label)} clusters of {args.scenes} scenes; held out: cars recall {car['recall']}, "
          f"precision {car['precision']} -> {path}")  # fmt: skip
    return 0


def run_camera(args: argparse.Namespace) -> int:
    try:
        import torch  # noqa: F401
    except ImportError:
        print("robotaxi: torch is missing: pip install robotaxi[train]", file=sys.stderr)
        return _EXIT_UNUSABLE
    from robotaxi.hdmap import MapError, load_map
    from robotaxi.model_store import entry, sha256
    from robotaxi.perception.camera.street import MODEL
    from robotaxi.training.camera_network import TrainingConfig, evaluate, export, train
    from robotaxi.training.street_pictures import pictures

    if args.pictures < 1 or args.epochs < 1:
        print(f"robotaxi: {args.pictures} pictures and {args.epochs} epochs: at least 1 are needed", file=sys.stderr)
        return _EXIT_UNUSABLE
    try:
        lane_map = load_map(args.map)
    except MapError as error:
        print(f"robotaxi: {error}", file=sys.stderr)
        return _EXIT_UNUSABLE
    with Console(stderr=True).status("taking pictures ...") as status:
        ours = list(pictures(lane_map, args.seed, args.pictures,
                             lambda k: status.update(f"taking pictures ... {k + 1} of {args.pictures}")))  # fmt: skip
        held_out = list(pictures(lane_map, args.seed + 2, max(args.pictures // 10, 1)))
        status.update("training ...")
        config = TrainingConfig(epochs=args.epochs, seed=args.seed, bfloat16=args.bfloat16)
        network = train(ours, config, lambda e, loss: status.update(f"training ... epoch {e + 1}, loss {loss:.3f}"))
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / entry(MODEL).file
    export(network, path)
    figures = {"file": str(path), "sha256": sha256(path), "map": lane_map.name, "pictures": args.pictures,
               "epochs": args.epochs, "seed": args.seed, "held_out": evaluate(network, held_out)}  # fmt: skip
    _write(args.json, figures)
    held = figures["held_out"]
    print(f"train camera: {args.pictures} pictures; held out: cars recall {held['car']['recall']}, pedestrians "
          f"{held['pedestrian']['recall']}, road IoU {held['road_iou']} -> {path}")  # fmt: skip
    return 0


def run_lights(args: argparse.Namespace) -> int:
    import numpy as np

    from robotaxi.evaluation.light_bench import CropError, find_crops
    from robotaxi.evaluation.light_bench import run_lights as measure
    from robotaxi.model_store import sha256
    from robotaxi.training.lights import split_by_name, train

    try:
        crops = find_crops(args.data)
    except CropError as error:
        print(f"robotaxi: {error}", file=sys.stderr)
        return _EXIT_UNUSABLE
    split = split_by_name(crops)
    with Console(stderr=True).status("training ..."):
        network = train(split.train, args.seed)
    args.output.mkdir(parents=True, exist_ok=True)
    path, names = args.output / "traffic_light_state.npz", args.output / "traffic_light_state.train.txt"
    np.savez(path, hidden=network.hidden.astype(np.float32), out=network.out.astype(np.float32))
    trained_on = sorted(crop.path.name for crop in split.train)
    names.write_text("\n".join(trained_on) + "\n", encoding="utf-8")
    figures = {"file": str(path), "sha256": sha256(path), **measure(crops, network, set(trained_on))}
    _write(args.json, figures)
    held = figures["held_out"]
    print(f"train lights: {len(trained_on)} crops; held out: {100.0 * held['accuracy']:.2f} % of {held['crops']}, "
          f"{held['red_green_confused']} red and green confused -> {path}")  # fmt: skip
    return 0 if figures["holds"] else 1


def _write(path: Path | None, figures: dict[str, Any]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")

"""`robotaxi train lidar|camera|lights`: the networks that ship, made again."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from robotaxi.commands.progress import bar, until_interrupted

_EXIT_UNUSABLE, _EXIT_INTERRUPTED = 2, 130


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train the networks that ship",
        description="Makes the data, trains, measures on what was held out, and writes weights and figures.\n"
        "Nothing is written before the training is over; Ctrl-C ends it and leaves the folder as it was.",
        epilog="examples:\n  robotaxi train lidar -o models --scenes 600 --epochs 6\n"
        "  robotaxi train camera -o models\n"
        "  robotaxi train lights --data crops -o models",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = parser.add_subparsers(dest="network", required=True, metavar="NETWORK")
    lidar = _network(kinds, "lidar", "the second look at lidar clusters, on simulated street scenes")
    lidar.add_argument("--scenes", type=int, default=600, metavar="N", help="simulated sweeps (default %(default)s)")
    lidar.add_argument("--epochs", type=int, default=6, metavar="N", help="passes over the data (default %(default)s)")
    camera = _network(kinds, "camera", "road users, lights, signs and road, on rendered pictures")
    camera.add_argument("--map", default="town", metavar="NAME", help="where they are taken (default %(default)s)")
    camera.add_argument("--pictures", type=int, default=6400, metavar="N", help="to train on (default %(default)s)")
    camera.add_argument("--epochs", type=int, default=16, metavar="N", help="passes over them (default %(default)s)")
    camera.add_argument("--bfloat16", action="store_true", help="half the time on processors that have it")
    lights = _network(kinds, "lights", "traffic light states, on class folders of real crops")
    lights.add_argument("--data", type=Path, required=True, metavar="DIR", help="folders red, yellow and green")
    for item, run in ((lidar, run_lidar), (camera, run_camera), (lights, run_lights)):
        item.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where the weights go")
        item.add_argument("--seed", type=int, default=11, metavar="N", help="of data and weights (default %(default)s)")
        item.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
        item.set_defaults(run=run)


def _network(kinds: Any, name: str, what: str) -> Any:
    ends = "Exit status 2: something is missing or unusable, and named; 130: interrupted, nothing was written."
    return kinds.add_parser(name, help=what, description=f"Trains {what}. {ends}")


def run_lidar(args: argparse.Namespace) -> int:
    return _guarded(args, _train_lidar, {"scenes": 2, "epochs": 1})


def run_camera(args: argparse.Namespace) -> int:
    return _guarded(args, _train_camera, {"pictures": 1, "epochs": 1})


def run_lights(args: argparse.Namespace) -> int:
    return _guarded(args, _train_lights, {})


def _train_lidar(args: argparse.Namespace) -> int:
    _need("torch", "onnx")
    from robotaxi.bags.lidar_mount import BODY
    from robotaxi.model_store import sha256
    from robotaxi.perception.lidar import LidarPerceptionConfig
    from robotaxi.training.lidar_data import simulate, split
    from robotaxi.training.lidar_network import TrainingConfig, evaluate, export, train

    with bar("simulated scenes", args.scenes) as show:
        examples = simulate(args.seed, args.scenes, LidarPerceptionConfig(), BODY, lambda k: show(k + 1))
    ours, held_out = split(examples)
    if not len(ours.label) or not len(held_out.label):
        raise ValueError(f"{args.scenes} scenes show {len(examples.label)} clusters, too few: take more --scenes")
    config = TrainingConfig(epochs=args.epochs, seed=args.seed)
    with bar("training steps", config.steps(len(ours.label))) as show:
        network = train(ours, config, _told(show, config.steps(len(ours.label)), args.epochs))
    path = args.output / "lidar_second_look.onnx"
    _export(path, lambda part: export(network, part))
    figures = {"file": str(path), "sha256": sha256(path), "scenes": args.scenes, "epochs": args.epochs,
               "seed": args.seed, "examples": len(ours.label), "held_out": evaluate(network, held_out)}  # fmt: skip
    _write(args.json, figures)
    car = figures["held_out"]["car"]
    print(f"train lidar: {len(ours.label)} clusters of {args.scenes} scenes; held out: cars recall {car['recall']}, "
          f"precision {car['precision']} -> {path}")  # fmt: skip
    return 0


def _train_camera(args: argparse.Namespace) -> int:
    _need("torch", "onnx")
    from robotaxi.hdmap import load_map
    from robotaxi.model_store import entry, sha256
    from robotaxi.perception.camera.street import MODEL
    from robotaxi.training.camera_network import TrainingConfig, evaluate, export, train
    from robotaxi.training.street_pictures import pictures

    lane_map, checked = load_map(args.map), max(args.pictures // 10, 1)
    with bar("pictures", args.pictures + checked) as show:
        ours = list(pictures(lane_map, args.seed, args.pictures, lambda k: show(k + 1)))
        held_out = list(pictures(lane_map, args.seed + 2, checked, lambda k: show(args.pictures + k + 1)))
    config = TrainingConfig(epochs=args.epochs, seed=args.seed, bfloat16=args.bfloat16)
    with bar("training steps", config.steps(len(ours))) as show:
        network = train(ours, config, _told(show, config.steps(len(ours)), args.epochs))
    path = args.output / entry(MODEL).file
    _export(path, lambda part: export(network, part))
    figures = {"file": str(path), "sha256": sha256(path), "map": lane_map.name, "pictures": args.pictures,
               "epochs": args.epochs, "seed": args.seed, "held_out": evaluate(network, held_out)}  # fmt: skip
    _write(args.json, figures)
    held = figures["held_out"]
    print(f"train camera: {args.pictures} pictures; held out: cars recall {held['car']['recall']}, pedestrians "
          f"{held['pedestrian']['recall']}, road IoU {held['road_iou']} -> {path}")  # fmt: skip
    return 0


def _train_lights(args: argparse.Namespace) -> int:
    import numpy as np

    from robotaxi.evaluation.light_bench import find_crops
    from robotaxi.evaluation.light_bench import run_lights as measure
    from robotaxi.model_store import sha256
    from robotaxi.training.lights import EPOCHS, split_by_name, train

    crops = find_crops(args.data)
    split = split_by_name(crops)
    with bar("training epochs", EPOCHS) as show:
        network = train(split.train, args.seed, show)
    path, names = args.output / "traffic_light_state.npz", args.output / "traffic_light_state.train.txt"
    hidden, out = network.hidden.astype(np.float32), network.out.astype(np.float32)
    _export(path, lambda part: np.savez(part, hidden=hidden, out=out))
    trained_on = sorted(crop.path.name for crop in split.train)
    names.write_text("\n".join(trained_on) + "\n", encoding="utf-8")
    figures = {"file": str(path), "sha256": sha256(path), **measure(crops, network, set(trained_on))}
    _write(args.json, figures)
    held = figures["held_out"]
    print(f"train lights: {len(trained_on)} crops; held out: {100.0 * held['accuracy']:.2f} % of {held['crops']}, "
          f"{held['red_green_confused']} red and green confused -> {path}")  # fmt: skip
    return 0 if figures["holds"] else 1


def _guarded(args: argparse.Namespace, work: Callable[[argparse.Namespace], int], least: dict[str, int]) -> int:
    """Run ``work`` once what it needs is there; unusable data, numbers and folders end with one sentence."""
    try:
        for name, number in {**least, "seed": 0}.items():
            if getattr(args, name) < number:
                raise ValueError(f"--{name} is {getattr(args, name)}, at least {number} is needed")
        for folder in (args.output, *((args.json.parent,) if args.json is not None else ())):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):  # rather now than after hours of training
                pass
        with until_interrupted() as interrupted:
            return work(args)
    except (ValueError, OSError) as error:
        print(f"robotaxi: {error}", file=sys.stderr)
        return _EXIT_UNUSABLE
    print(f"robotaxi: {interrupted[0]}; {args.output} is as it was", file=sys.stderr)
    return _EXIT_INTERRUPTED


def _need(*modules: str) -> None:
    for name in modules:
        if importlib.util.find_spec(name) is None:
            raise ValueError(f"{name} is missing: pip install robotaxi[train]")


def _told(show: Any, steps: int, epochs: int) -> Callable[[int, float], None]:
    """Progress of a training, with the loss of each epoch on a line of its own."""

    def progress(done: int, loss: float) -> None:
        show(done)
        if done % (steps // epochs) == 0:
            show.say(f"epoch {done * epochs // steps} of {epochs}: loss {loss:.3f}")

    return progress


def _export(path: Path, write: Callable[[Path], None]) -> None:
    """Put a file in place once it is whole."""
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _write(path: Path | None, figures: dict[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")

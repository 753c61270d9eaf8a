"""`robotaxi bench lidar|tracking|camera|lights`: perception measured on recordings."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress

from robotaxi.commands import bench

if TYPE_CHECKING:
    from robotaxi.evaluation.perception_case import Recording
    from robotaxi.hdmap.lane_map import LaneMap

_EXIT_UNUSABLE = 2
_LEAST_NEAR = 0.97
_LEAST_MOTA = 0.8
_LONGEST_MISS = 0.3  # s
_FORMATS = (
    "DIR is a KITTI tracking folder (velodyne/ with .npz or .bin sweeps, label_02.txt, calib.txt), a KITTI object "
    "folder, a bag of a ride recorded with --record all, or a folder of such folders. The lidar's mounting is read "
    "off the road and the camera's axis; nothing is assumed of the sensor. With --simulator the drives are made on the "
    "spot, with traffic, people and parked cars, and looked at as in a ride; --rides 40 --seconds 60 is the full size."
)


def register(subparsers: Any) -> None:
    for name, run, text in (
        ("lidar", run_lidar, "objects from sweeps: AP by class and range band, precision, recall, ms by stage"),
        ("tracking", run_tracking, "tracks over sweeps: MOTA, IDF1, id switches, ms for 100 objects"),
    ):
        parser = subparsers.add_parser(name, help=text, description=f"{text}. {_FORMATS}")
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument("--data", type=Path, metavar="DIR", help="recordings")
        source.add_argument("--simulator", action="store_true", help="drives through the simulator, in this process")
        parser.add_argument("--rides", type=int, default=3, metavar="N", help="simulated drives (default %(default)s)")
        parser.add_argument(
            "--seconds", type=float, default=15.0, metavar="S", help="of each of them (default %(default)s)"
        )
        parser.add_argument("--seed", type=int, default=1001, help="of the first of them (default %(default)s)")
        parser.add_argument(
            "--second-look", action="store_true", help="simulated drives with the learned second look, too"
        )
        parser.add_argument(
            "--camera", action="store_true", help="simulated drives with the front camera, whose word on classes counts"
        )
        parser.add_argument(
            "--still",
            type=int,
            metavar="N",
            help="instead of simulated drives N standing scenes with random road users of all classes, and --camera",
        )
        parser.add_argument("--frames", type=int, metavar="N", help="only the first so many sweeps of each recording")
        parser.add_argument(
            "--map",
            metavar="NAME",
            help="keep only what is on this map's roads, as a ride does; "
            "of the simulator: its town, a name or a .xodr or .osm file (default town)",
        )
        parser.add_argument("--sensors", default="", help="sensor rig (default: the bag's, else robotaxi)")
        parser.add_argument("--vehicle", default="", help="vehicle (default: the bag's, else robotaxi)")
        if name == "lidar":
            parser.add_argument(
                "--peers", action="store_true", help="Patchwork++ and connected components beside ours, same run"
            )
        parser.add_argument("--no-model", action="store_true", help="clusters alone, without the learned second look")
        bench.add_json(parser)
        parser.set_defaults(run=run)
    camera = subparsers.add_parser(
        "camera",
        help="2D boxes in images: recall, precision, AP, and the decoding box by box against a reference",
        description="Runs a YOLOX model of the manifest on the images of a KITTI object folder.",
    )
    camera.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with image_2/ and label_2/")
    camera.add_argument("--model", default="yolox_nano", help="name in the manifest, or an .onnx file")
    bench.add_json(camera)
    camera.set_defaults(run=run_camera)
    lights = subparsers.add_parser(
        "lights",
        help="traffic light states on folders of crops: accuracy, confusions, ms",
        description="DIR holds folders named red, amber or yellow, and green, however deep. What the network was "
        "trained on (models/traffic_light_state.train.txt) is counted apart.",
    )
    lights.add_argument("--data", type=Path, required=True, metavar="DIR")
    bench.add_json(lights)
    lights.set_defaults(run=run_lights)


def _lidar_figures(args: argparse.Namespace) -> dict[str, Any]:
    from robotaxi.bags.recordings import open_recordings
    from robotaxi.evaluation.lidar_peers import Patchwork
    from robotaxi.evaluation.perception_bench import run_lidar as measure
    from robotaxi.hdmap import load_map
    from robotaxi.model_store import read_manifest
    from robotaxi.perception.camera.street import StreetConfig, StreetEyes, load_street_network
    from robotaxi.perception.lidar import LidarPerceptionConfig, RoadFilter, load_second_look
    from robotaxi.perception.lidar.second_look import MODEL

    if args.still is not None:
        if not args.simulator or args.still < 1:
            raise ValueError("--still goes with --simulator, and needs at least 1 scene")
        args.camera = True
    if args.camera and not args.simulator:
        raise ValueError("--camera looks at simulated drives only: recordings here have no pictures")
    if args.frames is not None and args.frames < 1:
        raise ValueError(f"--frames is {args.frames}, at least 1 is needed")
    config = LidarPerceptionConfig()
    learned = args.second_look if args.simulator else not args.no_model
    network = load_second_look() if MODEL in read_manifest() and learned else None
    lane_map = load_map(args.map or "town") if args.map or args.simulator else None
    road = RoadFilter.from_lane_map(lane_map, config.road_margin) if lane_map is not None else None
    if args.simulator and lane_map is not None:
        recordings = _simulated(args, lane_map)
    else:
        recordings = open_recordings(args.data, args.sensors, args.vehicle)
    total = sum(r.count if args.frames is None else min(r.count, args.frames) for r in recordings)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("sweeps", total=total)
        eyes = StreetEyes(StreetConfig(), load_street_network()) if args.camera else None
        peer = Patchwork() if getattr(args, "peers", False) else None
        figures = measure(recordings, config, road, args.frames, lambda: progress.advance(task), network, eyes, peer)
    if not figures["frames_evaluated"]:
        raise ValueError(
            f"{args.data}: none of {figures['frames']} sweeps has a label; there is nothing to compare with"
        )
    bands = [band for group in figures["detection"]["objects"].values() for band in group.values()]
    if not args.simulator and not any(band["annotated"] for band in bands):
        raise ValueError(
            f"{args.data}: no label of a known class (Car, Van, Truck, Bus, Cyclist, Pedestrian ...) has a return on "
            "it: do labels, calib.txt and sweeps belong together, and do the sweeps hold finite points?"
        )
    return figures


def _simulated(args: argparse.Namespace, lane_map: LaneMap) -> list[Recording]:
    from robotaxi.evaluation.simulated_recording import simulated_recording
    from robotaxi.sensor_rig import load_rig
    from robotaxi.sim.scenery import build_scenery
    from robotaxi.vehicle import load_vehicle

    if args.rides < 1 or not 0.5 <= args.seconds <= 3600.0:
        raise ValueError(f"{args.rides} rides of {args.seconds:g} s: at least 1 of 0.5 to 3600 s are needed")
    rig, vehicle = load_rig(args.sensors or "robotaxi"), load_vehicle(args.vehicle or "robotaxi")
    with Console(stderr=True).status("building the town ..."):
        scenery = build_scenery(lane_map)
    seeds = range(args.seed, args.seed + args.rides)
    camera = next(iter(rig.cameras))
    if args.still is not None:
        from robotaxi.training.still_scenes import still_recording

        return [still_recording(lane_map, scenery, vehicle, rig, args.seed, args.still, camera)]
    name = camera if args.camera else ""
    return [simulated_recording(lane_map, scenery, vehicle, rig, seed, args.seconds, name) for seed in seeds]


def _simulator_misses(figures: dict[str, Any]) -> list[str]:
    """What the simulator's figures lack of what is asked of them; what was not met on the way lacks nothing."""
    found = figures["detection"]["objects"]
    wanted = (("vehicle", "0-50", 0.95), ("pedestrian", "0-30", 0.9), ("cyclist", "0-30", 0.9))
    out = []
    for group, band, least in wanted:
        precise = found[group][band]["ap_2m"]
        if precise is not None and precise < least:
            out.append(f"{group} AP to {band[2:]} m {precise} < {least}")
    longest = figures["in_path"]["longest_miss_s"]
    if longest > _LONGEST_MISS:
        out.append(f"{longest:.1f} s missed in the path > {_LONGEST_MISS}")
    return out


def run_lidar(args: argparse.Namespace) -> int:
    return _guarded(args, _bench_lidar)


def _bench_lidar(args: argparse.Namespace) -> int:
    figures = _lidar_figures(args)
    if args.simulator:
        return _finish_simulator(args, figures)
    near = figures["near_vehicles"]["union"]
    holds = near["share"] is None or near["share"] >= _LEAST_NEAR
    vehicle = figures["detection"]["objects"]["vehicle"]["0-40"]
    return bench.finish(
        args,
        figures,
        f"{figures['frames']} sweeps of {figures['points_p50']:,} points, {figures['ms']['total']['p50']:.0f} ms p50; "
        f"{_percent(near['share'])} of {near['annotated']} near vehicles found within "
        f"{figures['near_vehicles']['within_m']:g} m; vehicle AP (2 m, to 40 m) {vehicle['ap_2m']}"
        + _peers_words(figures),
        holds,
    )


def _peers_words(figures: dict[str, Any]) -> str:
    return "".join(
        f" | {name}: {one['ms']['total']['p50']:.0f} ms p50, {_percent(one['near_vehicles']['1_m']['share'])} found"
        for name, one in figures.get("peers", {}).items()
    )


def _finish_simulator(args: argparse.Namespace, figures: dict[str, Any]) -> int:
    found, lacking = figures["detection"]["objects"], _simulator_misses(figures)
    figures["fell_short"] = lacking
    return bench.finish(
        args,
        figures,
        f"{figures['frames']} simulated sweeps, {figures['ms']['total']['p50']:.0f} ms p50; AP (2 m) of vehicles to "
        f"50 m {found['vehicle']['0-50']['ap_2m']}, of pedestrians {found['pedestrian']['0-30']['ap_2m']} and cyclists "
        f"{found['cyclist']['0-30']['ap_2m']} to 30 m; longest miss in the path "
        f"{figures['in_path']['longest_miss_s']:.1f} s of {figures['in_path']['watched']} in it"
        + (f" | FELL SHORT: {', '.join(lacking)}" if lacking else "")
        + _peers_words(figures),
        not lacking,
    )


def run_tracking(args: argparse.Namespace) -> int:
    return _guarded(args, _bench_tracking)


def _bench_tracking(args: argparse.Namespace) -> int:
    from robotaxi.evaluation.tracking_speed import track_many

    figures = _lidar_figures(args)
    wanted = ("recordings", "frames", "frames_evaluated", "tracking", "heading", "classes", "classes_without_camera")
    figures = {key: figures[key] for key in (*wanted, "ms", "model") if key in figures}
    figures["ms_100_objects"] = track_many(100)
    vehicle = figures["tracking"]["vehicle"]
    holds = vehicle["mota"] is None or vehicle["mota"] >= _LEAST_MOTA
    return bench.finish(
        args,
        figures,
        f"vehicles to {vehicle['max_range_m']:g} m: MOTA {vehicle['mota']}, IDF1 {vehicle['idf1']}, "
        f"{vehicle['id_switches']} id switches, {vehicle['annotated']} annotations; 100 objects in "
        f"{figures['ms_100_objects']['p50']:.2f} ms",
        holds,
    )


def run_camera(args: argparse.Namespace) -> int:
    return _guarded(args, _bench_camera)


def _bench_camera(args: argparse.Namespace) -> int:
    from robotaxi.bags.kitti_images import annotated_images
    from robotaxi.evaluation.camera_bench import run_camera as measure
    from robotaxi.model_store import entry, find
    from robotaxi.perception.camera.detector import DetectorConfig
    from robotaxi.perception.camera.street import StreetConfig, StreetEyes, load_street_network
    from robotaxi.perception.inference import OnnxModel

    images = annotated_images(args.data)
    if args.model.endswith(".onnx"):
        path = Path(args.model)
    else:  # weights that lie beside the data serve as well, if they are the manifest's
        path = find(entry(args.model), [args.data, args.data / "weights", args.data.resolve().parent / "weights"])
    model = OnnxModel(path)
    (name, shape), *_ = model.inputs.items()
    side = int(shape[-1]) if isinstance(shape[-1], int) else 416
    model.expect({name: (1, 3, side, side)})
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("images", total=len(images))
        figures = measure(
            images,
            lambda t: model(**{name: t})[0],
            side,
            DetectorConfig(),
            lambda: progress.advance(task),
            StreetEyes(StreetConfig(), load_street_network()),
        )
    ours, theirs, decoding = figures["ours"]["all"], figures["reference"]["all"], figures["decoding"]
    return bench.finish(
        args,
        {"model": str(path), **figures},
        f"{figures['images']} images, recall {ours['recall']} (reference {theirs['recall']}), {decoding['boxes']} "
        f"boxes compared, {decoding['different']} different; {figures['ms']['detect']['p50']:.0f} ms p50; "
        f"a ride's own camera stage {figures['ms']['street_640x360']['p50']:.0f} ms p50 for 640x360, "
        f"{figures['ms']['street_640x360_cpu']['p50']:.0f} ms of processors",
        figures["holds"],
    )


def run_lights(args: argparse.Namespace) -> int:
    return _guarded(args, _bench_lights)


def _bench_lights(args: argparse.Namespace) -> int:
    from robotaxi.evaluation.light_bench import find_crops
    from robotaxi.evaluation.light_bench import run_lights as measure
    from robotaxi.model_store import entry, find, models_dir
    from robotaxi.perception.camera.light_state import LightStateNetwork

    crops = find_crops(args.data)
    network = LightStateNetwork.load(find(entry("traffic_light_state")))
    trained_on = set((models_dir() / "traffic_light_state.train.txt").read_text(encoding="utf-8").split())
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("crops", total=len(crops))
        figures = measure(crops, network, trained_on, lambda: progress.advance(task))
    held, unreadable = figures["held_out"], figures["unreadable"]
    return bench.finish(
        args,
        figures,
        f"{held['crops']} crops never trained on, {_percent(held['accuracy'])} right, "
        f"{held['red_green_confused']} red and green confused; {figures['ms']['p50']:.2f} ms p50"
        + (f" | {len(unreadable)} cannot be read: {unreadable[0]} ..." if unreadable else ""),
        figures["holds"],
    )


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100.0 * share:.2f} %"


def _guarded(args: argparse.Namespace, work: Any) -> int:
    """Run ``work``; unusable data or models end with one sentence, status 2, and the reason in the JSON."""
    try:
        return int(work(args))
    except (ValueError, OSError) as error:
        print(f"robotaxi: {error}", file=sys.stderr)
        if args.json is not None:
            bench.finish(args, {"error": str(error)}, f"not measured: {error}", False)
        return _EXIT_UNUSABLE

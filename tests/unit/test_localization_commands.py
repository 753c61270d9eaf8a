"""`robotaxi map build` and `robotaxi bench localization` as a person calls them, on small made-up drives."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
from bag_helpers import cloud, header, make, odometry, write_bag
from test_relocalization import T_BASE_LIDAR, boxes

from robotaxi.cli import main
from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.geometry.se3 import apply, inverse, transform
from robotaxi.hdmap import load_map
from robotaxi.sensor_rig import load_rig

pytest.importorskip("gtsam", reason="gtsam is not installed (pip install robotaxi[maps])")
SPEED, YAW, SECONDS = 4.0, 0.3, 7.0
WORLD = boxes(1)


def place(t: float, lane: float) -> np.ndarray:
    return transform(20.0 + SPEED * t * math.cos(YAW) - lane * math.sin(YAW), 50.0 + SPEED * t * math.sin(YAW), yaw=YAW)


def sweep(T_map_base: np.ndarray, seed: int, nan: bool = False) -> np.ndarray:
    points = apply(inverse(T_map_base @ T_BASE_LIDAR), WORLD)
    points = points[np.linalg.norm(points, axis=1) < 45.0]
    points = points[np.random.default_rng(seed).random(len(points)) < 0.25]
    records = np.zeros(len(points), [("x", "<f4"), ("y", "<f4"), ("z", "<f4")])
    for k, name in enumerate("xyz"):
        records[name] = points[:, k]
    if nan:
        records["x"][::7] = np.nan
    return records


def vector(kind: str, x: float, y: float, z: float):
    return make(f"geometry_msgs/msg/{kind}", x=x, y=y, z=z)


def imu(stamp: int, yaw: float):
    turn = make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=math.sin(yaw / 2), w=math.cos(yaw / 2))
    known = np.diag([1e-4, 1e-4, 3e-5]).ravel()
    return make(
        "sensor_msgs/msg/Imu", header=header(stamp, "base_link"), orientation=turn, orientation_covariance=known,
        angular_velocity=vector("Vector3", 0.0, 0.0, 0.0), angular_velocity_covariance=np.zeros(9),
        linear_acceleration=vector("Vector3", 0.0, 0.0, 9.80665), linear_acceleration_covariance=np.zeros(9),
    )  # fmt: skip


def fix(stamp: int, frame: LocalFrame, antenna: np.ndarray):
    status = make("sensor_msgs/msg/NavSatStatus", status=2, service=1)
    latitude, longitude, altitude = frame.to_geodetic(*antenna)
    return make(
        "sensor_msgs/msg/NavSatFix", header=header(stamp, "gnss"), status=status, latitude=latitude,
        longitude=longitude, altitude=altitude, position_covariance=np.diag([4e-4] * 3).ravel(),
        position_covariance_type=2,
    )  # fmt: skip


def report(stamp: int):
    return make(
        "sensor_msgs/msg/JointState", header=header(stamp, "base_link"), name=["steering", "drive"],
        position=np.zeros(2), velocity=np.array([0.0, SPEED]), effort=np.zeros(2),
    )  # fmt: skip


def drive(path, lane: float = 0.0, seed: int = 0, nan: bool = False, sweeps: bool = True):
    """A bag of a straight drive at constant speed; ``lane``: metres to the left."""
    frame, arm = LocalFrame(*load_map("town").origin), load_rig("robotaxi").gnss_lever_arm
    messages: dict = {name: [] for name in ("sensing/imu/data", "vehicle/status", "sensing/gnss/fix", "sim/ego")}
    if sweeps:
        messages["sensing/lidar/top/pointcloud"] = []
    rng = np.random.default_rng(seed)
    for k in range(round(SECONDS * 50)):
        stamp, T = k * 20_000_000, place(k * 0.02, lane)
        messages["sensing/imu/data"].append((stamp, imu(stamp, YAW)))
        messages["vehicle/status"].append((stamp, report(stamp)))
        messages["sim/ego"].append((stamp, odometry(stamp, float(T[0, 3]), float(T[1, 3]), YAW, SPEED)))
        if k % 5 == 0:
            antenna = apply(T, arm[None])[0] + rng.normal(0.0, 0.01, 3)
            messages["sensing/gnss/fix"].append((stamp, fix(stamp, frame, antenna)))
            if sweeps:
                points = sweep(T, k + 1000 * seed, nan)
                messages["sensing/lidar/top/pointcloud"].append((stamp, cloud(stamp, points, "lidar_top")))
    return write_bag(path, messages, custom={"map": "town", "sensors": "robotaxi"})


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Rides keep their bags in folders of one name."""
    folder = tmp_path_factory.mktemp("runs")
    for name, lane, seed in (("monday", 0.0, 1), ("tuesday", 1.0, 2)):
        (folder / name).mkdir()
        drive(folder / name / "bag", lane, seed)
    return folder


@pytest.fixture(scope="module")
def built(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "map"
    assert main(["map", "build", str(runs / "monday" / "bag"), str(runs / "tuesday" / "bag"), "-o", str(out)]) == 0
    return out


def test_a_map_is_built_of_all_its_bags_and_goes_on_where_it_stopped(runs, built, capsys):
    assert len(list((built / "work").glob("*.npz"))) == 2
    assert (built / "picture.png").read_bytes().startswith(b"\x89PNG")
    own = (built / "map.yaml").read_text()
    assert "monday/bag" in own and "tuesday/bag" in own
    before = (built / "map.yaml").read_bytes()
    bags = [str(runs / name / "bag") for name in ("monday", "tuesday", "monday")]
    assert main(["map", "build", *bags, "-o", str(built)]) == 0  # a bag named twice is one drive
    assert (built / "map.yaml").read_bytes() == before and "of 2 drives" in capsys.readouterr().out


def bench(tmp_path, *words: str) -> tuple[int, dict]:
    file = tmp_path / "out.json"
    status = main(["bench", "localization", "--json", str(file), *words])
    return status, json.loads(file.read_text()) if file.is_file() else {}


def test_bench_states_every_figure(runs, tmp_path, capsys):
    _, figures = bench(tmp_path, "--data", str(runs), "--kidnaps", "2")
    assert figures["map_made_of"] == ["monday/bag"] and not figures["judged_on_the_map's_own_drives"]
    assert figures["lateral_rms_m"] < 0.05 and figures["outside_protection"] == 0.0
    assert figures["kidnaps"]["places"] == 2 and figures["kidnaps"]["right_within_5_s"] == 1.0
    for key in ("longitudinal_rms_m", "heading_rms_deg", "lateral_max_m", "first_pose_s", "step_us_p50"):
        assert math.isfinite(figures[key])
    assert "lateral" in capsys.readouterr().out.splitlines()[-1]


def test_bench_leaves_out_what_it_cannot_use_and_says_so(runs, built, tmp_path):
    data = tmp_path / "data"
    (data / "blind").mkdir(parents=True)
    drive(data / "blind" / "bag", sweeps=False)
    shutil.copytree(runs / "tuesday", data / "whole")
    shutil.copytree(runs / "tuesday", data / "torn")
    torn = next((data / "torn" / "bag").glob("*.mcap"))
    torn.write_bytes(torn.read_bytes()[:5000])
    tile = next(built.glob("tile_*.pcd"))
    map_copy = tmp_path / "map"
    shutil.copytree(built, map_copy)
    (map_copy / tile.name).write_bytes(b"torn")
    _, figures = bench(tmp_path, "--data", str(data), "--map", str(map_copy), "--kidnaps", "0")
    assert figures["drives_judged"] == 1
    said = {key.split("/")[-2]: why for key, why in figures["left_out"].items()}
    assert "no lidar sweeps" in said["blind"] and "no bag that can be read" in said["torn"]


def test_a_map_of_another_place_is_refused(runs, built, tmp_path, capsys):
    other = tmp_path / "map"
    shutil.copytree(built, other)
    text = (other / "map.yaml").read_text()
    latitude = str(load_map("town").origin[0])
    assert latitude in text
    (other / "map.yaml").write_text(text.replace(latitude, "10.5", 1))
    assert main(["bench", "localization", "--data", str(runs), "--map", str(other)]) == 2
    assert "it is a map of another place" in capsys.readouterr().err


def test_bags_without_sweeps_make_no_map(tmp_path, capsys):
    bag = drive(tmp_path / "bag", sweeps=False)
    assert main(["map", "build", str(bag), "-o", str(tmp_path / "map")]) == 2
    assert "has no lidar sweeps; record with --record all" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "empty"])
def test_nothing_to_measure_is_said(tmp_path, capsys, content):
    place = tmp_path / "data"
    if content:
        place.mkdir()
    assert main(["bench", "localization", "--data", str(place)]) == 2
    assert ("no such folder" if content is None else "holds no bag") in capsys.readouterr().err


def test_folder_of_sweeps_with_poses(tmp_path):
    """KITTI odometry format, with not-a-number among the points as some drivers write."""
    folder = tmp_path / "sequences" / "00"
    (folder / "velodyne").mkdir(parents=True)
    poses = []
    for k in range(36):
        T = place(0.25 * k, 0.0)
        records = sweep(T, k, nan=True)
        xyzi = np.column_stack([*(records[n] for n in "xyz"), np.zeros(len(records), np.float32)])
        xyzi.astype("<f4").tofile(folder / "velodyne" / f"{k:06d}.bin")
        poses.append((inverse(place(0.0, 0.0) @ T_BASE_LIDAR) @ T @ T_BASE_LIDAR)[:3].ravel())
    np.savetxt(folder / "poses.txt", poses)
    status, figures = bench(tmp_path, "--data", str(tmp_path / "sequences"))
    row = figures["sequences"]["00"]
    assert status == 0 and row["matches_accepted"] == 1.0 and row["position_rms_m"] < 0.03
    assert row["right_within_5_s"] == 1.0

"""nuScenes and Argoverse 2 in their own folder layouts become bags with calibrated frames."""

import json

import numpy as np
import pytest
from rosbags.typesys import Stores, get_typestore
from transforms3d.quaternions import mat2quat

from robotaxi.bags.drives import read_av2, read_nuscenes, write_drive
from robotaxi.bags.reader import open_bag
from robotaxi.bags.writer import BagError
from robotaxi.pointcloud2 import from_cloud
from robotaxi.sensor_rig import load_rig, mounting_transform

TYPES = get_typestore(Stores.ROS2_KILTED)
POST = np.array([30.0, 2.0, 1.0, 1.0])  # in the world
T_BASE_LIDAR = mounting_transform(0.9, 0.0, 1.8, 0.0, 0.0, -90.0)
START_US, STEPS = 1_600_000_000_000_000, 24


def T_world_base(step, z=0.0):
    return mounting_transform(0.5 * step, 0.0, z, 0.0, 0.0, 10.0)


def posed(token, T, **more):
    return {"token": token, "translation": T[:3, 3].tolist(), "rotation": mat2quat(T[:3, :3]).tolist(), **more}


@pytest.fixture
def nuscenes(tmp_path):
    tables = tmp_path / "nu/v1.0-mini"
    tables.mkdir(parents=True)
    (tmp_path / "nu/sweeps").mkdir()
    data, poses = [], []
    for step in range(STEPS):  # 20 Hz
        point = np.linalg.inv(T_world_base(step) @ T_BASE_LIDAR) @ POST
        np.array([[*point[:3], 51.0, 3.0]], "<f4").tofile(tmp_path / f"nu/sweeps/{step}.pcd.bin")
        data.append({
            "token": f"d{step}", "sample_token": "s", "ego_pose_token": f"p{step}", "calibrated_sensor_token": "c",
            "timestamp": START_US + 50_000 * step, "filename": f"sweeps/{step}.pcd.bin",
        })  # fmt: skip
        poses.append(posed(f"p{step}", T_world_base(step), timestamp=0))
    content = {
        "scene": [{"token": "x", "name": "scene-0001"}], "sample": [{"token": "s", "scene_token": "x"}],
        "sample_data": data, "ego_pose": poses, "sensor": [{"token": "l", "channel": "LIDAR_TOP"}],
        "calibrated_sensor": [posed("c", T_BASE_LIDAR, sensor_token="l")],
    }  # fmt: skip
    for name, rows in content.items():
        (tables / f"{name}.json").write_text(json.dumps(rows))
    return tmp_path / "nu"


@pytest.fixture
def av2(tmp_path):
    feather = pytest.importorskip("pyarrow.feather", reason="pyarrow is not installed")
    import pyarrow as pa

    folder = tmp_path / "log"
    (folder / "sensors/lidar").mkdir(parents=True)
    rows = []
    for step in range(STEPS // 2):  # 10 Hz
        stamp, T = START_US * 1000 + 100_000_000 * step, T_world_base(2 * step, 0.33)
        x, y, z = (np.linalg.inv(T) @ POST)[:3]
        columns = {"x": [x], "y": [y], "z": [z], "intensity": [51]}
        feather.write_feather(pa.table(columns), folder / f"sensors/lidar/{stamp}.feather")
        rows.append((stamp, *mat2quat(T[:3, :3]), *T[:3, 3]))
    names = ["timestamp_ns", "qw", "qx", "qy", "qz", "tx_m", "ty_m", "tz_m"]
    table = pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    feather.write_feather(table, folder / "city_SE3_egovehicle.feather")
    return folder


def places(bag):
    """Where each sweep's only point is in the world."""
    rig, states, out = load_rig("robotaxi"), {}, []
    with open_bag(bag) as reader:
        rows = [(c.topic, t, TYPES.deserialize_cdr(raw, c.msgtype)) for c, t, raw in reader.messages()]
    for topic, stamp, message in rows:
        if topic.endswith("kinematic_state"):
            states[stamp] = message.pose.pose
    for topic, stamp, message in rows:
        if topic.endswith("pointcloud"):
            (point,), pose = from_cloud(message), states[stamp]
            yaw = np.degrees(2.0 * np.arctan2(pose.orientation.z, pose.orientation.w))
            T = mounting_transform(pose.position.x, pose.position.y, pose.position.z, 0.0, 0.0, yaw)
            out.append((T @ rig.T_base_lidar @ [point["x"], point["y"], point["z"], 1.0])[:3])
            assert point["intensity"] == pytest.approx(0.2)
    return np.array(out)


@pytest.mark.parametrize("kind", ["nuscenes", "av2"])
def test_every_sweep_shows_the_post_where_it_stands(kind, tmp_path, request):
    folder = request.getfixturevalue(kind)
    drive = read_nuscenes(folder) if kind == "nuscenes" else read_av2(folder)
    counts = write_drive(drive, tmp_path / "bag")
    assert counts["sensing/lidar/top/pointcloud"] == STEPS // 2
    found = places(tmp_path / "bag")
    assert np.abs(found - POST[:3]).max() < 0.01


def test_what_is_missing_is_named(nuscenes, tmp_path):
    with pytest.raises(BagError, match=r"has no folder v1\.0-\*"):
        read_nuscenes(tmp_path)
    with pytest.raises(BagError, match="no scene 'scene-9'; known are: scene-0001"):
        read_nuscenes(nuscenes, "scene-9")
    with pytest.raises(BagError, match="has no sweeps sensors/lidar"):
        read_av2(nuscenes)
    (nuscenes / "sweeps/4.pcd.bin").write_bytes(b"123")
    with pytest.raises(BagError, match=r"4\.pcd\.bin"):
        write_drive(read_nuscenes(nuscenes), tmp_path / "bag")
    (nuscenes / "v1.0-mini/ego_pose.json").write_text("{")
    with pytest.raises(BagError, match=r"ego_pose\.json: is no table"):
        read_nuscenes(nuscenes)

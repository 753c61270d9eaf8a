"""Public data sets in their own folder layouts become bags with calibrated frames."""

import json

import cv2
import numpy as np
import pytest
from rosbags.typesys import Stores, get_typestore
from transforms3d.quaternions import mat2quat

from robotaxi.bags.argoverse import read_av2
from robotaxi.bags.drives import write_drive
from robotaxi.bags.kitti import T_BASE_LIDAR as KITTI_LIDAR
from robotaxi.bags.kitti_drives import read_kitti
from robotaxi.bags.kitti_files import KittiError
from robotaxi.bags.nuscenes import read_nuscenes
from robotaxi.bags.reader import custom_data, open_bag
from robotaxi.bags.writer import BagError
from robotaxi.pointcloud2 import from_cloud
from robotaxi.sensor_rig import load_rig, mounting_transform

TYPES = get_typestore(Stores.ROS2_KILTED)
POST = np.array([30.0, 2.0, 1.0, 1.0])  # in the world
T_BASE_LIDAR = mounting_transform(0.9, 0.0, 1.8, 0.0, 0.0, -90.0)
START_US, STEPS = 1_600_000_000_000_000, 24
WIDE, HIGH, FOCAL, MIDDLE = 400, 120, 300.0, (190.5, 66.0)  # px, of the camera; not in the picture's middle
K = np.array([[FOCAL, 0.0, MIDDLE[0]], [0.0, FOCAL, MIDDLE[1]], [0.0, 0.0, 1.0]])
OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # its axes in the car's
T_BASE_CAMERA = mounting_transform(1.5, 0.1, 1.6, 0.0, 1.0, 0.5)
T_BASE_CAMERA[:3, :3] = T_BASE_CAMERA[:3, :3] @ OPTICAL


def T_world_base(step, z=0.0):
    return mounting_transform(0.5 * step, 0.0, z, 0.0, 0.0, 10.0)


def seen(T_world_camera):
    """The post's place in a picture."""
    x, y, z, _ = np.linalg.inv(T_world_camera) @ POST
    return FOCAL * x / z + MIDDLE[0], FOCAL * y / z + MIDDLE[1]


def draw(path, T_world_base, T_base_camera=T_BASE_CAMERA):
    """A picture of the post alone: a smooth spot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (u, v), (x, y) = seen(T_world_base @ T_base_camera), np.meshgrid(np.arange(WIDE), np.arange(HIGH))
    spot = 255.0 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / 8.0)
    cv2.imwrite(str(path), np.repeat(spot[..., None], 3, axis=2).astype(np.uint8))


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
        draw(tmp_path / f"nu/samples/{step}.png", T_world_base(step))
        data.append(
            {**data[-1], "token": f"i{step}", "calibrated_sensor_token": "k", "filename": f"samples/{step}.png"}
        )
    content = {
        "scene": [{"token": "x", "name": "scene-0001"}], "sample": [{"token": "s", "scene_token": "x"}],
        "sample_data": data, "ego_pose": poses,
        "sensor": [{"token": "l", "channel": "LIDAR_TOP"}, {"token": "m", "channel": "CAM_FRONT"}],
        "calibrated_sensor": [
            posed("c", T_BASE_LIDAR, sensor_token="l", camera_intrinsic=[]),
            posed("k", T_BASE_CAMERA, sensor_token="m", camera_intrinsic=K.tolist()),
        ],
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
        draw(folder / f"sensors/cameras/ring_front_center/{stamp}.jpg", T_world_base(2 * step))
    (folder / "calibration").mkdir()
    lens = {"fx_px": FOCAL, "fy_px": FOCAL, "cx_px": MIDDLE[0], "cy_px": MIDDLE[1], "k1": 0.0, "k2": 0.0, "k3": 0.0,
            "height_px": HIGH, "width_px": WIDE}  # fmt: skip
    place = dict(zip(["qw", "qx", "qy", "qz"], mat2quat(T_BASE_CAMERA[:3, :3]), strict=True))
    place |= dict(zip(["tx_m", "ty_m", "tz_m"], T_BASE_CAMERA[:3, 3] - [0.0, 0.0, 0.33], strict=True))
    for name, values in (("intrinsics", lens), ("egovehicle_SE3_sensor", place)):
        row = {"sensor_name": ["ring_front_center"], **{key: [value] for key, value in values.items()}}
        feather.write_feather(pa.table(row), folder / f"calibration/{name}.feather")
    names = ["timestamp_ns", "qw", "qx", "qy", "qz", "tx_m", "ty_m", "tz_m"]
    table = pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    feather.write_feather(table, folder / "city_SE3_egovehicle.feather")
    return folder


def line(name, block):
    return f"{name}: " + " ".join(f"{value:.12g}" for value in np.asarray(block).reshape(-1)) + "\n"


def kitti_sweeps(folder):
    folder.mkdir(parents=True)
    for step in range(STEPS // 2):
        point = np.linalg.inv(T_world_base(2 * step) @ KITTI_LIDAR) @ POST
        np.array([[*point[:3], 0.2]], "<f4").tofile(folder / f"{step:06d}.bin")


def oxts_rows():
    """Rows of the IMU, which is where the lidar is; the world's origin is at 0 degrees north and east."""
    rows = []
    for step in range(STEPS // 2):
        T = T_world_base(2 * step) @ KITTI_LIDAR
        north = 2.0 * np.arctan(np.exp(T[1, 3] / 6378137.0)) - np.pi / 2.0
        turn = [0.0, 0.0, np.radians(10.0)]
        rows.append([np.degrees(north), np.degrees(T[0, 3] / 6378137.0), T[2, 3], *turn, *[0.0] * 24])
    return rows


RECTIFIED = KITTI_LIDAR.copy()  # the camera that all are rectified to; the colour camera stands 6 cm to its right
RECTIFIED[:3, :3] = OPTICAL
PROJECTION = K @ np.array([[1.0, 0.0, 0.0, -0.06], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
COLOUR = RECTIFIED @ mounting_transform(0.06, 0.0, 0.0, 0.0, 0.0, 0.0)
TR = (np.linalg.inv(RECTIFIED) @ KITTI_LIDAR)[:3]


def kitti_images(folder):
    for step in range(STEPS // 2):
        draw(folder / f"{step:06d}.png", T_world_base(2 * step), COLOUR)


@pytest.fixture
def kitti_odometry(tmp_path):
    place = tmp_path / "dataset/sequences/03"
    kitti_sweeps(place / "velodyne")
    kitti_images(place / "image_2")
    (place / "calib.txt").write_text(line("P2", PROJECTION) + line("Tr", TR))
    (place / "times.txt").write_text("".join(f"{0.1 * k:e}\n" for k in range(STEPS // 2)))
    start = np.linalg.inv(T_world_base(0) @ RECTIFIED)
    poses = [(start @ T_world_base(2 * k) @ RECTIFIED)[:3].reshape(-1) for k in range(STEPS // 2)]
    (tmp_path / "dataset/poses").mkdir()
    np.savetxt(tmp_path / "dataset/poses/03.txt", poses)
    return tmp_path / "dataset"


@pytest.fixture
def kitti_tracking(tmp_path):
    place = tmp_path / "training"
    kitti_sweeps(place / "velodyne/0007")
    kitti_images(place / "image_02/0007")
    for name in ("calib", "oxts"):
        (place / name).mkdir()
    calibration = line("P2", PROJECTION) + line("R_rect", np.eye(3)) + line("Tr_velo_cam", TR)
    (place / "calib/0007.txt").write_text(calibration + line("Tr_imu_velo", np.eye(4)[:3]))
    np.savetxt(place / "oxts/0007.txt", oxts_rows(), fmt="%.15g")
    return place


@pytest.fixture
def kitti_raw(tmp_path):
    day = tmp_path / "2011_09_26"
    place = day / "2011_09_26_drive_0005_sync"
    kitti_sweeps(place / "velodyne_points/data")
    kitti_images(place / "image_02/data")
    (place / "oxts/data").mkdir(parents=True)
    for step, row in enumerate(oxts_rows()):
        np.savetxt(place / f"oxts/data/{step:010d}.txt", [row], fmt="%.15g")
    stamps = "".join(f"2011-09-26 13:02:{25 + 0.1 * k:012.9f}\n" for k in range(STEPS // 2))
    for name in ("velodyne_points", "image_02", "oxts"):
        (place / name / "timestamps.txt").write_text(stamps)
    (day / "calib_cam_to_cam.txt").write_text(line("R_rect_00", np.eye(3)) + line("P_rect_02", PROJECTION))
    (day / "calib_velo_to_cam.txt").write_text(line("R", TR[:, :3]) + line("T", TR[:, 3]))
    (day / "calib_imu_to_velo.txt").write_text(line("R", np.eye(3)) + line("T", np.zeros(3)))
    return day


READERS = {"nuscenes": read_nuscenes, "av2": read_av2}


def places(bag):
    """Where each sweep's only point is in the world."""
    rig, states, out = load_rig(custom_data(bag)["sensors"]), {}, []
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


def pictures(bag, post):
    """How far (px) from where the bag's rig sees ``post`` (x, y, z, 1) each picture has it."""
    model, states, images = load_rig(custom_data(bag)["sensors"]).camera_models["front"], {}, []
    with open_bag(bag) as reader:
        for connection, stamp, raw in reader.messages():
            message = TYPES.deserialize_cdr(raw, connection.msgtype)
            if connection.topic.endswith("kinematic_state"):
                states[stamp] = message.pose.pose
            elif connection.topic.endswith("image_raw"):
                images.append((stamp, message))
            elif connection.topic.endswith("camera_info"):
                assert (message.k[0], message.k[2], message.width) == (model.fx, model.cx, model.width)
    off = []
    for stamp, message in images:
        pose = states[stamp]
        yaw = np.degrees(2.0 * np.arctan2(pose.orientation.z, pose.orientation.w))
        T = mounting_transform(pose.position.x, pose.position.y, pose.position.z, 0.0, 0.0, yaw) @ model.T_base_optical
        x, y, z, _ = np.linalg.inv(T) @ post
        spot = message.data.reshape(message.height, message.width, 3)[..., 0].astype(float)
        spot[spot < 30.0] = 0.0  # what JPEG makes around it
        v, u = (np.indices(spot.shape) * spot).sum(axis=(1, 2)) / spot.sum()
        off.append(np.hypot(u - model.fx * x / z - model.cx, v - model.fy * y / z - model.cy))
    return np.array(off)


@pytest.mark.parametrize("kind", ["nuscenes", "av2", "kitti_odometry", "kitti_tracking", "kitti_raw"])
def test_sweeps_and_pictures_show_the_post_where_it_stands(kind, tmp_path, request):
    folder = request.getfixturevalue(kind)
    drive = READERS.get(kind, read_kitti)(folder)
    counts = write_drive(drive, tmp_path / "bag")
    assert counts["sensing/lidar/top/pointcloud"] == STEPS // 2
    found = places(tmp_path / "bag")
    if kind.startswith("kitti"):  # its map begins where the car or its camera does
        assert np.ptp(found, axis=0).max() < 0.01
    else:
        assert np.abs(found - POST[:3]).max() < 0.01
    off = pictures(tmp_path / "bag", np.append(found.mean(axis=0), 1.0))
    assert len(off) >= 5 and off.max() < 1.0  # taken up to 50 ms beside the stamps of the stack's camera


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


def test_what_a_kitti_folder_lacks_is_named(kitti_tracking, kitti_raw, kitti_odometry):
    with pytest.raises(KittiError, match="no sequence '0001'; known are: 0007"):
        read_kitti(kitti_tracking, "0001")
    (kitti_tracking / "calib/0007.txt").unlink()
    with pytest.raises(KittiError, match="has oxts but no calibration of the IMU"):
        read_kitti(kitti_tracking)
    (kitti_raw / "calib_velo_to_cam.txt").write_text(line("R", np.ones((3, 3))) + line("T", TR[:, 3]))
    with pytest.raises(KittiError, match=r"calib_velo_to_cam\.txt: 'R' holds no rotation"):
        read_kitti(kitti_raw)
    (kitti_raw / "2011_09_26_drive_0005_sync/velodyne_points/timestamps.txt").write_text("2011-09-26 13:02:25\nsoon\n")
    with pytest.raises(KittiError, match=r"timestamps\.txt: not a table of times"):
        read_kitti(kitti_raw)
    (kitti_odometry / "poses/03.txt").unlink()
    drive = read_kitti(kitti_odometry)
    assert drive.poses == [] and drive.camera is not None and drive.name.endswith("no poses")

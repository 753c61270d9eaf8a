"""Folders of recordings: what is read off them, and what is said of broken ones."""

import json

import numpy as np
import pytest

from robotaxi.bags.kitti import read_points
from robotaxi.bags.kitti_files import KittiError
from robotaxi.bags.kitti_labels import object_class
from robotaxi.bags.lidar_mount import estimate_mount
from robotaxi.bags.recordings import open_recordings
from robotaxi.cli import main
from robotaxi.evaluation.perception_bench import at_pace, run_lidar
from robotaxi.perception.lidar import LidarPerceptionConfig
from robotaxi.types import ObjectClass

HEIGHT = 2.1  # m, of a lidar whose x looks right and y ahead: nothing like KITTI's
P2 = "P2: 500 0 600 0 0 500 200 0 0 0 1 0\n"
CALIB = P2 + "R0_rect: 1 0 0 0 1 0 0 0 1\nTr_velo_to_cam: 1 0 0 0 0 0 -1 -0.3 0 1 0 0\n"


def road(seed=0, lean=0.0):
    """Points of a flat road and a car's rear 10 m ahead, in the frame of that lidar leaning forward."""
    rng = np.random.default_rng(seed)
    flat = np.column_stack([rng.uniform(-25, 25, (4000, 2)), np.full(4000, -HEIGHT)])
    car = np.column_stack([rng.uniform(-0.8, 0.8, 80), np.full(80, 10.0), rng.uniform(-HEIGHT + 0.3, -0.8, 80)])
    c, s = np.cos(lean), np.sin(lean)
    return (np.concatenate([flat, car]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])).astype(np.float32)


def label(frame, kind, x, z, identity=3):
    """A box 4 m long that shows its rear, at camera coordinates x (right) and z (ahead)."""
    lead = "" if frame is None else f"{frame} {identity} "
    return f"{lead}{kind} 0 0 0 500 180 600 260 1.5 1.8 4.0 {x} 1.8 {z} -1.5707963\n"


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "drive"
    (root / "velodyne").mkdir(parents=True)
    for k in range(3):
        points = road(k)
        np.column_stack([points, np.zeros(len(points))]).astype("<f4").tofile(root / f"velodyne/{k:06d}.bin")
    (root / "calib.txt").write_text(CALIB)
    nobody = "0 -1 DontCare -1 -1 -10 700 0 900 400 -1 -1 -1 -1000 -1000 -1000 -10\n"
    (root / "label_02.txt").write_text("".join(label(k, "Bus", 0.0, 12.0) for k in range(3)) + nobody)
    return root


def test_the_mounting_is_read_off_road_and_camera():
    lean = np.radians(3.0)
    T, sure = estimate_mount([road(lean=lean)], np.array([0.0, 1.0, 0.0]))
    assert sure and T[2, 3] == pytest.approx(HEIGHT, abs=0.02)
    flat = road(lean=lean)[:4000] @ T[:3, :3].T + T[:3, 3]
    assert np.abs(flat[:, 2]).max() < 0.1 and T[0, 1] > 0.99, "level, and the lidar's y is the car's x"
    assert np.linalg.det(T[:3, :3]) == pytest.approx(1.0)
    level, sure = estimate_mount([np.zeros((0, 3))], np.array([1.0, 0.0, 0.0]))
    assert not sure and level[2, 3] == 1.8


def test_a_folder_of_another_sensor_comes_in_base_link(folder):
    (recording,) = open_recordings(folder)
    frames = list(recording.frames())
    box = frames[0].truth[0]
    assert (box["label"], box["id"], box["counted"]) == (ObjectClass.TRUCK, 3, True)
    assert [box["x"], box["y"]] == pytest.approx([12.0 + 0.8, 0.0], abs=0.15)
    assert np.cos(box["yaw"]) == pytest.approx(1.0, abs=1e-2) and box["points"] >= 40
    assert recording.notes["evaluated"] == "camera image" and frames[1].sweep.stamp_ns == 100_000_000
    assert frames[0].state.speed == 0.0 and recording.notes["poses"] == "own lidar odometry"
    around = np.array([[20.0, 0.0, 1.0], [-20.0, 0.0, 1.0], [20.0, -8.0, 1.0]])
    assert frames[0].annotated(around).tolist() == [True, False, False], "ahead, behind, where nobody cared"


def test_poses_of_the_lidar_are_states_of_the_car(folder):
    """A turn to the left by 0.2 rad and 1 m ahead from sweep to sweep; ahead is the lidar's y."""
    poses, at = [], np.eye(4)
    step = np.eye(4)
    step[:2, :2] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
    step[1, 3] = 1.0
    for _ in range(3):
        poses.append(at[:3].ravel())
        at = at @ step
    np.savetxt(folder / "kiss_icp_poses.txt", poses)
    states = [frame.state for frame in open_recordings(folder)[0].frames()]
    assert [state.yaw for state in states] == pytest.approx([0.0, 0.2, 0.4], abs=1e-3)
    assert states[1].x == pytest.approx(1.0, abs=0.2) and abs(states[1].z) < 0.01
    assert states[1].speed == pytest.approx(10.0, abs=0.5) and states[1].yaw_rate == pytest.approx(2.0, abs=0.05)


def test_labels_all_around_are_evaluated_all_around(folder):
    (folder / "label_02.txt").write_text("".join(label(k, "car", 0.0, z) for k in range(3) for z in (12.0, -12.0)))
    (recording,) = open_recordings(folder)
    assert recording.notes["evaluated"] == "all around" and next(recording.frames()).annotated is None


def test_single_frames_and_folders_of_folders(folder):
    for name in ("calib", "label_2"):
        (folder / name).mkdir()
    for k in range(3):
        (folder / f"calib/{k:06d}.txt").write_text(CALIB)
        (folder / f"label_2/{k:06d}.txt").write_text(label(None, "Car", 0.0, 12.0))
    (folder / "label_02.txt").unlink()
    (recording,) = open_recordings(folder.parent)
    frames = list(recording.frames())
    assert not recording.tracked and len(frames) == 3 and frames[2].truth["counted"].all()


def test_sweeps_annotated_now_and_then_are_evaluated_then(folder):
    for k in range(3, 6):
        (folder / f"velodyne/{k:06d}.bin").write_bytes((folder / "velodyne/000000.bin").read_bytes())
    (folder / "label_02.txt").write_text(label(0, "Car", 0.0, 12.0) + label(5, "Car", 0.0, 12.0))
    (folder / "times.txt").write_text("".join(f"{0.05 * k}\n" for k in range(6)))
    frames = list(open_recordings(folder)[0].frames())
    assert [f.evaluated for f in frames] == [True, False, False, False, False, True]
    assert frames[5].sweep.stamp_ns == 250_000_000


@pytest.mark.parametrize(
    ("name", "kind"),
    [("static_object.bicycle_rack", 0), ("MOBILE_PEDESTRIAN_CROSSING_SIGN", 0), ("movable_object.trafficcone", 0),
     ("WHEELED_RIDER", 3), ("OFFICIAL_SIGNALER", 4), ("vehicle.construction", 2), ("RAILED_VEHICLE", 2),
     ("Van", 1), ("REGULAR_VEHICLE", 1), ("LARGE_VEHICLE", 2), ("vehicle.bus.rigid", 2), ("Motorcyclist", 3),
     ("human.pedestrian.adult", 4), ("Person_sitting", 4), ("Misc", 0)],
)  # fmt: skip
def test_class_names_of_many_sets(name, kind):
    assert object_class(name) == kind


@pytest.mark.parametrize("columns", [3, 4, 5, 6])
@pytest.mark.parametrize("count", [0, 1000, 1001, 3600])
def test_sweeps_of_any_number_of_columns_in_any_order_are_read(tmp_path, columns, count):
    rng = np.random.default_rng(columns)
    table = np.column_stack([rng.permutation(road())[:count], rng.uniform(0, 255, (count, 3))])[:, :columns]
    table.astype("<f4").tofile(tmp_path / "sweep.bin")
    points = read_points(tmp_path / "sweep.bin")
    assert len(points) == count
    assert np.array_equal(np.stack([points[axis] for axis in "xyz"], axis=-1), table[:, :3].astype(np.float32))
    assert np.array_equal(points["intensity"], table[:, 3].astype(np.float32) if columns > 3 else np.zeros(count))


def test_a_sweep_without_intensity_is_one(tmp_path):
    np.savez(tmp_path / "sweep.npz", xyz_5mm=np.full((7, 3), 200, np.int16))
    points = read_points(tmp_path / "sweep.npz")
    assert points["x"].tolist() == pytest.approx([1.0] * 7) and not points["intensity"].any()


def rename(folder, name):
    for k, path in enumerate(sorted((folder / "velodyne").iterdir())):
        path.rename(path.with_name(f"{name(k)}.bin"))


@pytest.mark.parametrize("named", ["sweeps", "labels too"])
def test_names_that_are_times_tell_when_sweeps_were_and_labels_may_count_or_tell_times(folder, named):
    stamp = 1_532_402_927_647_951_000
    rename(folder, lambda k: f"{stamp + 50_000_000 * k}")
    if named == "labels too":
        rows = "".join(label(stamp + 50_000_000 * k, "Bus", 0.0, 12.0) for k in range(3))
        (folder / "label_02.txt").write_text(rows)
    (recording,) = open_recordings(folder)
    frames = list(recording.frames())
    assert [f.sweep.stamp_ns for f in frames] == [0, 50_000_000, 100_000_000] and recording.period == 0.05
    assert all(len(f.truth) == 1 and f.evaluated for f in frames)


def test_names_of_another_set_end_in_times(folder):
    rename(folder, lambda k: f"n015-2018-07-24-11-22-45+0800__LIDAR_TOP__{1_532_402_927_647_951 + 500_000 * k}.pcd")
    assert open_recordings(folder)[0].period == pytest.approx(0.5)


def test_sweeps_that_count_from_one_go_with_labels_that_count_from_zero(folder):
    rename(folder, lambda k: f"{k + 1}")
    assert [len(f.truth) for f in open_recordings(folder)[0].frames()] == [1, 1, 1]


def test_sweeps_come_in_counting_order(folder):
    rename(folder, lambda k: k)
    for k in range(3, 12):
        (folder / f"velodyne/{k}.bin").write_bytes(b"")
    frames = open_recordings(folder)[0].frames()
    assert [f.sweep.stamp_ns // 100_000_000 for f in frames] == list(range(12))


def test_sweeps_may_be_missing_beside_complete_times_and_labels(folder):
    (folder / "velodyne/000001.bin").unlink()
    (folder / "times.txt").write_text("5.0\n5.1\n5.25\n")
    frames = list(open_recordings(folder)[0].frames())
    assert [f.sweep.stamp_ns for f in frames] == [5_000_000_000, 5_250_000_000]
    assert [len(f.truth) for f in frames] == [1, 1]


def test_points_in_the_cars_own_frame_are_taken_as_they_are():
    for height in (0.33, 0.0):
        T, sure = estimate_mount([road()[:4000] + np.array([0.0, 0.0, HEIGHT - height])], np.array([1.0, 0.0, 0.0]))
        assert sure and T[2, 3] == pytest.approx(height, abs=0.02) and T[0, 3] == 0.0


def test_a_sequence_of_the_download_alone_and_deep_in_folders(folder, tmp_path):
    (folder / "label_02").mkdir()
    (folder / "label_02.txt").rename(folder / "label_02/0007.txt")
    text = (folder / "label_02/0007.txt").read_text()
    (folder / "label_02/0007.txt").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    (tmp_path / "city/training").mkdir(parents=True)
    folder.rename(tmp_path / "city/training/drive")
    (recording,) = open_recordings(tmp_path)
    assert recording.name == "0007" and [len(f.truth) for f in recording.frames()] == [1, 1, 1]


def test_labels_of_other_frames_are_named(folder):
    (folder / "label_02.txt").write_text(label(40, "Car", 0.0, 12.0))
    with pytest.raises(KittiError, match="is about frames 40 to 40, sweeps are 0 to 2"):
        open_recordings(folder)


def test_sweeps_named_by_times_and_tracks_named_by_hashes(folder):
    for k, path in enumerate(sorted((folder / "velodyne").iterdir())):
        path.rename(path.with_name(f"{1_532_402_927 + 97 * k}.bin"))
    hashes = "".join(label(1_532_402_927 + 97 * k, "car", 0.0, 12.0, "0aef-12") for k in range(3))
    (folder / "label_02.txt").write_text(hashes + label(1_532_402_927, "car", 3.0, 12.0, "77e1-beef"))
    frames = list(open_recordings(folder)[0].frames())
    assert [f.sweep.stamp_ns for f in frames] == [0, 100_000_000, 200_000_000]
    assert len(frames[0].truth) == 2 and len({int(i) for f in frames for i in f.truth["id"]}) == 2


def test_what_a_recording_may_lack(folder):
    """Sweeps that are empty or full of nonsense, annotations of nothing, no rectification, no camera, no poses."""
    nonsense = np.full((50, 4), np.nan, "<f4")
    nonsense[::2] = np.inf
    nonsense.tofile(folder / "velodyne/000001.bin")
    (folder / "velodyne/000002.bin").write_bytes(b"")
    (folder / "label_02.txt").write_text("\n")
    (folder / "calib.txt").write_text("Tr_velo_to_cam: 1 0 0 0 0 0 -1 -0.3 0 1 0 0\n")
    (recording,) = open_recordings(folder)
    network = answer_nothing
    figures = run_lidar([recording], LidarPerceptionConfig(), network=network)
    assert figures["frames"] == 3 and figures["tracking"]["vehicle"]["mota"] is None
    (folder / "label_02.txt").write_text("".join(label(k, "Car", 0.0, 12.0) for k in range(3)))
    figures = run_lidar(open_recordings(folder), LidarPerceptionConfig(), network=network)
    assert figures["frames_evaluated"] == 3 and figures["tracking"]["vehicle"]["annotated"] == 1


def test_two_sweeps_a_second_are_tracked_too(folder):
    """A car 12 m ahead of a car at rest; keyframes come twice a second, and not quite regularly."""
    for k in range(3, 8):
        (folder / f"velodyne/{k:06d}.bin").write_bytes((folder / "velodyne/000000.bin").read_bytes())
    (folder / "label_02.txt").write_text("".join(label(k, "Car", 0.0, 12.0) for k in range(8)))
    (folder / "times.txt").write_text("".join(f"{0.5 * k + 0.05 * (k % 2)}\n" for k in range(8)))
    (recording,) = open_recordings(folder)
    assert recording.period == pytest.approx(0.5, abs=0.06)
    paced = at_pace(LidarPerceptionConfig(), recording.period)
    assert paced.max_step > 1.0 and at_pace(paced, 0.05) is paced
    figures = run_lidar([recording], LidarPerceptionConfig())["tracking"]["vehicle"]
    assert figures["annotated"] == 8 and figures["missed"] <= 2 and figures["id_switches"] == 0


def answer_nothing(patch, fact):
    """A network that knows no road user."""
    return np.eye(1, 5, dtype=np.float32).repeat(len(patch), axis=0), np.zeros((len(patch), 6), np.float32)


def test_broken_folders_are_named(folder, tmp_path):
    def fails(match, place=folder):
        with pytest.raises(KittiError, match=match):
            for recording in open_recordings(place):
                list(recording.frames())

    fails("no such folder", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    fails("holds no recording", tmp_path / "empty")
    (folder / "times.txt").write_text("0\n0.1\n")
    fails("expected 3 rising times")
    (folder / "times.txt").unlink()
    (folder / "kiss_icp_poses.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n")
    fails("1 poses for 3 sweeps")
    (folder / "kiss_icp_poses.txt").unlink()
    (folder / "label_02.txt").write_text("0 1 Car 0 0 0 1 2 3\n")
    fails("line 1: expected 17 columns, found 9")
    (folder / "label_02.txt").write_text(label(0, "Car", "nan", 12.0))
    fails("line 1: holds a number that is not finite")
    (folder / "label_02.txt").write_text(label(1e30, "Car", 0.0, 12.0))
    fails("line 1: '1e\\+30' is no number of a frame")
    (folder / "label_02.txt").write_text(label(0, "Car", 0.0, 12.0))
    calibration = (folder / "calib.txt").read_text()
    for camera, match in (("P2: 1 x 3\n", "calib.txt: 'P2': "), ("P2: nan" + " 1" * 11 + "\n", "'P2' holds a number")):
        without = "".join(line + "\n" for line in calibration.splitlines() if not line.startswith("P2"))
        (folder / "calib.txt").write_text(without + camera)
        fails(match)
    (folder / "calib.txt").write_text("P2: 1\n")
    fails("has no 'Tr_velo_to_cam'")
    (folder / "calib.txt").unlink()
    fails("calib.txt: is missing")
    (folder / "label_02.txt").unlink()
    fails("has sweeps and no labels")


@pytest.mark.parametrize("columns", [4, 5, 6])
def test_sweeps_that_are_cut_short_are_named(tmp_path, columns):
    """Not taken for points of three numbers, or of more."""
    rng, path = np.random.default_rng(1), tmp_path / "0.bin"
    rows = rng.normal(0.0, 10.0, (2000, columns)).astype("<f4")
    rows[:, 3:] = rng.random((2000, columns - 3))
    whole = rows.tobytes()
    for size in (len(whole) // 2 + 4 * k for k in range(1, 61)):
        path.write_bytes(whole[:size])
        if size % (4 * columns) == 0:
            assert len(read_points(path)) == size // (4 * columns)
        else:
            with pytest.raises(KittiError, match="copy it again"):
                read_points(path)


def test_an_archive_with_a_flipped_byte_is_named(tmp_path):
    path = tmp_path / "0.npz"
    np.savez_compressed(path, xyz=np.random.default_rng(2).normal(size=(500, 3)))
    good = path.read_bytes()
    for at in range(60, len(good) - 200, 97):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :])
        with pytest.raises(KittiError, match=r"0\.npz"):
            read_points(path)


@pytest.mark.parametrize(
    ("labels", "sweep", "said"),
    [
        ("", None, "none of 3 sweeps has a label"),
        (label(0, "Spaceship", 0.0, 12.0), None, "no label of a known class"),
        (label(0, "Bus", 0.0, 12.0), np.full((500, 4), np.nan, "<f4"), "has a return on it"),
        (label(0, "Bus", 0.0, 12.0), np.zeros((0, 4), "<f4"), "has a return on it"),
    ],
)
def test_a_bench_with_nothing_to_compare_fails(folder, tmp_path, capsys, labels, sweep, said):
    (folder / "label_02.txt").write_text(labels)
    for path in (folder / "velodyne").iterdir():
        if sweep is not None:
            sweep.tofile(path)
    figures = tmp_path / "out.json"
    assert main(["bench", "lidar", "--no-model", "--data", str(folder), "--json", str(figures)]) == 2
    assert said in capsys.readouterr().err and said in json.loads(figures.read_text())["error"]

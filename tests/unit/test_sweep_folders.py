"""Folders of sweeps as others have them, odd and broken ones among them: what is read, what is named and left out."""

import json

import numpy as np
import pytest

from robotaxi.bags.kitti_files import KittiError
from robotaxi.bags.sweep_folder import find_sequences, find_sweep_folders
from robotaxi.cli import main
from robotaxi.evaluation import gnss_imu, odometry_bench
from robotaxi.evaluation.gnss_imu_files import RecordingError, read_recordings
from robotaxi.evaluation.odometry_bench import Contender, compare, verdict
from robotaxi.evaluation.sweep_localization import upright

LINE = "1 0 0 {x} 0 1 0 0 0 0 1 0\n"


def sweeps(folder, count=4, points=200):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for k in range(count):
        rows = np.column_stack([rng.uniform(-20.0, 20.0, (points, 3)), rng.uniform(0.0, 1.0, points)])
        rows.astype("<f4").tofile(folder / f"{k:06d}.bin")
    return folder


def poses(count):
    return "".join(LINE.format(x=0.5 * k) for k in range(count))


def names(folder):
    left_out = {}
    return [(s.name, len(s), sorted(s.references)) for s in find_sequences(folder, left_out)], left_out


def test_the_odometry_download(tmp_path):
    """sequences/NN with poses/NN.txt beside it; times as they are, or ten a second where they are missing."""
    sweeps(tmp_path / "sequences/03/velodyne")
    sweeps(tmp_path / "sequences/04/velodyne")
    (tmp_path / "poses").mkdir()
    (tmp_path / "poses/03.txt").write_text(poses(4))
    (tmp_path / "sequences/03/times.txt").write_text("0\n0.11\n0.2\n0.3\n")
    (tmp_path / "sequences/03/calib.txt").write_text("P0: 1 0 0 0 0 1 0 0 0 0 1 0\nTr: 0 -1 0 0 0 0 -1 0 1 0 0 0\n")
    third, fourth = find_sequences(tmp_path, {})
    assert third.stamps_ns[1] == 110_000_000 and sorted(third.references) == ["03.txt (camera)", "03.txt (lidar)"]
    assert fourth.stamps_ns[1] == 100_000_000 and not fourth.references


def test_tracking_and_raw_downloads(tmp_path):
    sweeps(tmp_path / "training/velodyne/0000")
    sweeps(tmp_path / "training/velodyne/0001", 3)
    sweeps(tmp_path / "2011_09_26/drive_0001_sync/velodyne_points/data", 2)
    found, left_out = names(tmp_path)
    assert sorted(found) == [("0000", 4, []), ("0001", 3, []), ("drive_0001_sync", 2, [])] and not left_out


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("times.txt", "0\n0.1\n", "expected 4 rising times"),
        ("times.txt", "0\n0.1\n0.1\n0.2\n", "expected 4 rising times"),
        ("times.txt", "0\n0.1\nnan\n0.2\n", "expected 4 rising times"),
        ("times.txt", "", "is empty"),
        ("times.txt", "noon\n", "not a table of numbers"),
        ("poses.txt", poses(3), "3 poses for 4 sweeps"),
        ("poses.txt", "1 0 0\n" * 4, "expected 12 finite numbers a line"),
        ("poses.txt", "nan " * 12 + "\n", "expected 12 finite numbers a line"),
        ("poses.txt", "1 0 0 0\n1 0\n", "not a table of numbers"),
        ("poses.txt", "0 " * 12 * 4, "expected 12 finite numbers a line"),
        ("poses.txt", ("0 " * 12 + "\n") * 4, "some poses hold no rotation"),
    ],
)
def test_what_is_broken_is_named_and_the_rest_is_used(tmp_path, file, text, words):
    sweeps(tmp_path / "a/velodyne")
    sweeps(tmp_path / "b/velodyne")
    (tmp_path / "a" / file).write_text(text)
    found, left_out = names(tmp_path)
    assert found == [("b", 4, [])]
    assert words in left_out[str(tmp_path / "a/velodyne")] and file in left_out[str(tmp_path / "a/velodyne")]


def test_nothing_to_use_is_said_with_its_reason(tmp_path):
    (tmp_path / "velodyne").mkdir()
    with pytest.raises(KittiError, match=r"holds no sequence.*holds neither \.npz nor \.bin sweeps"):
        list(find_sequences(tmp_path, {}))
    assert list(find_sweep_folders(tmp_path, {})) == []


@pytest.fixture
def methods(monkeypatch):
    """Both methods see the points and answer with a pose half a metre further each time."""
    seen = []

    def make():
        at = np.eye(4)

        def step(points, when, period):
            seen.append(points)
            at[0, 3] += 0.5
            return at

        return Contender(step)

    monkeypatch.setattr(odometry_bench, "map_thickness", lambda sweeps, poses: 0.1 if len(sweeps) > 2 else np.nan)
    monkeypatch.setattr(odometry_bench, "ours", make)
    monkeypatch.setattr(odometry_bench, "kiss_icp", make)
    return seen


def test_points_that_are_none_and_empty_sweeps_are_kept_from_both_methods(tmp_path, methods):
    folder = sweeps(tmp_path / "velodyne", 6, 600)
    for name, rows in (("000001.bin", slice(0, 10)), ("000002.bin", slice(0, 300))):
        points = np.fromfile(folder / name, "<f4").reshape(-1, 4)
        points[rows, :3] = np.nan
        points[: 595 if name == "000001.bin" else 0, :3] = np.inf
        points.tofile(folder / name)
    (sequence,) = find_sequences(tmp_path, {})
    found = compare(len(sequence), sequence.load, sequence.stamps_ns, {}, False)
    assert [len(points) for points in methods[::2]] == [600, 300, 600, 600, 600], "one sweep is too empty to give"
    assert found["sweeps"] == 6 and found["error_ratio"] == 1.0


def test_what_cannot_be_judged_is_said(tmp_path, methods, capsys):
    sweeps(tmp_path / "few/velodyne", 3, 20)
    sweeps(tmp_path / "torn/velodyne")
    (tmp_path / "torn/velodyne/000002.bin").write_bytes(b"12345")
    file = tmp_path / "figures.json"
    assert main(["bench", "odometry", "--data", str(tmp_path), "--json", str(file)]) == 2
    figures = json.loads(file.read_text())
    assert "none of its 3 sweeps has 100 points" in figures["error"]
    assert "000002.bin: 5 bytes are no whole number of points" in figures["error"]
    assert "left out few" in capsys.readouterr().err
    nothing = {"map_thickness_m": float("nan"), "wall_ms_p50": 1.0, "cpu_ms_p50": 1.0}
    with pytest.raises(ValueError, match="too short"):
        verdict({"robotaxi": nothing, "kiss_icp": nothing}, False)


@pytest.mark.parametrize("bench", ["odometry", "localization", "gnss-imu"])
def test_a_folder_that_is_none_leaves_its_reason_in_the_figures(tmp_path, bench, capsys):
    file = tmp_path / "figures.json"
    assert main(["bench", bench, "--data", str(tmp_path / "none"), "--json", str(file)]) == 2
    assert "no such folder" in json.loads(file.read_text())["error"]
    assert capsys.readouterr().out.startswith(f"bench {bench}: not measured: ")


def inertial(count=100):
    """Rows of a car that stands: time, interval, force, rate."""
    table = np.zeros((count, 8))
    table[:, 0], table[:, 1], table[:, 4] = np.arange(count) * 0.1, 0.1, 9.81
    return table


def fixes_of(count=12, shift=0.0):
    return np.column_stack([np.arange(count) + shift, np.zeros((count, 3))])


@pytest.mark.parametrize(("shift", "words"), [(0.0, "too short for a fix every 10"), (1e4, "0 fixes lie")])
def test_fixes_that_do_not_fit_the_inertial_samples(tmp_path, shift, words):
    np.savetxt(tmp_path / "x_Imu.txt", inertial())
    np.savetxt(tmp_path / "x_Gps.txt", fixes_of(shift=shift))
    (recording,) = read_recordings(tmp_path, {})
    with pytest.raises(RecordingError, match=words):
        gnss_imu.held_out(recording, 10.0)


def test_columns_are_those_that_the_header_names(tmp_path):
    table = inertial()
    table[3, 2] = np.nan
    other = table[:, [5, 6, 7, 0, 4, 3, 2]]
    np.savetxt(
        tmp_path / "x_Imu.txt", other, header="Gyro_X, Gyro_Y, Gyro_Z, Timestamp[s], acc_z, acc_y, acc_x", delimiter=","
    )
    places = np.column_stack([np.arange(12.0), 48.0 + np.arange(12) * 1e-5, np.full(12, 11.0), np.full(12, 500.0)])
    np.savetxt(tmp_path / "x_Gps.txt", places, header="Time Latitude Longitude Altitude", comments="")
    (recording,) = read_recordings(tmp_path, {})
    assert recording.imu.shape == (99, 7), "the line that is no number is left out"
    assert recording.imu[0].tolist() == [0.0, 0.0, 0.0, 9.81, 0.0, 0.0, 0.0]
    assert recording.fixes[-1, 2] == pytest.approx(11 * 1.112, abs=0.02) and abs(recording.fixes[-1, 1]) < 0.01


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t * [1e9, 1, 1, 1, 1, 1, 1, 1], "are the times in seconds"),
        (lambda t: t[:, [0, 1, 5, 6, 7, 2, 3, 4]], "not gravity's 9.8"),
        (lambda t: t / [1, 1, 9.81, 9.81, 9.81, 1, 1, 1], "not gravity's 9.8"),
        (lambda t: t[::-1], "times do not rise"),
        (lambda t: np.where(np.arange(len(t))[:, None] % 2, np.nan, t), "50 lines of finite numbers and 50 of others"),
        (lambda t: t[:, :7], "line 1: expected 8 numbers, found 7"),
        (lambda t: t[:3], "3 lines of finite numbers"),
    ],
)
def test_a_broken_recording_is_named_and_the_others_are_read(tmp_path, change, words):
    for name, table in (("a", change(inertial())), ("b", inertial())):
        np.savetxt(tmp_path / f"{name}_Imu.txt", table)
        np.savetxt(tmp_path / f"{name}_Gps.txt", fixes_of())
    left_out = {}
    assert [r.name for r in read_recordings(tmp_path, left_out)] == ["b_Imu"]
    assert words in left_out["a_Imu"]


def test_sweeps_without_leading_zeros_come_in_their_order(tmp_path):
    folder = sweeps(tmp_path / "velodyne", 11, 10)
    for path in sorted(folder.iterdir()):
        path.rename(folder / f"{int(path.stem)}.bin")
    np.arange(12, dtype="<f4").reshape(3, 4).tofile(folder / "10.bin")
    (sequence,) = find_sequences(tmp_path, {})
    assert len(sequence.load(10)) == 3 and len(sequence.load(2)) == 10


def test_a_missing_sweep_shifts_neither_poses_nor_times(tmp_path):
    folder = sweeps(tmp_path / "velodyne", 6)
    (folder / "000002.bin").unlink()
    (tmp_path / "poses.txt").write_text("# x ahead\n" + poses(6).replace(" ", ", "))
    (tmp_path / "times.txt").write_text("".join(f"{0.1 * k}\n" for k in range(6)))
    (sequence,) = find_sequences(tmp_path, {})
    assert sequence.references["poses.txt (lidar)"][:, 0, 3].tolist() == [0.0, 0.5, 1.5, 2.0, 2.5]
    assert sequence.stamps_ns[2] == 300_000_000


@pytest.mark.parametrize("columns", [3, 4, 5, 6])
def test_points_of_as_many_columns_as_there_are(tmp_path, columns):
    folder = tmp_path / "velodyne"
    folder.mkdir()
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(-20.0, 20.0, (300, 3)), rng.uniform(0.0, 1.0, (300, 3))]).astype("<f4")
    points[:, :columns].tofile(folder / "0.bin")
    (sequence,) = find_sequences(tmp_path, {})
    assert np.array_equal(np.stack([sequence.load(0)[name] for name in "xyz"], axis=1), points[:, :3])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("P0: 1 0 0 0 0 1 0 0 0 0 1 0\n", None),
        ("Tr:\t0 -1 0 0 0 0 -1 0 1 0 0\n", "calib.txt: 'Tr_velo_to_cam': cannot reshape"),
        ("Tr: " + "0 " * 12, "holds no rotation"),
        ("Tr: " + "nan " * 12, "holds no rotation"),
    ],
)
def test_calibration_files(tmp_path, text, words):
    """Without the lidar's place the poses can be the lidar's only."""
    sweeps(tmp_path / "a/velodyne")
    (tmp_path / "a/poses.txt").write_text(poses(4))
    (tmp_path / "a/calib.txt").write_text(text)
    sweeps(tmp_path / "b/velodyne")
    found, left_out = names(tmp_path)
    assert (
        ("a", 4, ["poses.txt (lidar)"]) in found if words is None else words in left_out[str(tmp_path / "a/velodyne")]
    )


def test_poses_of_a_camera_nobody_knows_are_not_taken_for_the_lidars():
    sideways = np.tile(np.eye(4), (30, 1, 1))
    sideways[:, 2, 3] = np.arange(30)
    with pytest.raises(ValueError, match="drives sideways"):
        upright({"poses.txt (lidar)": sideways})

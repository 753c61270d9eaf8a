"""Folders of sweeps as others have them, odd and broken ones among them: what is read, what is named and left out."""

import json

import numpy as np
import pytest

from robotaxi.bags.kitti_files import KittiError
from robotaxi.bags.sweep_folder import find_sequences, find_sweep_folders
from robotaxi.cli import main
from robotaxi.evaluation import gnss_imu, odometry_bench
from robotaxi.evaluation.odometry_bench import Contender, compare, verdict

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
    found = compare(len(sequence), sequence.load, sequence.stamps_ns, False, {}, False)
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


@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_fixes_that_do_not_fit_the_inertial_samples(tmp_path, shift):
    time = np.arange(100) * 0.1
    imu = np.column_stack([time, np.full(100, 0.1), np.zeros((100, 6))])
    fixes = np.column_stack([np.arange(12) + shift, np.zeros((12, 3))])
    np.savetxt(tmp_path / "x_Imu.txt", imu)
    np.savetxt(tmp_path / "x_Gps.txt", fixes)
    (recording,) = gnss_imu.read_recordings(tmp_path)
    with pytest.raises(
        gnss_imu.RecordingError, match="too short for a fix every 10" if shift == 0.0 else "0 fixes lie"
    ):
        gnss_imu.held_out(recording, 10.0)

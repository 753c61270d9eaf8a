"""Finding, cutting, plotting and filming what is in bags."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_helpers import cloud, every, make, odometry, record, write_bag

from robotaxi.bags.plot import plot, series
from robotaxi.bags.reader import bag_info
from robotaxi.bags.video import render
from robotaxi.bags.writer import BagError
from robotaxi.cli import main
from robotaxi.sensor_rig import load_rig
from robotaxi.types import OBJECT_DTYPE
from robotaxi.vehicle import load_vehicle

STATE, STATUS, OBJECTS, EXPLANATION = (
    "localization/kinematic_state", "vehicle/status", "perception/objects", "planning/explanation"
)  # fmt: skip
SPEED = 10.0


def status(stamp_ns, acceleration):
    message = make(
        "sensor_msgs/msg/JointState", header=odometry(stamp_ns).header, name=["steering", "drive"],
        position=np.zeros(2), velocity=np.array([0.0, SPEED]), effort=np.array([0.0, acceleration]),
    )  # fmt: skip
    return message


@pytest.fixture
def drive(tmp_path):
    """4 s at 10 m/s towards a standing car at x = 60; full braking from 3 s on."""
    rows = {STATE: [], STATUS: [], OBJECTS: [], EXPLANATION: []}
    for stamp in every(20, 4000):
        rows[STATE].append((stamp, odometry(stamp, x=SPEED * stamp / 1e9, speed=SPEED)))
        rows[STATUS].append((stamp, status(stamp, -5.0 if stamp >= 3_000_000_000 else 0.0)))
    for stamp in every(100, 4000):
        car = np.zeros(1, OBJECT_DTYPE)
        car["x"], car["length"], car["width"], car["height"] = 60.0, 4.4, 1.8, 1.5
        rows[OBJECTS].append((stamp, cloud(stamp, car)))
        rows[EXPLANATION].append((stamp, record(stamp, "Following the lane.", cause="NONE", distance=stamp / 1e9)))
    return write_bag(tmp_path / "drive/bag", rows)


@pytest.fixture
def mine():
    pytest.importorskip("duckdb", reason="the extra 'mine' is not installed")
    pytest.importorskip("pyarrow", reason="the extra 'mine' is not installed")
    from robotaxi.bags import mine

    return mine


def test_moments_are_where_they_happen(drive, tmp_path, mine):
    index = mine.build_index([drive], tmp_path / "index")
    (brake,) = mine.find(index, "hard_brake")
    assert (brake.start_s, brake.end_s) == (pytest.approx(3.0, abs=0.11), 3.9)
    (close,) = mine.find(index, "ttc < 3")
    assert close.start_s == pytest.approx((60.0 - 2.2 - 3.8) / SPEED - 3.0, abs=0.11)
    assert mine.find(index, "hard_brake and speed < 1") == []


def test_a_whole_index_is_used_again_and_a_broken_bag_named(drive, tmp_path, mine):
    (tmp_path / "broken").mkdir()
    first = mine.build_index([drive, tmp_path / "broken"], tmp_path / "index")
    assert first.fresh == 1 and "it is no bag" in first.failed[str(tmp_path / "broken")]
    again = mine.build_index([drive], tmp_path / "index")
    assert again.fresh == 0 and len(again.files) == 1


@pytest.mark.parametrize("condition", ["sped > 3", "1; DROP TABLE x", "speed >"])
def test_wrong_conditions_are_named_with_the_columns(condition, drive, tmp_path, mine):
    with pytest.raises(BagError, match=r"is no condition: .*Columns are: bag, t, x"):
        mine.find(mine.build_index([drive], tmp_path / "index"), condition)


def test_a_clip_is_a_bag_with_every_topic(drive, tmp_path, mine):
    clip = mine.cut(mine.Moment(str(drive), 2.0, 2.5), tmp_path / "clip", 0.5)
    info = bag_info(clip)
    assert (info.start_ns, info.end_ns - 1) == (1_500_000_000, 3_000_000_000)
    assert set(info.topics) == set(bag_info(drive).topics) and info.native


def test_the_command_finds_and_cuts(drive, tmp_path, mine, capsys):
    words = ["bag", "find", "hard_brake", str(drive), "--index", str(tmp_path / "i"), "--clips", str(tmp_path / "c")]
    assert main([*words, "--workers", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "bag find: 1 moments in 1 of 1 bags"
    assert len(list((tmp_path / "c").iterdir())) == 1
    assert main(["bag", "find", "speed > 99", str(drive), "--index", str(tmp_path / "i")]) == 1


def test_fields_of_messages_and_records_are_plotted(drive, tmp_path):
    names = [f"{STATE}:pose.pose.position.x", f"{EXPLANATION}:explanation.distance", f"/{OBJECTS}:[0].x"]
    found = series(drive, names)
    assert found[names[0]][1][-1] == pytest.approx(SPEED * 3.98)
    assert np.allclose(found[names[1]][0], found[names[1]][1])
    picture = cv2.imread(str(plot(drive, names, tmp_path / "plot.png")))
    assert picture is not None and picture.std() > 1.0
    with pytest.raises(BagError, match=r"no numeric field 'pose\.x'; known are: .*pose"):
        series(drive, [f"{STATE}:pose.x"])
    with pytest.raises(BagError, match="is no topic:field"):
        series(drive, ["nothing:x"])


def test_a_clip_is_filmed_without_a_display(drive, tmp_path, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    out = tmp_path / "clip.mp4"
    frames = render(drive, out, load_rig("robotaxi"), load_vehicle("robotaxi"), 1.0, 2.0)
    video = cv2.VideoCapture(str(out))
    assert frames == int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 11
    good, picture = video.read()
    assert good and picture.std() > 5.0
    with pytest.raises(BagError, match="exists already"):
        render(drive, out, load_rig("robotaxi"), load_vehicle("robotaxi"))
    with pytest.raises(BagError, match="nothing to show between 50 and 60 s"):
        render(drive, tmp_path / "none.mp4", load_rig("robotaxi"), load_vehicle("robotaxi"), 50.0, 60.0)
    assert not (tmp_path / "none.mp4").exists()


def test_info_repair_and_compare_speak_on_the_command_line(drive, tmp_path, capsys):
    assert main(["bag", "info", str(drive)]) == 0
    assert main(["bag", "compare", str(drive), str(drive)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("topics: the same")
    (drive / "metadata.yaml").unlink()
    assert main(["bag", "info", str(drive)]) == 2
    assert "robotaxi bag repair" in capsys.readouterr().err
    assert main(["bag", "repair", str(drive), "-o", str(tmp_path / "saved")]) == 0
    assert main(["bag", "info", str(tmp_path / "saved")]) == 0


def test_what_cannot_be_replayed_is_said_before_anything_starts(drive, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words, message in [
        ([str(tmp_path / "none")], "does not exist"),
        ([str(drive), "--nodes", "perception"], "lidar_perception is left out: nothing gives it sensing/lidar"),
        ([str(drive), "--nodes", "telepathy"], "no node 'telepathy' to replay; known are: all, "),
        ([str(drive), "--compare", "x", "--tolerance", "none.yaml"], "none.yaml: no tolerances"),
        ([str(drive), "--update"], "--update needs --compare REF"),
    ]:
        assert main(["replay", *words]) == 2
        assert message in capsys.readouterr().err
    assert not list(Path("runs").glob("*/log"))

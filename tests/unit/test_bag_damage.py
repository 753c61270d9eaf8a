"""Bags that are damaged, empty, or full of nonsense: every command answers with a sentence, never with a traceback."""

import numpy as np
import pytest
from bag_helpers import ODOMETRY, RECORD, TYPES, cloud, every, odometry, record, write_bag

from robotaxi.bags.adapt import Adaptation, adapt
from robotaxi.bags.mine import rows_of
from robotaxi.bags.writer import BagError, BagFormat, BagWriter
from robotaxi.cli import main
from robotaxi.stack import StackError, plan_bag

STATE = "localization/kinematic_state"
STORAGES = ("mcap", "sqlite3")


def drive(folder, storage="mcap", until_ms=300):
    states = [(t, odometry(t, x=t / 1e9, speed=5.0)) for t in every(20, until_ms)]
    told = [(t, record(t, "clear", cause="NONE")) for t in every(100, until_ms)]
    return write_bag(folder, {STATE: states, "planning/explanation": told}, BagFormat(storage))


def stored(bag):
    return next(p for p in bag.iterdir() if p.suffix in (".mcap", ".db3"))


def raw(folder, topic, kind, contents, native=True):
    """A bag whose messages are these bytes."""
    writer = BagWriter(folder, native=native, tf=False)
    writer.add_topic(topic, kind)
    for number, data in enumerate(contents):
        writer.write(topic, data, number * 20_000_000)
    writer.close()
    return folder


def flipped(content, seed):
    out = bytearray(content)
    for at in np.random.default_rng(seed).integers(0, len(out), 12):
        out[at] ^= 0x5A
    return bytes(out)


DAMAGES = {
    **{f"bits {seed}": lambda content, seed=seed: flipped(content, seed) for seed in range(3)},
    **{f"cut {share}": lambda content, share=share: content[: int(len(content) * share)] for share in (0.0, 0.5, 0.97)},
    "noise": lambda content: np.random.default_rng(0).bytes(3000),
}


def answers(capsys, *words):
    """The exit status; a 2 has its reason on stderr."""
    status = main([str(word) for word in words])
    said = capsys.readouterr()
    assert status in (0, 1, 2) and "Traceback" not in said.err
    assert status != 2 or said.err.startswith(f"robotaxi bag {words[1]}: ")
    return status


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("storage", STORAGES)
def test_damaged_files(tmp_path, storage, damage, capsys):
    bag, whole = drive(tmp_path / "bag", storage), drive(tmp_path / "whole")
    file = stored(bag)
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    for words in (("info", bag), ("inspect", bag), ("compare", whole, bag), ("repair", bag, "-o", tmp_path / "saved")):
        answers(capsys, "bag", *words)
    try:
        plan_bag(str(bag))
    except StackError as error:
        assert str(bag) in str(error)


@pytest.mark.parametrize("text", ["", "- 1", "a: [1", "\x00\x01", "rosbag2_bagfile_information: {version: 99}"])
def test_damaged_metadata(tmp_path, text, capsys):
    bag = drive(tmp_path / "bag")
    (bag / "metadata.yaml").write_text(text)
    assert answers(capsys, "bag", "info", bag) == 2 and answers(capsys, "bag", "inspect", bag) == 2
    assert answers(capsys, "bag", "repair", bag, "-o", tmp_path / "saved") == 0


@pytest.mark.parametrize("content", [b"\0\1\0\0", np.random.default_rng(3).bytes(60)], ids=["short", "noise"])
def test_messages_that_are_none(tmp_path, content, capsys):
    own = raw(tmp_path / "own", "/" + STATE, ODOMETRY, [content] * 5)
    with pytest.raises(BagError, match=r"is damaged: .*`robotaxi bag repair"):
        rows_of(own)
    assert answers(capsys, "bag", "compare", own, own) in (0, 1, 2)
    lidar = raw(tmp_path / "lidar", "/lidar", "sensor_msgs/msg/PointCloud2", [content] * 5, native=False)
    answers(capsys, "bag", "inspect", lidar)
    answers(capsys, "bag", "adapt", lidar, "-o", tmp_path / "adapted")


def test_what_a_bag_is_adapted_to_in_vain_leaves_nothing(tmp_path):
    bag = raw(tmp_path / "bag", "/odom", ODOMETRY, [b"\0\1\0\0"] * 5, native=False)
    with pytest.raises(BagError):
        adapt(bag, tmp_path / "adapted", Adaptation("x", odometry="/odom"))
    assert not (tmp_path / "adapted").exists()


def test_topics_of_the_same_name_and_another_type_are_not_read(tmp_path):
    told = raw(tmp_path / "told", "/" + STATE, RECORD, [bytes(TYPES.serialize_cdr(record(0, "x"), RECORD))])
    assert len(rows_of(told)["t"]) == 0
    places = np.zeros(2, [("x", "<f4"), ("y", "<f4")])
    rows = {STATE: [(0, odometry(0))], "perception/objects": [(0, cloud(0, places))]}
    assert rows_of(write_bag(tmp_path / "flat", rows))["objects"].tolist() == [0]


def test_a_clock_that_is_set_back_goes_on_in_the_index(tmp_path):
    state = [bytes(TYPES.serialize_cdr(odometry(s), ODOMETRY)) for s in (5_000_000_000, 5_100_000_000, 0, 100_000_000)]
    assert rows_of(raw(tmp_path / "bag", "/" + STATE, ODOMETRY, state))["t"].tolist() == [5.0, 5.1, 0.0, 0.1]


def test_a_stamp_before_zero_does_not_end_a_recording(tmp_path):
    writer = BagWriter(tmp_path / "bag", tf=False)
    writer.add_topic("/" + STATE, ODOMETRY)
    writer.write("/" + STATE, bytes(TYPES.serialize_cdr(odometry(-3_000_000_000), ODOMETRY)))
    writer.close()
    assert writer.count == 1

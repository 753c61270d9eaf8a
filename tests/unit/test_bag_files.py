"""Bags on disk: formats, splitting, what survives a kill, repair, and bags that cannot be read."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import yaml
from bag_helpers import RECORD, every, record, write_bag
from rosbags.rosbag2 import Reader

from robotaxi.bags.reader import bag_info, custom_data, open_bag, stamps_by_topic
from robotaxi.bags.repair import repair
from robotaxi.bags.writer import BagError, BagFormat, BagWriter

TOPIC = "planning/explanation"
FORMS = [BagFormat(storage, version) for storage in ("mcap", "sqlite3") for version in (8, 9)]


def explanations(until_ms=1000):
    return {TOPIC: [(t, record(t, "clear", number=t)) for t in every(100, until_ms)]}


def stamps_of(bag):
    with open_bag(bag) as reader:
        return [stamp for _, stamp, _ in reader.messages()]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_format_reads_back_with_its_origin(tmp_path, form):
    bag = write_bag(tmp_path / "bag", explanations(), form, {"seed": "7"})
    assert stamps_of(bag) == every(100, 1000)
    info = bag_info(bag)
    assert info.native and info.custom["seed"] == "7"
    assert info.topics == {"/" + TOPIC: (RECORD, 10)}
    body = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert (body["version"], body["storage_identifier"]) == (form.version, form.storage)
    qos = body["topics_with_message_count"][0]["topic_metadata"]["offered_qos_profiles"]
    assert isinstance(qos, str if form.version == 8 else list)
    assert stamps_by_topic(bag)["/" + TOPIC].tolist() == every(100, 1000)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_split_bag_is_one_bag(tmp_path, storage):
    bag = write_bag(tmp_path / "bag", explanations(3000), BagFormat(storage, split_s=1.0))
    assert len([p for p in bag.iterdir() if p.suffix in (".mcap", ".db3")]) == 3
    assert stamps_of(bag) == every(100, 3000)
    assert stamps_by_topic(bag)["/" + TOPIC].tolist() == every(100, 3000)


def test_nothing_is_overwritten(tmp_path):
    bag = write_bag(tmp_path / "bag", explanations())
    with pytest.raises(BagError, match="exists already; nothing is overwritten"):
        BagWriter(bag)
    assert stamps_of(bag) == every(100, 1000)


def test_unknown_type_is_named(tmp_path):
    with pytest.raises(BagError, match=r"topic '/x': message type 'my_msgs/msg/X' is not known"):
        BagWriter(tmp_path / "bag").add_topic("/x", "my_msgs/msg/X")


WRITES_AND_HANGS = """
import sys, signal
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import robotaxi.bags.storage
robotaxi.bags.storage._FLUSH_PERIOD_S = 0.0
from bag_helpers import TYPES, record
from robotaxi.bags.writer import BagFormat, BagWriter
writer = BagWriter(Path(sys.argv[1]), BagFormat(sys.argv[2]), {"seed": "7"})
writer.add_topic("/planning/explanation", "diagnostic_msgs/msg/DiagnosticArray")
for number in range(50):
    writer.write_message("/planning/explanation", record(number, "clear"), number)
print("written", flush=True)
signal.pause()
"""


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_what_was_written_before_a_kill_is_saved(tmp_path, storage):
    bag = tmp_path / "bag"
    command = [sys.executable, "-c", WRITES_AND_HANGS, str(bag), storage, os.path.dirname(__file__)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    with pytest.raises(BagError, match="recording was cut short; `robotaxi bag repair"):
        bag_info(bag)
    result = repair(bag, tmp_path / "saved")
    assert result.messages >= 49
    assert bag_info(tmp_path / "saved").custom["seed"] == "7"
    assert stamps_of(tmp_path / "saved") == list(range(result.messages))


def test_a_damaged_chunk_is_left_out_and_the_rest_saved(tmp_path, monkeypatch):
    monkeypatch.setattr("robotaxi.bags.storage._FLUSH_PERIOD_S", 0.0)
    bag = write_bag(tmp_path / "bag", explanations())
    (file,) = bag.glob("*.mcap")
    content = bytearray(file.read_bytes())
    at = len(content) // 3
    content[at : at + 40] = b"\xff" * 40
    file.write_bytes(content)
    result = repair(bag, tmp_path / "saved")
    assert 5 <= result.messages < 10
    assert result.lost and file.name in result.lost[0]


@pytest.mark.parametrize("size", [0, 60, 5000])
def test_what_looks_like_nothing_is_searched_once(tmp_path, size):
    """5000 bytes of noise once kept the repair busy for ever."""
    (tmp_path / "noise.mcap").write_bytes(np.random.default_rng(1).bytes(size))
    result = repair(tmp_path / "noise.mcap", tmp_path / "saved")
    assert result.messages == 0 and "does not begin as an mcap file" in result.lost[0]


@pytest.mark.parametrize("keep", [0, 5, 30, 400])
def test_truncated_bags_say_what_helps(tmp_path, keep):
    bag = write_bag(tmp_path / "bag", explanations())
    (file,) = bag.glob("*.mcap")
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(BagError, match=r"cannot be read: .*`robotaxi bag repair"):
        bag_info(bag)
    repair(bag, tmp_path / "saved")  # saves what there is, also nothing


def test_what_is_no_bag_is_said(tmp_path):
    with pytest.raises(BagError, match="does not exist"):
        bag_info(tmp_path / "none")
    with pytest.raises(BagError, match="it is no bag"):
        bag_info(tmp_path)
    with pytest.raises(BagError, match=r"holds no \.mcap or \.db3 file to repair"):
        repair(tmp_path, tmp_path / "out")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/metadata.yaml").write_text("rosbag2_bagfile_information: [")
    with pytest.raises(BagError, match="cannot be read"):
        bag_info(tmp_path / "broken")


def test_an_empty_bag_is_a_bag(tmp_path):
    writer = BagWriter(tmp_path / "bag")
    writer.close()
    assert bag_info(tmp_path / "bag").messages == 0
    with Reader(tmp_path / "bag") as reader:
        assert list(reader.messages()) == []


def test_a_full_disk_keeps_what_was_written(tmp_path, monkeypatch):
    bag = BagWriter(tmp_path / "bag")
    bag.add_topic("/" + TOPIC, RECORD)
    bag.write_message("/" + TOPIC, record(0, "clear"), 0)
    storage = bag._files[-1].storage
    storage.close_chunk()
    storage.bio.flush()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "close", full)
    with pytest.raises(OSError, match="No space left"):
        bag.close()
    assert repair(tmp_path / "bag", tmp_path / "saved").messages == 1


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_file_without_its_folder_is_still_ours(tmp_path, form):
    bag = write_bag(tmp_path / "bag", explanations(), form, {"seed": "7", "map": "town"})
    file = next(p for p in bag.iterdir() if p.suffix in (".mcap", ".db3"))
    file = file.rename(tmp_path / f"alone{file.suffix}")
    info = bag_info(file)
    assert info.native and (info.custom["seed"], info.custom["map"]) == ("7", "town")
    assert stamps_by_topic(file)["/" + TOPIC].tolist() == every(100, 1000)


def test_a_damaged_file_says_nothing_of_its_origin(tmp_path):
    bag = write_bag(tmp_path / "bag", explanations(), custom={"seed": "7"})
    whole = (bag / "bag_0.mcap").read_bytes()
    random = np.random.default_rng(0)
    for number in range(60):
        body = bytearray(whole[: len(whole) if number % 2 else int(random.integers(0, len(whole)))])
        for at in random.integers(0, max(len(body), 1), 8 if body else 0):
            body[at] ^= 0x5A
        damaged = tmp_path / "damaged.mcap"
        damaged.write_bytes(body)
        assert len(custom_data(damaged)) in (0, 2)

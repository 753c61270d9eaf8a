"""Reading messages by the file's index: what rosbags reads, and only the chunks that are needed."""

import pytest
from bag_helpers import RECORD
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.rosbag2 import Reader

from robotaxi.bags.messages import messages
from robotaxi.bags.reader import open_bag
from robotaxi.bags.writer import BagError, BagFormat, BagWriter

BIG, SMALL = b"\0" * 40_000, b"\0" * 40
TOPICS = ("/sensing/lidar/top/pointcloud", "/planning/explanation", "/system/mode")


def write(path, rows, form=None):
    """``rows``: (topic number, stamp, is it big)."""
    writer = BagWriter(path, form, tf=False)
    writer.add_topic(TOPICS[0], "sensor_msgs/msg/PointCloud2")
    for topic in TOPICS[1:]:
        writer.add_topic(topic, RECORD)
    for number, (topic, stamp, big) in enumerate(rows):
        writer.write(TOPICS[topic], number.to_bytes(8, "little") + (BIG if big else SMALL), stamp)
    writer.close()
    return path


def read(path, how, chosen=None, span=(None, None)):
    with Reader(path) as reader:
        ends = [c for c in reader.connections if chosen is None or c.topic in chosen]
        rows = messages(reader, ends, *span) if how == "ours" else reader.messages(ends, *span)
        return [(connection.topic, stamp, bytes(raw)) for connection, stamp, raw in rows]


ROWS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 50), st.booleans()), min_size=1, max_size=120)


@settings(max_examples=25, deadline=None)
@given(ROWS, st.integers(0, 20), st.integers(20, 60), st.sampled_from([("mcap", 0.0), ("mcap", 0.1), ("sqlite3", 0.0)]))
def test_the_same_messages_in_the_same_order_as_rosbags(tmp_path_factory, rows, start, stop, form):
    bag = write(tmp_path_factory.mktemp("bag") / "bag", rows, BagFormat(form[0], split_mb=form[1]))
    assert read(bag, "ours") == read(bag, "rosbags")
    assert read(bag, "ours", TOPICS[:2], (start, stop)) == read(bag, "rosbags", TOPICS[:2], (start, stop))
    file = next(iter(sorted(p for p in bag.iterdir() if p.suffix in (".mcap", ".db3"))))
    assert read(file, "ours") == read(file, "rosbags")


def test_small_messages_are_read_without_the_big_ones(tmp_path):
    bag = write(tmp_path / "bag", [(n % 3, n, n % 3 == 0) for n in range(300)])
    with Reader(bag) as reader:
        numbers = {c.topic: c.id for c in reader.connections}
        chunks = [set(chunk.channel_count) for chunk in reader.storage.storages[0].chunks]
    assert len(chunks) > 3
    assert {numbers[TOPICS[0]]} in chunks and {numbers[topic] for topic in TOPICS[1:]} in chunks
    assert all(len(found & {numbers[TOPICS[0]]}) * len(found - {numbers[TOPICS[0]]}) == 0 for found in chunks)


def test_a_reader_that_stops_early_leaves_nothing_behind(tmp_path):
    bag = write(tmp_path / "bag", [(0, n, True) for n in range(200)])
    with open_bag(bag) as reader:
        rows = messages(reader)
        assert next(rows)[1] == 0
        rows.close()
    assert len(read(bag, "ours")) == 200


@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
def test_a_damaged_chunk_or_index_is_named(tmp_path, place):
    bag = write(tmp_path / "bag", [(n % 3, n, n % 3 == 0) for n in range(300)])
    with Reader(bag) as reader:
        chunk = reader.storage.storages[0].chunks[2]
    file = bag / "bag_0.mcap"
    body = bytearray(file.read_bytes())
    at = chunk.chunk_start_offset + int(place * (chunk.chunk_length + chunk.message_index_length))
    for offset in (at, chunk.message_index_offsets[min(chunk.message_index_offsets)]):
        body[offset : offset + 64] = bytes([0xA5]) * 64
    file.write_bytes(body)
    with pytest.raises(BagError, match="bag repair"), open_bag(bag) as reader:
        for _ in messages(reader):
            pass

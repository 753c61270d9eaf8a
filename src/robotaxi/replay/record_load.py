"""The recorder under full sensor load: its processor time and memory, and whether a message is lost.

`measure` starts `robotaxi record` and, as a second process, ``python -m robotaxi.replay.record_load``, which publishes
the bag's messages over the middleware at the times they were recorded at, over and over, each with a stamp of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from robotaxi.bags.profiles import PROFILES
from robotaxi.bags.reader import bag_info, open_bag, ordered, table_topic
from robotaxi.bags.writer import BagError, with_stamp
from robotaxi.environment import remove_dead_shared_memory, reserve_domain, stack_environment
from robotaxi.interfaces import INTERFACES
from robotaxi.supervisor import die_with

_GRID_NS = 1_000_000_000  # a repetition begins on a whole second: stamps keep their schedule
_START_S, _END_S = 120.0, 120.0
_WORD_EVERY_S = 2.0
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def measure(bag: Path, seconds: float, show: Callable[[float], None]) -> dict[str, Any]:
    """Figures of the recorder. ``show`` gets the seconds published so far.

    ``core_share``: of one core. ``memory_mb``: the most it ever held, shared memory of the middleware included.
    ``lost``: messages that were sent and are not in the new bag. ``late_s``: how far the sender fell behind; when that
    is much, the machine was too busy for the full load. BagError when nothing could be measured.
    """
    reservation = reserve_domain()
    environment = {**os.environ, **stack_environment(reservation.domain_id)}
    children: list[subprocess.Popen[str]] = []
    parent = os.getpid()
    try:
        with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "errors", "w+", encoding="utf-8") as errors:
            out = Path(folder) / "bag"

            def start(*words: str, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
                # a session of their own: Ctrl-C ends them in our order
                children.append(subprocess.Popen(
                    [sys.executable, "-m", *words], env=environment, stdout=stdout, stderr=errors, text=True,
                    start_new_session=True, preexec_fn=lambda: die_with(parent),
                ))  # fmt: skip
                return children[-1]

            recorder = start("robotaxi", "record", "-o", str(out), "--profile", "all")
            sender = start("robotaxi.replay.record_load", str(bag), str(seconds), stdout=subprocess.PIPE)
            assert sender.stdout is not None
            used, memory, words = _listen(sender.stdout, recorder.pid, show)
            if words is None:
                errors.seek(0)
                raise BagError(f"the load could not be played: {errors.read().strip()[-300:] or 'it ended early'}")
            recorder.send_signal(signal.SIGINT)
            recorder.wait(_END_S)
            recorded = {topic: count for topic, (_, count) in bag_info(out).topics.items()}
            size_mb = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()
        reservation.release()
        remove_dead_shared_memory()
    sent: dict[str, int] = words["sent"]
    lacking = {topic: count - recorded.get(topic, 0) for topic, count in sent.items() if recorded.get(topic, 0) < count}
    return {
        "seconds": words["seconds"], "messages": sum(sent.values()), "megabytes": words["megabytes"],
        "written_mb": round(size_mb, 1), "core_share": round(used / max(words["wall_s"], 1e-9), 4),
        "memory_mb": round(memory, 1), "lost": sum(lacking.values()), "lost_of": lacking, "late_s": words["late_s"],
    }  # fmt: skip


def _listen(stream: IO[str], pid: int, show: Callable[[float], None]) -> tuple[float, float, dict[str, Any] | None]:
    """(processor time of the recorder from the first message to the last, its memory peak in MB, the last words)."""
    begun = used = memory = 0.0
    for line in stream:
        words = json.loads(line)
        used, memory = _cpu_s(pid), max(memory, _peak_mb(pid))
        if words["seconds"] == 0.0:
            begun = used
        show(words["seconds"])
        if "sent" in words:
            return used - begun, memory, words
    return 0.0, 0.0, None


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS


def _peak_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024.0 for line in lines if line.startswith("VmHWM:")), 0.0)


# ---------------------------------------------------------------------------- the sender's process


def _send(bag: Path, seconds: float) -> int:
    import rclpy
    from rclpy.duration import Duration

    from robotaxi.nodes.messages import message_type
    from robotaxi.nodes.qos import qos_profile

    rclpy.init()
    node = rclpy.create_node("record_load")
    try:
        with open_bag(bag) as reader:
            chosen = [c for c in reader.connections if c.msgcount and table_topic(c.topic) in PROFILES["all"]]
            if not chosen:
                raise BagError(f"bag {bag} holds no message of this stack's topics")
            ends = {}
            for topic in sorted({c.topic for c in chosen}):
                item = INTERFACES[table_topic(topic)]
                profile = qos_profile(item.qos, lockstep=True, publisher=True)
                ends[topic] = node.create_publisher(message_type(item.type), item.topic, profile)
            _await(lambda: all(end.get_subscription_count() for end in ends.values()), "the recorder does not listen")
            sent: Counter[str] = Counter()
            size, late, at_s, offset = 0, 0.0, 0.0, 0
            first = last = -1
            begun = time.monotonic()
            _say(0.0)
            word = begun + _WORD_EVERY_S
            while at_s < seconds:
                for stamp, topic, cdr in ordered(reader, chosen):
                    first = stamp if first < 0 else first
                    last = max(last, stamp)
                    at_s = (stamp - first + offset) / 1e9
                    if at_s >= seconds:
                        break
                    ahead = begun + at_s - time.monotonic()
                    if ahead > 0.0:
                        time.sleep(ahead)  # the pace of the recorded sensors is what is asked for
                    late = max(late, -ahead)
                    ends[topic].publish(with_stamp(cdr, stamp + offset) if offset else cdr)
                    sent["/" + table_topic(topic)] += 1
                    size += len(cdr)
                    if time.monotonic() > word:
                        word = time.monotonic() + _WORD_EVERY_S
                        _say(at_s)
                offset += ((last - first) // _GRID_NS + 1) * _GRID_NS
        for end in ends.values():
            end.wait_for_all_acked(Duration(seconds=30.0))
        _say(round(min(at_s, seconds), 3), sent=dict(sent), megabytes=round(size / 1e6, 1), late_s=round(late, 2),
             wall_s=round(time.monotonic() - begun, 3))  # fmt: skip
    except BagError as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _await(holds: Callable[[], bool], otherwise: str) -> None:
    """Discovery has no event to wait for: rclpy only counts."""
    end = time.monotonic() + _START_S
    while not holds():
        if time.monotonic() > end:
            raise BagError(otherwise)
        time.sleep(0.05)


def _say(seconds: float, **more: Any) -> None:
    print(json.dumps({"seconds": seconds, **more}), flush=True)


if __name__ == "__main__":
    sys.exit(_send(Path(sys.argv[1]), float(sys.argv[2])))

"""A process that gets no processor for seconds while a stack starts is found by the others when it goes on.

The middleware's lease decides (config/dds/fastdds.xml): with one of 5 s this fails in one of five runs.
"""

import signal
import subprocess
import sys
import time
from pathlib import Path

_PEERS, _STARVED_S, _PATIENCE_S = 8, 7.0, 30.0
_PEER = """
import sys, time, rclpy
from rclpy.node import Node
from std_msgs.msg import String
me, peers = int(sys.argv[1]), int(sys.argv[2])
others = [number for number in range(peers) if number != me]
rclpy.init()
node = Node(f"peer_{me}")
mine = [node.create_publisher(String, f"peer_{me}/end_{end}", 10) for end in range(30)]
for other in others:
    for end in range(30):
        node.create_subscription(String, f"peer_{other}/end_{end}", lambda _: None, 10)
while not any(publisher.get_subscription_count() for publisher in mine):
    time.sleep(0.01)
print("met")
while not (
    all(node.count_publishers(f"peer_{other}/end_{end}") for other in others for end in range(30))
    and all(publisher.get_subscription_count() == len(others) for publisher in mine)
):
    time.sleep(0.05)
print("connected")
time.sleep(600.0)
"""


def test_who_stood_still_while_the_others_started_is_heard(domain, tmp_path):
    said = [tmp_path / f"{number}" for number in range(_PEERS)]
    peers = [
        subprocess.Popen([sys.executable, "-u", "-c", _PEER, str(number), str(_PEERS)], stdout=path.open("w"))
        for number, path in enumerate(said)
    ]

    def wait_for(word: str, paths: list[Path], deadline: float) -> None:
        while not all(word in path.read_text() for path in paths):
            assert time.monotonic() < deadline, [path.read_text() for path in paths]
            time.sleep(0.02)

    try:
        wait_for("met", said[:1], time.monotonic() + _PATIENCE_S)
        peers[0].send_signal(signal.SIGSTOP)
        time.sleep(_STARVED_S)  # this is the starving
        peers[0].send_signal(signal.SIGCONT)
        wait_for("connected", said, time.monotonic() + _PATIENCE_S)
    finally:
        for peer in peers:
            peer.kill()
            peer.wait()

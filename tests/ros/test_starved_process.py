"""A process that gets no processor for seconds while a stack starts is found by the others when it goes on.

The middleware's lease decides (config/dds/fastdds.xml): with one of 5 s this fails in one of five runs.
"""

import selectors
import signal
import subprocess
import sys
import time

import pytest

_PEERS, _STARVED_S, _PATIENCE_S = 8, 7.0, 30.0
_PEER = """
import sys, rclpy
from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.node import Node
from std_msgs.msg import String
me, peers, ends = int(sys.argv[1]), int(sys.argv[2]), 30
others = [number for number in range(peers) if number != me]
heard, hearing = {}, {}
rclpy.init()
node = Node(f"peer_{me}")
for end in range(ends):
    on_match = PublisherEventCallbacks(matched=lambda event, end=end: heard.update({end: event.current_count}))
    node.create_publisher(String, f"peer_{me}/end_{end}", 10, event_callbacks=on_match)
    for other in others:
        key = other, end
        on_match = SubscriptionEventCallbacks(matched=lambda event, key=key: hearing.update({key: event.current_count}))
        node.create_subscription(String, f"peer_{other}/end_{end}", lambda _: None, 10, event_callbacks=on_match)
while not any(heard.values()):
    rclpy.spin_once(node)
print("met", flush=True)
while sum(heard.values()) < ends * len(others) or sum(hearing.values()) < ends * len(others):
    rclpy.spin_once(node)
print("connected", flush=True)
sys.stdin.read()
"""


def _wait_for(word: str, peers: list[subprocess.Popen], patience_s: float) -> None:
    """Until each of ``peers`` has said the word as its next one."""
    deadline = time.monotonic() + patience_s
    with selectors.DefaultSelector() as selector:
        for peer in peers:
            selector.register(peer.stdout, selectors.EVENT_READ)
        while silent := selector.get_map():
            ready = selector.select(deadline - time.monotonic())
            assert ready, f"{len(silent)} of {len(peers)} never said '{word}'"
            for key, _ in ready:
                assert key.fileobj.readline().strip() == word.encode()
                selector.unregister(key.fileobj)


def test_who_stood_still_while_the_others_started_is_heard(domain):
    peers = [
        subprocess.Popen(
            [sys.executable, "-c", _PEER, str(number), str(_PEERS)],
            bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for number in range(_PEERS)
    ]  # fmt: skip
    try:
        _wait_for("met", peers[:1], _PATIENCE_S)
        peers[0].send_signal(signal.SIGSTOP)
        with pytest.raises(subprocess.TimeoutExpired):  # this is the starving: it stands still for so long
            peers[0].wait(_STARVED_S)
        peers[0].send_signal(signal.SIGCONT)
        _wait_for("met", peers[1:], _PATIENCE_S)
        _wait_for("connected", peers, _PATIENCE_S)
    finally:
        for peer in peers:
            peer.kill()
            peer.wait()
            peer.stdin.close()
            peer.stdout.close()

"""`robotaxi dispatch conformance` against our broker and desk, against mosquitto where it is installed, and against
those who do not keep to the protocol."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from robotaxi.dispatch import commands
from robotaxi.dispatch.conformance_dispatcher import DispatcherConformance
from robotaxi.dispatch.pki import make_test_pki
from robotaxi.dispatch.process import start_broker, start_desk

CARS = ["conformance1", "conformance2"]
CONFIG = Path(__file__).parents[2] / "config" / "mosquitto"


def check(broker: str, pki: Path, out: Path, *more: str) -> dict[str, bool]:
    commands.main(["conformance", "--broker", broker, "--pki", str(pki), "--json", str(out), *more])
    return {item["check"]: item["holds"] for item in json.loads(out.read_text())["checks"]}


def test_our_broker_and_desk_keep_to_the_protocol(tmp_path: Path) -> None:
    pki = make_test_pki(tmp_path / "pki", "demo", CARS)
    broker = start_broker(pki.folder, tmp_path / "broker.log")
    desk = start_desk(pki.folder, broker.ready["port"], tmp_path / "book.sqlite", tmp_path / "desk.log")
    order = f"{sys.executable} -m robotaxi.dispatch order --desk {desk.ready['url']} --vehicle conformance1"
    order += " --pickup 48.138,11.576 --dropoff 48.14,11.58"
    try:
        address = f"mqtts://localhost:{broker.ready['port']}"
        held = check(address, pki.folder, tmp_path / "c.json", "--dispatcher", "--order", order)
        assert len(held) == 25 and all(held.values()), held
        vehicle = DispatcherConformance(pki, "localhost", int(broker.ready["port"]))
        with pytest.raises(ValueError, match="the order command failed with status 1"):
            vehicle._offered("false")
    finally:
        desk.stop()
        broker.stop()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[int]:
    program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("mosquitto is not installed: apt install mosquitto")
    pki = make_test_pki(tmp_path / "pki", "demo", CARS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = (CONFIG / "mosquitto.conf").read_text().replace("listener 8883", f"listener {port} localhost")
    (pki.folder / "mosquitto.conf").write_text(text + "user root\n")  # else, as root, it may not read the keys
    shutil.copy(CONFIG / "acl.conf", pki.folder / "acl.conf")
    running = subprocess.Popen(
        [program, "-v", "-c", "mosquitto.conf"], cwd=pki.folder, stderr=subprocess.PIPE, text=True
    )
    said = running.stderr
    assert said is not None and any(line.rstrip().endswith("running") for line in said), "mosquitto did not start"
    threading.Thread(target=said.read, daemon=True).start()  # it must never wait for who reads
    yield port
    running.terminate()
    running.wait()


def test_mosquitto_with_our_configuration_keeps_to_the_protocol(mosquitto: int, tmp_path: Path) -> None:
    held = check(f"localhost:{mosquitto}", tmp_path / "pki", tmp_path / "c.json")
    assert len(held) == 12 and all(held.values()), held

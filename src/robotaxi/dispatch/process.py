"""Start the broker and the desk as processes of their own, and know when they are ready.

A child prints one JSON line when it is ready and ends when its standard input ends, so it does not
outlive its parent, however that ends.
"""

from __future__ import annotations

import json
import os
import select
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StartError(RuntimeError):
    """A process ended or stayed silent instead of becoming ready; the message has its last words."""


class Child:
    """One running process. ``ready``: the JSON object of its ready line. ``url`` / ``port`` in it."""

    def __init__(self, process: subprocess.Popen[bytes], ready: dict[str, Any], log: Path) -> None:
        self.process = process
        self.ready = ready
        self.log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """End it, gently first. Returns its exit status. Idempotent."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        return int(self.process.returncode)


def start_broker(pki: Path, log: Path, *, port: int = 0, operator: str = "demo", vehicles: Sequence[str] = ()) -> Child:
    """The embedded broker; ``ready["port"]`` is where it listens. Makes the test PKI if it is missing."""
    arguments = ["broker", "--pki", str(pki), "--port", str(port), "--operator", operator]
    for vehicle in vehicles:
        arguments += ["--vehicle", vehicle]
    return start(arguments, log)


def start_desk(
    pki: Path,
    broker_port: int,
    book: Path,
    log: Path,
    *,
    port: int = 0,
    operator: str = "demo",
    places: Path | None = None,
    lane_map: str = "",
    accept_within: float | None = None,
) -> Child:
    """The desk; ``ready["url"]`` is its address."""
    arguments = ["desk", "--pki", str(pki), "--broker", f"localhost:{broker_port}", "--book", str(book)]
    arguments += ["--port", str(port), "--operator", operator]
    if lane_map:
        arguments += ["--map", lane_map]
    if accept_within is not None:
        arguments += ["--accept-within", str(accept_within)]
    if places is not None:
        arguments += ["--places", str(places)]
    return start(arguments, log)


def start(arguments: Sequence[str], log: Path, module: str = "robotaxi.dispatch") -> Child:
    """Run ``robotaxi dispatch ...`` (or another ``module``) and wait for its ready line.

    Its other output goes to ``log``. It gets a process group of its own: Ctrl-C at the terminal
    reaches the parent, which stops it.
    Raises StartError.
    """
    command = [sys.executable, "-m", module, *arguments, "--announce"]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
        )
    line = _first_line(process, READY_TIMEOUT_S)
    try:
        ready = json.loads(line)
    except ValueError:
        ready = None
    if not isinstance(ready, dict):
        Child(process, {}, log).stop()
        words = log.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise StartError(f"dispatch {arguments[0]} did not start: {words[0]}")
    return Child(process, ready, log)


def _first_line(process: subprocess.Popen[bytes], timeout_s: float) -> bytes:
    assert process.stdout is not None
    end, line = time.monotonic() + timeout_s, b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, end - time.monotonic())):
                return b""
            part = os.read(process.stdout.fileno(), 65536)
            if not part:
                return line
            line += part
    return line


def ignore_stops() -> None:
    """Nothing interrupts the clean-up from here on, nor the interpreter's end, which resets handlers of our own."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class StopRequest:
    """The child's side: SIGINT, SIGTERM or `ask` end `wait`; later ones change nothing.

    A pipe that the interpreter writes to as the signal arrives, because it may arrive in another
    thread, and while the handler of an earlier one runs. Made in the main thread.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            signal.signal(number, lambda *_: ignore_stops())

    def ask(self) -> None:
        os.write(self._write, b".")

    def wait(self) -> None:
        os.read(self._read, 1)
        ignore_stops()

    def wait_for(self, timeout_s: float) -> bool:
        """Whether it was asked for within ``timeout_s``."""
        return bool(select.select([self._read], [], [], timeout_s)[0])


def announce(ready: dict[str, Any]) -> None:
    """The child's side: say that it is ready."""
    print(json.dumps(ready), flush=True)


def when_parent_ends(then: Callable[[], None]) -> None:
    """The child's side: call ``then`` (from another thread) when standard input ends."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        then()

    threading.Thread(target=watch, name="parent", daemon=True).start()

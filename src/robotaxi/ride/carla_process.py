"""A CARLA server of ours as a process of its own, for as long as somebody needs it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from robotaxi.supervisor import die_with

_START_S = 300.0
_STOP_S = 5.0


class StartError(RuntimeError):
    """The server did not start; the message says why."""


@dataclass
class ServerProcess:
    """``cpu_s``: processor time that it has used, user and system; NaN once it has ended."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def cpu_s(self) -> float:
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except OSError:
            return float("nan")
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        """Resident memory now, 0 once it has ended."""
        try:
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1])
        except (OSError, IndexError):
            return 0.0
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def server_process(town: str, seed: int, log: Path, *, rendering: bool = True) -> Iterator[ServerProcess]:
    """A server of a town (name or .xodr) on a free port, ready to be called. Raises StartError."""
    server = start(town, seed, log, rendering=rendering)
    try:
        yield server
    finally:
        stop(server)


def start(town: str, seed: int, log: Path, *, rendering: bool = True) -> ServerProcess:
    """See `server_process`; it ends with this process, or when `stop` is called."""
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "robotaxi", "carla-server", "--map", town, "--seed", str(seed), "--port", "0"]
    parent = os.getpid()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command if rendering else [*command, "--no-rendering"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: die_with(parent),
        )
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        said = log.read_text(errors="replace")
        line = next((line for line in said.splitlines(keepends=True) if line.startswith("serving")), "")
        if line.endswith("\n"):
            return ServerProcess(process, int(line.split("127.0.0.1:")[1].split(":")[0]))
        if process.poll() is not None:
            words = said.strip().splitlines()[-1:] or ["it said nothing"]
            raise StartError(f"the CARLA server did not start: {words[0].removeprefix('robotaxi: ')}")
        time.sleep(0.1)
    stop(ServerProcess(process, 0))
    raise StartError(f"the CARLA server was not ready after {_START_S:.0f} s; log: {log}")


def stop(server: ServerProcess) -> None:
    server.process.terminate()
    try:
        server.process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()

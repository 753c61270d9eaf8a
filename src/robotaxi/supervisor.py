"""Starts a stack's processes, watches them, and ends them all, whatever happens to this process."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from robotaxi.environment import remove_dead_shared_memory, stack_environment
from robotaxi.stack import Executable, StackArguments, common_parameters, parameter_files

_PR_SET_PDEATHSIG = 1
_STOP_S = 5.0  # after SIGINT
_TERM_S = 2.0  # after SIGTERM
_POLL_S = 0.05
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Interrupt:
    """Ctrl-C and SIGTERM as a flag: the ride is ended in order, and nothing interrupts the clean-up."""

    def __init__(self) -> None:
        self.is_set = False
        self._previous: dict[int, Any] = {}
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """Readable once a signal has come."""
        return self._woken

    def __enter__(self) -> Interrupt:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        os.close(self._woken)
        os.close(self._waker)

    def _on_signal(self, number: int, frame: Any) -> None:
        if not self.is_set:
            self.is_set = True
            os.write(self._waker, b"!")


@dataclass
class Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path | None
    command: tuple[str, ...] = ()

    @property
    def exit_status(self) -> int | None:
        return self.process.poll()

    def last_words(self, lines: int = 3) -> str:
        """The end of its log, for messages to people."""
        if self.log is None or not self.log.exists():
            return ""
        kept = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return "\n".join(kept[-lines:])


def describe_exit(status: int) -> str:
    """'exit status 2' or 'killed by SIGKILL'."""
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


@dataclass
class Supervisor:
    """Child processes of one run. Use as a context manager: leaving it ends every child.

    ``log_folder``: where their output goes; None leaves it on this terminal.
    """

    domain_id: int
    log_folder: Path | None = None
    children: dict[str, Child] = field(default_factory=dict)

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop_all()

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None,
              stdout: Any = None, stdin: Any = None) -> Child:  # fmt: skip
        """Start one child in a session of its own (Ctrl-C reaches only us); it is told when we die."""
        log = None
        output: Any = None
        if self.log_folder is not None:
            self.log_folder.mkdir(parents=True, exist_ok=True)
            log = self.log_folder / f"{name}.log"
            output = open(log, "ab")  # noqa: SIM115 (handed to the child)
        parent = os.getpid()
        process = subprocess.Popen(
            list(command),
            env=dict(environment or stack_environment(self.domain_id)),
            stdin=stdin or subprocess.DEVNULL,
            stdout=stdout or output,
            stderr=output,
            start_new_session=True,
            preexec_fn=lambda: die_with(parent),
        )
        if output is not None:
            output.close()
        child = Child(name, process, log, tuple(command))
        self.children[name] = child
        return child

    def restart(self, name: str) -> Child:
        """Start a dead child once more, as it was started; a living one is killed first."""
        child = self.children[name]
        if child.exit_status is None:
            os.killpg(child.process.pid, signal.SIGKILL)
            child.process.wait(_TERM_S)
        remove_dead_shared_memory()
        return self.start(name, child.command)

    def start_stack(self, arguments: StackArguments, executables: Sequence[Executable], *, composed: bool = False,
                    extra: Mapping[str, Any] | None = None, own: Mapping[str, Mapping[str, Any]] | None = None,
                    parameter_folder: Path) -> None:  # fmt: skip
        """Start the stack as one process an executable, or all in one (``composed``).

        ``extra``: further parameters for every node; ``own``: for one executable by name.
        Each process gets the files and parameters that a launch file would give it, as ``--ros-args``.
        """
        common = {**common_parameters(arguments, executables), **(extra or {})}
        groups = [list(executables)] if composed else [[item] for item in executables]
        for group in groups:
            name = "stack" if composed else group[0].name
            parameters = dict(common)
            for item in group:
                parameters.update(item.parameters)
                parameters.update((own or {}).get(item.name, {}))
            file = parameter_folder / f"{name}.param.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(yaml.safe_dump({"/**": {"ros__parameters": parameters}}, sort_keys=True))
            command = [sys.executable, "-m", "robotaxi.nodes", *(item.name for item in group)]
            self.start(name, [*command, *ros_arguments(arguments, [*parameter_files(arguments), file])])

    def dead(self) -> list[Child]:
        """Children that have ended."""
        return [child for child in self.children.values() if child.exit_status is not None]

    def wait(self, timeout_s: float | None = None, *others: Any) -> list[Child]:
        """Sleep until a living child ends, one of ``others`` (with a fileno) is readable, or the time is over.

        Returns the children that have ended, as `dead`.
        """
        handles = []
        try:
            for child in self.children.values():
                if child.exit_status is None:
                    handles.append(os.pidfd_open(child.process.pid))
            select.select([*handles, *others], [], [], timeout_s)
        finally:
            for handle in handles:
                os.close(handle)
        return self.dead()

    def memory_mb(self, *more_pids: int) -> float:
        """Memory of the living children and of ``more_pids``; pages that they share count once (PSS).

        The kernel walks every page for it and stops the process meanwhile: ask seldom, see `resident_mb`.
        """
        return sum(_memory_mb(pid) for pid in (*self._living(), *more_pids))

    def resident_mb(self, *more_pids: int) -> float:
        """The same with shared pages counted for each; costs nothing."""
        return sum(_resident_mb(pid) for pid in (*self._living(), *more_pids))

    def _living(self) -> list[int]:
        return [child.process.pid for child in self.children.values() if child.exit_status is None]

    def stop(self, name: str) -> int | None:
        """End one child: SIGINT, then SIGTERM, then SIGKILL. Returns its exit status."""
        child = self.children.get(name)
        if child is None:
            return None
        _stop([child])
        return child.exit_status

    def stop_all(self) -> None:
        _stop(list(self.children.values()))
        remove_dead_shared_memory()


def ros_arguments(arguments: StackArguments, files: Sequence[Path]) -> list[str]:
    """The ``--ros-args`` of one process."""
    words = ["--ros-args", "--log-level", arguments.log_level]
    if arguments.namespace:
        words += ["-r", f"__ns:=/{arguments.namespace.strip('/')}"]
    for file in files:
        words += ["--params-file", str(file)]
    return words


def _memory_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has just ended
        return 0.0
    return next((int(line.split()[1]) / 1024.0 for line in lines if line.startswith("Pss:")), 0.0)


def _resident_mb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES / 2**20
    except OSError:  # it has just ended
        return 0.0


def die_with(parent: int) -> None:
    """In the child before exec: SIGTERM when the parent dies, also if it died just now."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


def _stop(children: Sequence[Child]) -> None:
    for number, patience_s in ((signal.SIGINT, _STOP_S), (signal.SIGTERM, _TERM_S), (signal.SIGKILL, _TERM_S)):
        alive = [child for child in children if child.exit_status is None]
        for child in alive:
            # a stopped process cannot act on anything but SIGKILL until it is continued
            for each in (number, signal.SIGCONT):
                try:
                    os.killpg(child.process.pid, each)
                except ProcessLookupError:
                    break
        deadline = time.monotonic() + patience_s
        for child in alive:
            try:
                child.process.wait(max(deadline - time.monotonic(), _POLL_S))
            except subprocess.TimeoutExpired:
                continue

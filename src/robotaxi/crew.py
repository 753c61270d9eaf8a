"""Jobs in processes of their own, each giving rows; whoever dies or hangs costs its own rows and no more."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from robotaxi.supervisor import die_with

Row = dict[str, Any]
J = TypeVar("J")
Work = Callable[[J, Callable[[Row], None]], None]
NOTE = "note"  # the key of what a job tells on its way: it is passed on, and is none of its rows
_LOOK_S = 1.0
_ENDS_S = 20.0  # that a process has to end after it was asked to


@dataclass
class _Worker(Generic[J]):
    process: Any
    jobs: deque[J]
    heard: float = field(default_factory=time.monotonic)
    rows: int = 0  # of the job at hand
    error: str = ""


def run_jobs(
    jobs: Sequence[J], work: Work[J], rows_of: Callable[[J], int], lost: Callable[[J, str], Row], *,
    workers: int = 1, chunk: int = 1, patience_s: float = 900.0,
) -> Generator[Row, None, None]:  # fmt: skip
    """Rows as they come, ``rows_of(job)`` a job in all: for those that a job does not give, ``lost(job, why)``.

    ``work(job, tell)`` runs in a spawned process, at most ``workers`` at a time, ``chunk`` jobs after each other.
    A process that says nothing for ``patience_s`` is killed. Leaving the iteration ends all processes.
    """
    waiting = deque(deque(jobs[i : i + chunk]) for i in range(0, len(jobs), chunk))
    active: dict[Connection, _Worker[J]] = {}
    try:
        while waiting or active:
            while waiting and len(active) < max(workers, 1):
                ours, worker = _start(work, waiting.popleft())
                active[ours] = worker
            for pipe in wait(list(active), timeout=_LOOK_S):
                assert isinstance(pipe, Connection)
                worker = active[pipe]
                worker.heard = time.monotonic()
                try:
                    message = pipe.recv()
                except (EOFError, OSError):
                    del active[pipe]
                    yield from _bury(worker, rows_of, lost, waiting)
                    continue
                if isinstance(message, dict):
                    worker.rows += NOTE not in message
                    yield message
                else:  # the job has ended, with "" or an error
                    job = worker.jobs.popleft()
                    missing, worker.rows = rows_of(job) - worker.rows, 0
                    yield from (lost(job, message or "gave no result") for _ in range(missing))
            for worker in active.values():
                if time.monotonic() - worker.heard > patience_s and not worker.error:
                    worker.error = f"hung: no word for {patience_s:.0f} s"
                    worker.process.kill()
    finally:
        for worker in active.values():
            worker.process.terminate()
        for worker in active.values():
            _end(worker.process)


def _start(work: Work[J], jobs: deque[J]) -> tuple[Connection, _Worker[J]]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(theirs, work, list(jobs), os.getpid()))
    process.start()
    theirs.close()
    return ours, _Worker(process, jobs)


def _serve(pipe: Connection, work: Work[J], jobs: list[J], parent: int) -> None:
    die_with(parent)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what it started ends with it
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        for job in jobs:
            error = ""
            try:
                work(job, pipe.send)
            except Exception:
                error = traceback.format_exc(limit=4)
            pipe.send(error)


def _bury(
    worker: _Worker[J], rows_of: Callable[[J], int], lost: Callable[[J, str], Row], waiting: deque[deque[J]]
) -> Iterator[Row]:
    """Of a process that has ended: rows of the job that it was at, and the jobs after that back to those waiting."""
    _end(worker.process)
    if not worker.jobs:
        return
    job = worker.jobs.popleft()
    why = worker.error or f"its process ended with status {worker.process.exitcode}"
    yield from (lost(job, why) for _ in range(rows_of(job) - worker.rows))
    if worker.jobs:
        waiting.appendleft(worker.jobs)


def _end(process: Any) -> None:
    process.join(_ENDS_S)
    if process.is_alive():
        process.kill()
        process.join()

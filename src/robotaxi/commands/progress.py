"""A progress bar on a terminal; on something else, a log file say, a line every ten seconds."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LINE_EVERY_S = 10.0


class _Lines:
    """Progress as lines on stderr. Called with (done, of)."""

    def __init__(self, title: str, total: float) -> None:
        self._title, self._began, self._next = title, time.monotonic(), time.monotonic() + _LINE_EVERY_S
        self._of, self._said = total, 0.0
        self.say(f"{title}: {total:.6g} to do")

    def __call__(self, done: float, of: float | None = None) -> None:
        self._of = of if of is not None else self._of
        now = time.monotonic()
        if now < self._next and (done < self._of or done == self._said):
            return
        self._next, self._said = now + _LINE_EVERY_S, done
        passed = now - self._began
        left = f", {_clock(passed * (self._of - done) / done)} left" if 0 < done < self._of else ""
        self.say(f"{self._title}: {done:.6g} of {self._of:.6g} after {_clock(passed)}{left}")

    def say(self, text: str) -> None:
        """A line of its own."""
        print(text, file=sys.stderr, flush=True)


class _Bar:
    """The same on a terminal."""

    def __init__(self, progress: Any, title: str, total: float) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=total)

    def __call__(self, done: float, of: float | None = None) -> None:
        self._progress.update(self._task, completed=done, **({} if of is None else {"total": of}))

    def say(self, text: str) -> None:
        self._progress.console.print(text, highlight=False, markup=False)


@contextmanager
def bar(title: str, total: float) -> Iterator[_Lines | _Bar]:
    """Gives a function that takes (done, of); its ``say`` prints a line beside the bar."""
    if not sys.stderr.isatty():
        yield _Lines(title, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.6g} of {task.total:.6g}"),
               TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield _Bar(progress, title, total)


@contextmanager
def until_interrupted() -> Iterator[list[str]]:
    """Ctrl-C and SIGTERM end what is inside and no more; the list then holds a word of it."""
    interrupted: list[str] = []
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield interrupted
    except KeyboardInterrupt:
        interrupted.append("interrupted")
    finally:
        signal.signal(signal.SIGTERM, before)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"

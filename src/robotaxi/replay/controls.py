"""The keyboard of a running replay: pause, step, seek, loop, quit."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from robotaxi.bags.remote import GO, PAUSE, STEP, Remote

HELP = "space: pause and go on, s: one stamp, left and right: 10 s back and on, l: loop, q: quit"
_SEEK_S = 10.0
_LEFT_S = 2.0  # nobody seeks farther than so much before the end
_ARROWS = {b"\x1b[C": _SEEK_S, b"\x1b[D": -_SEEK_S, b"\x1bOC": _SEEK_S, b"\x1bOD": -_SEEK_S}


class Controls:
    """What a person wants of a replay. ``keyboard``: file descriptor that key presses come from.

    ``looping``: play it again at its end. ``quit``: end now. ``seek_s``: begin again from that stamp; the nodes start
    anew there, since what they know of the past is no longer theirs.
    """

    def __init__(self, keyboard: int) -> None:
        self._keyboard = keyboard
        self._remote: Remote | None = None
        self._heard = b""
        self._last_s = 0.0
        self.paused = self.looping = self.quit = self.closed = False
        self.seek_s: float | None = None

    def fileno(self) -> int:
        return self._keyboard

    @contextmanager
    def attached(self, folder: Path, last_ns: int) -> Iterator[None]:
        """To the player that is given this folder, which must exist, and plays up to ``last_ns``."""
        self._remote, self._last_s = Remote(folder), last_ns * 1e-9
        self.paused, self.seek_s = False, None
        try:
            yield
        finally:
            self._remote.close()
            self._remote = None

    def position_s(self) -> float | None:
        at = self._remote.position_ns() if self._remote else None
        return None if at is None else at * 1e-9

    def hear(self) -> list[str]:
        """Read what was pressed (``fileno`` is readable) and act on it. Returns sentences for the person."""
        data = os.read(self._keyboard, 256)
        self.closed = not data
        self._heard += data
        said = []
        while self._heard:
            key = self._heard[:3] if self._heard.startswith(b"\x1b") else self._heard[:1]
            if key.startswith(b"\x1b") and len(key) < 3:
                break  # the rest of an arrow key is on its way
            self._heard = self._heard[len(key) :]
            sentence = self._press(key)
            if sentence:
                said.append(sentence)
        return said

    def _press(self, key: bytes) -> str:
        if key == b" ":
            self.paused = not self.paused
            self._say(PAUSE if self.paused else GO)
            return f"paused at {self.position_s() or 0.0:.2f} s" if self.paused else "playing"
        if key == b"s":
            self.paused = True
            self._say(STEP)
            return "one stamp"
        if key in _ARROWS:
            at = self.seek_s if self.seek_s is not None else self.position_s()
            if at is None:
                return ""
            self.seek_s = max(min(at + _ARROWS[key], self._last_s - _LEFT_S), 0.0)
            return f"going to {self.seek_s:.1f} s"
        if key == b"l":
            self.looping = not self.looping
            return "again at the end" if self.looping else "once"
        if key == b"q":
            self.quit = True
            return ""
        return HELP

    def _say(self, word: str) -> None:
        if self._remote is not None:
            self._remote.say(word)


@contextmanager
def keyboard() -> Iterator[int | None]:
    """The terminal's file descriptor, giving each key at once and showing none; None where there is no terminal."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        yield None
        return
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal)
        yield terminal
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)

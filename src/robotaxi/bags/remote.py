"""The remote control of a bag player: a pipe and a file between a person's process and the player's.

What a person presses becomes a word in the pipe ``commands``; where the player is stands in the file ``position``.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from pathlib import Path

PAUSE, GO, STEP = "pause", "go", "step"
_COMMANDS, _POSITION = "commands", "position"
_DIGITS = 20
_LOOK_S = 0.05  # wall time between two looks at what the person wants


class Remote:
    """The person's end, in a folder that must exist."""

    def __init__(self, folder: Path) -> None:
        os.mkfifo(folder / _COMMANDS)
        # for both directions: opening waits for nobody, and the player may come and go
        self._commands = os.open(folder / _COMMANDS, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._position = os.open(folder / _POSITION, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def say(self, word: str) -> None:
        with suppress(BlockingIOError):  # nobody has read for a thousand key presses
            os.write(self._commands, f"{word}\n".encode())

    def position_ns(self) -> int | None:
        """The stamp that is played next; None before the start."""
        text = os.pread(self._position, _DIGITS, 0)
        return int(text) if text.strip() else None

    def close(self) -> None:
        os.close(self._commands)
        os.close(self._position)


class RemoteEnd:
    """The player's end. OSError when the folder has no remote control."""

    def __init__(self, folder: Path) -> None:
        self._commands = os.open(folder / _COMMANDS, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._position = os.open(folder / _POSITION, os.O_WRONLY | os.O_CLOEXEC)
        self._rest = b""

    def fileno(self) -> int:
        """Readable when something was said."""
        return self._commands

    def words(self) -> list[str]:
        """What was said since the last call."""
        with suppress(BlockingIOError):
            self._rest += os.read(self._commands, 4096)
        *lines, self._rest = self._rest.split(b"\n")
        return [line.decode("ascii", "replace") for line in lines]

    def tell(self, stamp_ns: int) -> None:
        os.pwrite(self._position, str(stamp_ns).rjust(_DIGITS).encode(), 0)

    def close(self) -> None:
        os.close(self._commands)
        os.close(self._position)


class Pace:
    """Holds a player at full speed as the person at the ``remote`` wants."""

    def __init__(self, remote: RemoteEnd) -> None:
        self._remote = remote
        self._paused, self._steps = False, 0
        self._next_look = 0.0

    def hold(self, stamp_ns: int) -> None:
        """Return when the stamp may be played."""
        if not self._paused and time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + _LOOK_S
        self._remote.tell(stamp_ns)
        self._hear()
        while self._paused and self._steps == 0:
            select.select([self._remote], [], [])
            self._hear()
        self._steps = max(self._steps - 1, 0)

    def _hear(self) -> None:
        for word in self._remote.words():
            self._paused = word in (PAUSE, STEP)
            self._steps = self._steps + 1 if word == STEP else 0

"""Wakes a TrafficManager that sleeps through its turn.

In synchronous mode CARLA's 0.9.16 client tells TrafficManager's thread of a frame without holding the lock under which
that thread decides to wait: on a busy machine the word can be lost, and `world.tick` never returns. Leaving and
entering the mode again gives the word once more.
"""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Any

LOG = logging.getLogger("robotaxi.carla_bridge")
_PATIENCE_S = 5.0  # TrafficManager takes milliseconds for a frame


class TrafficGuard:
    """``with guard: world.tick()``. ``woken``: how often it was needed; cars get two commands then."""

    def __init__(self, world: Any, manager: Any, patience_s: float = _PATIENCE_S) -> None:
        self._world, self._manager, self._patience_s = world, manager, patience_s
        self._frame: list[int] | None = None  # a list of its own for each call, with the frame before it
        self._ended = threading.Event()
        self.woken = 0
        threading.Thread(target=self._watch, name="traffic_guard", daemon=True).start()

    def __enter__(self) -> TrafficGuard:
        self._frame = [self._world.get_snapshot().frame]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._frame = None

    def close(self) -> None:
        self._ended.set()

    def _watch(self) -> None:
        before: list[int] | None = None
        while not self._ended.wait(self._patience_s):
            now = self._frame
            # the server has done its part: it is TrafficManager that the frame waits for
            if now is not None and now is before and self._world.get_snapshot().frame > now[0]:
                LOG.warning("TrafficManager has missed its turn after frame %d: woken again", now[0])
                self.woken += 1
                self._manager.set_synchronous_mode(False)
                self._manager.set_synchronous_mode(True)
            before = now

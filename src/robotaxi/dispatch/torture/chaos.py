"""A link that duplicates, delays and so reorders messages, both ways."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from robotaxi.dispatch.link import Link, LinkStatus, Outgoing, Session


@dataclass(frozen=True)
class Chaos:
    """Chances a message; ``longest`` delay in seconds."""

    duplicate: float = 0.05
    delay: float = 0.1
    longest: float = 0.6


class ChaosLink:
    """``inner`` with faults of the random generator ``rng``."""

    def __init__(self, inner: Link, chaos: Chaos, rng: random.Random) -> None:
        self._inner = inner
        self._chaos = chaos
        self._rng = rng
        self._lock = threading.Condition()
        self._later: list[tuple[float, int, Callable[[], object]]] = []
        self._number = itertools.count()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="chaos", daemon=True)

    def start(self, session: Session) -> None:
        self._thread.start()
        receive = session.on_message

        def receive_badly(topic: str, payload: bytes) -> None:
            for pause in self._pauses():
                if pause:
                    self._at(pause, lambda: receive(topic, payload))
                else:
                    receive(topic, payload)

        self._inner.start(replace(session, on_message=receive_badly))

    def publish(self, message: Outgoing) -> bool:
        sent = True
        for pause in self._pauses():
            if pause:
                self._at(pause, lambda: self._inner.publish(message))
            else:
                sent = self._inner.publish(message) and sent
        return sent

    def status(self) -> LinkStatus:
        return self._inner.status()

    def close(self, last: Outgoing | None = None, timeout_s: float = 1.0) -> None:
        with self._lock:
            self._closed = True
            self._lock.notify()
        self._inner.close(last, timeout_s)

    def _pauses(self) -> list[float]:
        """When each copy of a message goes; 0: at once."""
        with self._lock:
            copies = 2 if self._rng.random() < self._chaos.duplicate else 1
            return [
                self._rng.uniform(0.001, self._chaos.longest) if self._rng.random() < self._chaos.delay else 0.0
                for _ in range(copies)
            ]

    def _at(self, pause: float, then: Callable[[], object]) -> None:
        with self._lock:
            heapq.heappush(self._later, (time.monotonic() + pause, next(self._number), then))
            self._lock.notify()

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._closed and (not self._later or self._later[0][0] > time.monotonic()):
                    self._lock.wait(max(self._later[0][0] - time.monotonic(), 0.0) if self._later else None)
                if self._closed:
                    return
                _, _, then = heapq.heappop(self._later)
            then()

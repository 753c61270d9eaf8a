"""The cloud's side of a ride: broker and dispatch desk, started again when one of them ends in mid-ride."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from robotaxi.dispatch import process
from robotaxi.dispatch.pki import make_test_pki
from robotaxi.supervisor import describe_exit

ACCEPT_WITHIN_S = 1800.0  # the car answers in its first step, and on a slow machine that is late


class Cloud:
    """Broker and desk of one run. ``notes``: what happened to them, in sentences.

    ``lane_map``: what the desk's page shows.

    The car does not depend on them: it drives on without, and its outbox keeps what they have yet to hear.
    """

    def __init__(self, folder: Path, log: Path, operator: str, vehicle: str, lane_map: str = "") -> None:
        self._lane_map = lane_map
        self._folder, self._log, self._operator, self._vehicle = folder, log, operator, vehicle
        self._broker: process.Child | None = None
        self._desk: process.Child | None = None
        self._port = 0
        self.notes: list[str] = []

    def start(self) -> None:
        """Make the test certificates, start both. Raises process.StartError."""
        make_test_pki(self.pki, self._operator, [self._vehicle])
        self._broker = self._start_broker(0)
        self._port = int(self._broker.ready["port"])
        self._desk = self._start_desk(0)

    @property
    def pki(self) -> Path:
        return self._folder / "pki"

    @property
    def broker_pid(self) -> int | None:
        return self._broker.pid if self._broker is not None else None

    @property
    def broker_port(self) -> int:
        """0 before the broker has started."""
        return self._port

    @property
    def desk_url(self) -> str:
        """Empty before the desk has started."""
        return str(self._desk.ready["url"]) if self._desk else ""

    @property
    def pids(self) -> list[int]:
        return [child.pid for child in (self._broker, self._desk) if child is not None]

    def revive(self) -> None:
        """Start again, at the same address, what has ended; a note says so, or why it could not be."""
        if self._broker is not None and (status := self._broker.process.poll()) is not None:
            port = self.broker_port
            self._broker = self._again("broker", self._broker, status, lambda: self._start_broker(port))
        if self._desk is not None and (status := self._desk.process.poll()) is not None:
            port = int(self.desk_url.rpartition(":")[2].strip("/"))
            self._desk = self._again("dispatch desk", self._desk, status, lambda: self._start_desk(port))

    def _again(
        self, name: str, child: process.Child, status: int, start: Callable[[], process.Child]
    ) -> process.Child | None:
        child.stop()
        what = f"the {name} ended in mid-ride ({describe_exit(status)})"
        try:
            again = start()
        except process.StartError as error:
            self.notes.append(f"{what} and could not be started again: {error}")
            return None
        self.notes.append(f"{what} and was started again")
        return again

    def stop(self) -> None:
        for child in (self._desk, self._broker):
            if child is not None:
                child.stop()

    def _start_broker(self, port: int) -> process.Child:
        return process.start_broker(
            self.pki, self._log / "broker.log", port=port, operator=self._operator, vehicles=[self._vehicle]
        )

    def _start_desk(self, port: int) -> process.Child:
        book, log = self._folder / "book.sqlite", self._log / "desk.log"
        return process.start_desk(
            self.pki,
            self._port,
            book,
            log,
            port=port,
            operator=self._operator,
            lane_map=self._lane_map,
            accept_within=ACCEPT_WITHIN_S,
        )

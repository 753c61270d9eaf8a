"""What the bridge and the desk need of a connection to a broker, whatever it is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to publish."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """``session`` counts connections since the start; ``detail`` says in words how it stands."""

    connected: bool
    session: int
    detail: str


@dataclass(frozen=True)
class Session:
    """What a link does on each connection.

    ``on_message(topic, payload)`` is called from the link's own thread. ``birth()`` is asked for
    messages to publish once subscribed; ``will`` is left with the broker.
    """

    subscribe: tuple[str, ...]
    on_message: Callable[[str, bytes], None]
    birth: Callable[[], Sequence[Outgoing]]
    will: Outgoing | None = None


class Link(Protocol):
    """Never blocks, never raises for what the network does: `status` tells."""

    def start(self, session: Session) -> None:
        """Begin to connect and keep trying."""

    def publish(self, message: Outgoing) -> bool:
        """Hand one message to the connection; False when there is none now."""
        ...

    def status(self) -> LinkStatus: ...

    def close(self, last: Outgoing | None = None, timeout_s: float = 1.0) -> None:
        """Say goodbye with ``last`` if connected, disconnect and end the thread. Idempotent."""

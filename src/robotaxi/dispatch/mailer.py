"""The car's way to the cloud: the newest state first, then what has no receipt yet, history last and slowly."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from robotaxi.dispatch import protocol
from robotaxi.dispatch.link import Link, Outgoing
from robotaxi.dispatch.messages import Body, Event, Receipt, State
from robotaxi.dispatch.outbox import BACKFILL, NORMAL, URGENT, Outbox, StoredMessage
from robotaxi.dispatch.protocol import Sender
from robotaxi.params import param

SECOND_NS = 1_000_000_000
UNPROVEN_S = 30.0  # a dead connection is noticed after one and a half keep-alives; states sent in it may be lost


@dataclass(frozen=True)
class MailerConfig:
    """How what must arrive is sent."""

    resend_after: float = param(5.0, lo=0.5, hi=600.0, unit="s", doc="without a receipt a message is sent again")
    send_window: int = param(64, lo=1, hi=1000, doc="messages without a receipt at one time")
    backfill_rate: float = param(100.0, lo=0.1, hi=10_000.0, unit="1/s", doc="states kept while offline, sent again")
    history: bool = param(True, doc="keep states while offline and send them later")
    history_ttl: float = param(604_800.0, lo=60.0, hi=1e8, unit="s", doc="states kept while offline are given up after")
    event_ttl: float = param(2_592_000.0, lo=60.0, hi=1e8, unit="s", doc="events without a receipt are given up after")


class Mailer:
    """``make_topic``: name to topic. Used from the bridge's thread only."""

    def __init__(
        self,
        config: MailerConfig,
        link: Link,
        outbox: Outbox,
        sender: Sender,
        compact: Sender,
        make_topic: Callable[[str], str],
        now_ns: Callable[[], int],
        monotonic_s: Callable[[], float],
    ) -> None:
        self._config = config
        self._link = link
        self._outbox = outbox
        self._sender = sender
        self._compact = compact
        self._make_topic = make_topic
        self._now_ns = now_ns
        self._monotonic_s = monotonic_s
        self._sent: dict[str, float] = {}  # message id -> monotonic time of its last sending
        self._session = 0
        self._connected = False
        self._recent: deque[tuple[float, StoredMessage]] = deque()  # states sent without a receipt
        self._tokens = 0.0
        self._tokens_at = monotonic_s()

    # ------------------------------------------------------------------ connection

    def new_session(self) -> bool:
        """Whether a connection has begun since the last call; what has no receipt is then sent again."""
        status = self._link.status()
        if self._connected and (not status.connected or status.session != self._session):
            self._keep_unproven()
        self._connected = status.connected
        if status.session == self._session:
            return False
        self._session = status.session
        self._sent.clear()
        return True

    @property
    def connected(self) -> bool:
        return self._link.status().connected

    def _keep_unproven(self) -> None:
        since = self._monotonic_s() - UNPROVEN_S
        lost = [message for at, message in self._recent if at >= since]
        self._recent.clear()
        if lost and self._config.history:
            self._outbox.record(lost)

    # ------------------------------------------------------------------ sending

    def state(self, state: State) -> None:
        """Now if connected, else kept. No receipt is awaited, the next one is newer."""
        if self.connected:
            self.publish("state", state, qos=0)
        if not self._config.history:
            return
        at = self._monotonic_s()
        kept = msgspec.structs.replace(state, live=False)
        if self.connected:
            self._recent.append((at, self._stored("state", kept, BACKFILL, self._config.history_ttl, self._compact)))
            while self._recent and self._recent[0][0] < at - UNPROVEN_S:
                self._recent.popleft()
        else:
            self._outbox.record([self._stored("state", kept, BACKFILL, self._config.history_ttl, self._compact)])

    def event(self, event: Event) -> None:
        """Kept until its receipt."""
        self._outbox.record([self._stored("event", event, NORMAL, self._config.event_ttl, self._sender)])

    def stored(self, name: str, body: Body, corr: str = "", trace: str = "") -> StoredMessage:
        """A message to be recorded with what it tells of; never given up because of its age."""
        identity, payload = self._sender.wrap(body, corr=corr, trace=trace)
        return StoredMessage(identity, name, payload, URGENT, self._now_ns())

    def _stored(self, name: str, body: Body, priority: int, ttl: float, sender: Sender) -> StoredMessage:
        identity, payload = sender.wrap(body)
        now = self._now_ns()
        return StoredMessage(identity, name, payload, priority, now, now + round(ttl * SECOND_NS))

    def publish(self, name: str, body: Body, qos: int = 1, corr: str = "", retain: bool = False) -> None:
        """Without keeping it."""
        _, payload = self._sender.wrap(body, corr=corr)
        self._link.publish(Outgoing(self._make_topic(name), payload, qos, retain))

    def received(self, receipt: Receipt) -> None:
        """The dispatcher has these; without ids: it is there again."""
        if not receipt.ids:
            self._sent.clear()
        self._outbox.delete(receipt.ids)
        for identity in receipt.ids:
            self._sent.pop(identity, None)

    def pump(self) -> None:
        """Send what is due. Gaps are told as events."""
        if not self.connected:
            return
        self._tell_gaps()
        if not len(self._outbox):
            return
        now = self._monotonic_s()
        self._tokens = min(
            self._tokens + (now - self._tokens_at) * self._config.backfill_rate, self._config.backfill_rate
        )
        self._tokens_at = now
        for message in self._outbox.pending(self._config.send_window):
            sent = self._sent.get(message.id)
            if sent is not None and now - sent < self._config.resend_after:
                continue
            if message.priority == BACKFILL:
                if self._tokens < 1.0:
                    continue
                self._tokens -= 1.0
            if not self._link.publish(Outgoing(self._make_topic(message.name), message.payload)):
                return
            self._sent[message.id] = now
        if len(self._sent) > 100 * self._config.send_window:  # ids that were given up meanwhile
            self._sent.clear()

    def _tell_gaps(self) -> None:
        for gap in self._outbox.gaps():
            event = Event(
                stamp_ns=gap.last_ns,
                kind="gap",
                severity="warning",
                text=f"{gap.count} messages named {gap.name} were given up: {gap.reason}",
                name=gap.name,
                count=gap.count,
                first_ns=gap.first_ns,
                last_ns=gap.last_ns,
            )
            stored = self._stored("event", event, NORMAL, self._config.event_ttl, self._sender)
            self._outbox.record([stored], gaps_told=[gap.name])


def goodbye(make_topic: Callable[[str], str], sender: Sender, body: Body) -> Outgoing:
    """A retained message for a last will or a birth."""
    _, payload = sender.wrap(body)
    return Outgoing(make_topic(protocol.body_name(body)), payload, retain=True)

"""The link is gone for a while at 10 Hz: everything must arrive, once, and the newest state soon."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from robotaxi.dispatch.book import OrderBook
from robotaxi.dispatch.bridge import Bridge, BridgeConfig
from robotaxi.dispatch.desk import Desk, DeskConfig
from robotaxi.dispatch.messages import Clock, Event
from robotaxi.dispatch.outbox import Outbox
from robotaxi.dispatch.pki import make_test_pki
from robotaxi.dispatch.process import start_broker
from robotaxi.dispatch.report import BridgeInput
from robotaxi.dispatch.signing import FolderVerifier, Signer
from robotaxi.dispatch.torture.car import OPERATOR, ORIGIN
from robotaxi.dispatch.torture.proxy import Proxy
from robotaxi.dispatch.transport import MqttConfig, MqttLink
from robotaxi.types import EgoState, SystemMode

PERIOD_S = 0.1
SETTLE_S = 3.0
PATIENCE_S = 30.0


def blackout(seconds: float, silent: bool = True) -> dict[str, Any]:
    """``silent``: the bytes go nowhere, as in a tunnel; else the connection is cut."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="blackout-")))
        pki = make_test_pki(folder / "pki", OPERATOR, ["car1"])
        broker = start_broker(pki.folder, folder / "broker.log", operator=OPERATOR)
        stack.callback(broker.stop)
        port = int(broker.ready["port"])
        proxy = Proxy(("127.0.0.1", port), ["car1"])
        stack.callback(proxy.close)
        book = OrderBook(folder / "book.sqlite")
        signer = Signer.load(pki.signer, pki.signers)
        desk = Desk(DeskConfig(), MqttLink(MqttConfig(port=port), pki.dispatcher, "dispatcher:desk"), book, signer)
        desk.start()
        bridge = Bridge(
            BridgeConfig(state_period=PERIOD_S, backfill_rate=200.0, resend_after=2.0),
            ORIGIN,
            MqttLink(MqttConfig(port=proxy.port("car1"), keep_alive=5), pki.vehicle("car1"), "car1"),
            Outbox(folder / "outbox"),
            lambda *_: None,
            FolderVerifier(pki.signers, pki.ca, pki.crl, OPERATOR),
            clock=Clock,
        )
        drive = _Drive(bridge)
        drive.run(SETTLE_S)
        before = drive.sent
        proxy.silence("car1") if silent else proxy.cut("car1")
        drive.run(seconds)
        if silent:
            proxy.cut("car1")  # what waits in the proxy is lost, as radio would lose it
        proxy.heal("car1")
        healed_stamp, healed = drive.stamp_ns, time.monotonic()
        live_after = None
        while time.monotonic() - healed < PATIENCE_S:
            drive.run(PERIOD_S)
            live = desk.fleet.vehicles.get("car1")
            if live_after is None and live is not None and json.loads(live.state)["stamp_ns"] >= healed_stamp:
                live_after = time.monotonic() - healed
            if live_after is not None and not bridge.backlog:
                break
        drive.run(1.0)
        all_after = time.monotonic() - healed
        drive.report = False
        drive.run(1.0)
        left = bridge.close(3.0)
        time.sleep(1.5)  # the desk writes states once a second
        events = book.db.rows("SELECT text, count(*) AS n FROM reports WHERE kind = 'tick' GROUP BY text")
        stamps = {row["stamp_ns"] for row in desk.fleet.history("car1")}
        missing = [stamp for stamp in drive.stamps if stamp not in stamps]
        desk.close()
        doubled = sum(row["n"] > 1 for row in events)
        return {
            "seconds": seconds,
            "kind": "tunnel" if silent else "cut",
            "events_sent": drive.sent,
            "events_during": drive.sent - before,
            "events_delivered": len(events),
            "events_twice": doubled,
            "states": len(drive.stamps),
            "states_missing": len(missing),
            "left_in_outbox": left,
            "live_state_after_s": None if live_after is None else round(live_after, 2),
            "all_delivered_after_s": round(all_after, 2),
            "holds": len(events) == drive.sent
            and not doubled
            and not missing
            and left == 0
            and live_after is not None
            and live_after <= 3.0,
        }


class _Drive:
    """Steps the bridge at 10 Hz, one event a step."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self.stamp_ns = 10**18
        self.sent = 0
        self.stamps: list[int] = []
        self.report = True

    def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        due = time.monotonic()
        while time.monotonic() < end:
            if self.report:
                self._bridge.report(Event(stamp_ns=self.stamp_ns, kind="tick", text=str(self.sent)))
                self.sent += 1
            ego = EgoState(self.stamp_ns, 0.0, 0.0, 0.0, 5.0)
            self._bridge.step(BridgeInput(self.stamp_ns, ego, mode=SystemMode.AUTONOMOUS))
            self.stamps.append(self.stamp_ns)
            self.stamp_ns += round(PERIOD_S * 1e9)
            due += PERIOD_S
            time.sleep(max(due - time.monotonic(), 0.0))

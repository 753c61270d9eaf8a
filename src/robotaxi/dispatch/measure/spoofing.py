"""Attempts to be somebody else: each must be refused, and the victim must not notice."""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from robotaxi.dispatch import pki as authority
from robotaxi.dispatch.bridge import Bridge, BridgeConfig
from robotaxi.dispatch.link import Outgoing, Session
from robotaxi.dispatch.messages import Clock, Command, Order, Place, Position
from robotaxi.dispatch.outbox import Outbox
from robotaxi.dispatch.pki import Identity, TestPki, make_test_pki
from robotaxi.dispatch.process import start_broker
from robotaxi.dispatch.protocol import Sender
from robotaxi.dispatch.report import BridgeInput
from robotaxi.dispatch.signing import FolderVerifier, Signer
from robotaxi.dispatch.torture.car import OPERATOR, ORIGIN
from robotaxi.dispatch.transport import MqttConfig, MqttLink
from robotaxi.types import EgoState, SystemMode, TripState, VehicleReport

PATIENCE_S = 5.0
DOWN, UP = "rt/v1/demo/{}/down/{}", "rt/v1/demo/{}/up/{}"


class Scene:
    """A broker, a victim (car1) with a trip under way, an attacker with the certificate of car2."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self.pki: TestPki = make_test_pki(folder / "pki", OPERATOR, ["car1", "car2", "car3", "car4"])
        self.broker = start_broker(self.pki.folder, folder / "broker.log", operator=OPERATOR)
        stack.callback(self.broker.stop)
        self.port = int(self.broker.ready["port"])
        self.link = self.make_link(self.pki.vehicle("car1"), "car1")
        self.bridge = Bridge(
            BridgeConfig(vehicle="car1"),
            ORIGIN,
            self.link,
            Outbox(folder / "outbox"),
            lambda *_: None,
            FolderVerifier(self.pki.signers, self.pki.ca, self.pki.crl, OPERATOR),
            clock=lambda: Clock(synced=True, err_ms=1.0),
        )
        stack.callback(lambda: self.bridge.close(0.0))
        self.heard: dict[str, list[dict[str, Any]]] = {}
        self.news = threading.Condition()
        self.signer = Signer.load(self.pki.signer, self.pki.signers)
        self.dispatcher = self.make_link(self.pki.dispatcher, "dispatcher:test")
        self.dispatcher.start(Session((UP.format("+", "+"),), self._hear, tuple))
        stack.callback(self.dispatcher.close)
        self.sender = self.make_sender(self.signer)
        self.stamp_ns = 0
        self.wait_online(self.link)
        self.wait_online(self.dispatcher)
        self.order = Order(order_id="victim", pickup=_place(0.001), dropoff=_place(0.002))
        self.sent_order = self.sender.wrap(self.order, exp_ns=_soon())[1]
        self.dispatcher.publish(Outgoing(DOWN.format("car1", "order"), self.sent_order))
        self.bridge.wait_for_order(PATIENCE_S)
        self.step()

    def make_link(self, identity: Identity, client_id: str) -> MqttLink:
        return MqttLink(MqttConfig(port=self.port, retry_min=0.1, retry_max=0.3), identity, client_id)

    def make_sender(self, signer: Signer | None, vehicle: str = "car1") -> Sender:
        numbers = iter(range(10**9))
        stem = f"m{time.monotonic_ns()}"
        return Sender(vehicle, stem, lambda: f"{stem}-{next(numbers)}", time.time_ns, operator=OPERATOR, signing=signer)

    def step(self) -> TripState:
        self.stamp_ns += 100_000_000
        ego = EgoState(self.stamp_ns, 0.0, 0.0, 0.0, 0.0)
        report = VehicleReport(self.stamp_ns, 0.0, 0.0)
        return self.bridge.step(BridgeInput(self.stamp_ns, ego, None, report, SystemMode.AUTONOMOUS)).trip_state

    def _hear(self, topic: str, payload: bytes) -> None:
        with self.news:
            with contextlib.suppress(ValueError):
                self.heard.setdefault(topic, []).append(json.loads(payload))
            self.news.notify_all()

    def wait_online(self, link: MqttLink) -> None:
        end = time.monotonic() + PATIENCE_S
        while not link.status().connected and time.monotonic() < end:
            time.sleep(0.01)

    def let_in(self, identity: Identity, client_id: str) -> bool:
        """Whether the broker lets this identity in within a few attempts."""
        link = self.make_link(identity, client_id)
        link.start(Session((), lambda *_: None, tuple))
        end = time.monotonic() + PATIENCE_S
        refused = ("refused", "ended", "trusted", "cannot connect", "TLS failed")
        try:
            while time.monotonic() < end:
                if link.status().connected:
                    return True
                if any(word in link.status().detail for word in refused):
                    return False
                time.sleep(0.01)
            return False
        finally:
            link.close()

    def answer_to(self, payload: bytes, name: str = "command", vehicle: str = "car1") -> str:
        """The status that the victim answers with; "" for no answer."""
        topic = UP.format("car1", "ack")
        with self.news:
            self.heard.pop(topic, None)
        self.dispatcher.publish(Outgoing(DOWN.format(vehicle, name), payload))
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            self.bridge.wait_for_message(0.02)
            self.step()
            with self.news:
                statuses = [item["body"]["status"] for item in self.heard.get(topic, [])]
            final = [status for status in statuses if status != "received"]
            if final:
                return str(final[-1])
        return ""

    def undisturbed(self) -> bool:
        """The victim is still in its first session and on its trip."""
        return (
            self.link.status().connected
            and self.link.status().session == 1
            and self.step() is TripState.EN_ROUTE_TO_PICKUP
        )


def spoofing() -> dict[str, Any]:
    """Every attempt with whether it was refused and the victim undisturbed."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spoof-")))
        scene = Scene(folder, stack)
        results = {}
        for name, attempt in ATTEMPTS.items():
            refused = attempt(scene)
            results[name] = {"refused": refused, "victim_undisturbed": scene.undisturbed()}
        return {
            "attempts": results,
            "holds": all(result["refused"] and result["victim_undisturbed"] for result in results.values()),
        }


# ---------------------------------------------------------------------------- attempts: true when refused


def others_topic(scene: Scene) -> bool:
    """car2 publishes as car1: nobody may hear it."""
    link = scene.make_link(scene.pki.vehicle("car2"), "car2")
    link.start(Session((), lambda *_: None, tuple))
    scene.wait_online(link)
    link.publish(Outgoing(UP.format("car1", "event"), b'{"forged": true}'))
    link.publish(Outgoing(UP.format("car2", "event"), b'{"mine": true}'))
    with scene.news:
        scene.news.wait_for(lambda: UP.format("car2", "event") in scene.heard, PATIENCE_S)
        forged = [item for item in scene.heard.get(UP.format("car1", "event"), []) if item.get("forged")]
        own = bool(scene.heard.get(UP.format("car2", "event")))
    link.close()
    return own and not forged


def others_commands(scene: Scene) -> bool:
    """car2 subscribes to what car1 is told."""
    link = scene.make_link(scene.pki.vehicle("car2"), "car2")
    link.start(Session((DOWN.format("car1", "+"),), lambda *_: None, tuple))
    end = time.monotonic() + PATIENCE_S
    while "refused" not in link.status().detail and time.monotonic() < end:
        time.sleep(0.01)
    refused = "refused a subscription" in link.status().detail
    link.close()
    return refused


def others_client_id(scene: Scene) -> bool:
    """car2's certificate with car1's client id, which would throw car1 off."""
    return not scene.let_in(scene.pki.vehicle("car2"), "car1")


def others_will(scene: Scene) -> bool:
    """A last will on car1's topic."""
    link = scene.make_link(scene.pki.vehicle("car2"), "car2")
    link.start(Session((), lambda *_: None, tuple, Outgoing(UP.format("car1", "connection"), b"{}")))
    end = time.monotonic() + PATIENCE_S
    while not link.status().connected and "refused" not in link.status().detail and time.monotonic() < end:
        time.sleep(0.01)
    refused = not link.status().connected
    link.close()
    return refused


def no_certificate(scene: Scene) -> bool:
    import socket

    context = ssl.create_default_context(cafile=str(scene.pki.ca))
    try:
        with (
            socket.create_connection(("localhost", scene.port), PATIENCE_S) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as tls,
        ):
            tls.send(b"\x10\x00")
            return tls.recv(16) == b""
    except (ssl.SSLError, OSError):
        return True


def rogue_certificate(scene: Scene) -> bool:
    """car1's name, signed by another authority."""
    rogue = make_test_pki(scene.folder / "rogue", OPERATOR, ["car1"]).vehicle("car1")
    return not scene.let_in(replace(rogue, ca=scene.pki.ca), "car1")


def expired_certificate(scene: Scene) -> bool:
    past = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=2)
    return not scene.let_in(authority.issue_until(scene.pki, "car3", past), "car3")


def revoked_certificate(scene: Scene) -> bool:
    """car4 is connected; its certificate is revoked; it must be let go and not let in again."""
    identity = scene.pki.vehicle("car4")
    link = scene.make_link(identity, "car4")
    link.start(Session((), lambda *_: None, tuple))
    scene.wait_online(link)
    was_in = link.status().connected
    authority.revoke(scene.pki, [identity.cert])
    end = time.monotonic() + PATIENCE_S
    while link.status().connected and time.monotonic() < end:
        time.sleep(0.02)
    gone = not link.status().connected
    link.close()
    return was_in and gone and not scene.let_in(identity, "car4")


def unsigned_command(scene: Scene) -> bool:
    payload = scene.make_sender(None).wrap(_cancel(), exp_ns=_soon())[1]
    return scene.answer_to(payload) == "unsigned"


def foreign_key(scene: Scene) -> bool:
    """Signed with a key that the car does not trust, under the trusted key's name."""
    forger = Signer(Ed25519PrivateKey.generate(), scene.signer.kid)
    return scene.answer_to(scene.make_sender(forger).wrap(_cancel(), exp_ns=_soon())[1]) == "unsigned"


def altered_command(scene: Scene) -> bool:
    payload = scene.sender.wrap(Command(command="cancel", order_id="other"), exp_ns=_soon())[1]
    return scene.answer_to(payload.replace(b'"other"', b'"victim"')) == "unsigned"


def altered_signature(scene: Scene) -> bool:
    message = msgspec.json.decode(scene.sender.wrap(_cancel(), exp_ns=_soon())[1])
    value = bytearray(base64.b64decode(message["sig"]["value"]))
    value[0] ^= 1
    message["sig"]["value"] = base64.b64encode(bytes(value)).decode()
    return scene.answer_to(msgspec.json.encode(message)) == "unsigned"


def command_for_another(scene: Scene) -> bool:
    """A genuine command to car2, played to car1."""
    genuine = scene.make_sender(scene.signer, "car2").wrap(_cancel(), exp_ns=_soon())[1]
    return (
        scene.answer_to(genuine) == "malformed" and scene.answer_to(genuine.replace(b'"car2"', b'"car1"')) == "unsigned"
    )


def replayed_order(scene: Scene) -> bool:
    return scene.answer_to(scene.sent_order, "order") == "duplicate"


def replayed_command(scene: Scene) -> bool:
    """pull_over and resume, both genuine; then pull_over again."""
    pull = scene.sender.wrap(Command(command="pull_over"), exp_ns=_soon())[1]
    resume = scene.sender.wrap(Command(command="resume"), exp_ns=_soon())[1]
    answers = [scene.answer_to(pull), scene.answer_to(resume), scene.answer_to(pull)]
    return answers == ["accepted", "accepted", "duplicate"]


def expired_command(scene: Scene) -> bool:
    payload = scene.sender.wrap(_cancel(), exp_ns=time.time_ns() - 1)[1]
    return scene.answer_to(payload) == "expired"


def overtaken_command(scene: Scene) -> bool:
    """Made earlier, played after a later one has had its effect."""
    early = scene.sender.wrap(_cancel(), exp_ns=_soon())[1]
    late = scene.sender.wrap(Command(command="resume"), exp_ns=_soon())[1]
    return scene.answer_to(late) == "refused" and scene.answer_to(early) == "reordered"


ATTEMPTS: dict[str, Callable[[Scene], bool]] = {
    attempt.__name__: attempt
    for attempt in (
        others_topic,
        others_commands,
        others_client_id,
        others_will,
        no_certificate,
        rogue_certificate,
        expired_certificate,
        revoked_certificate,
        unsigned_command,
        foreign_key,
        altered_command,
        altered_signature,
        command_for_another,
        replayed_order,
        replayed_command,
        expired_command,
        overtaken_command,
    )
}


def _cancel() -> Command:
    return Command(command="cancel", order_id="victim", by="platform")


def _place(north: float) -> Place:
    return Place(position=Position(datum="WGS84", lat=ORIGIN[0] + north, lon=ORIGIN[1]))


def _soon() -> int:
    return time.time_ns() + 60_000_000_000

"""Nobody can be somebody else: the spoofing set, the clock, signatures, rotation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from test_dispatch_bridge import NOW_NS, Setup, as_json

from robotaxi.dispatch import pki as authority
from robotaxi.dispatch.bridge import Bridge
from robotaxi.dispatch.measure.fuzz import fuzz
from robotaxi.dispatch.measure.spoofing import ATTEMPTS, PATIENCE_S, Scene
from robotaxi.dispatch.messages import Clock, Command
from robotaxi.dispatch.signing import Signer, SigningError

assert as_json and Bridge


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(tmp_path_factory.mktemp("spoof"), stack)


@pytest.mark.parametrize("name", ATTEMPTS)
def test_it_is_refused_and_the_victim_does_not_notice(scene: Scene, name: str) -> None:
    assert ATTEMPTS[name](scene)
    assert scene.undisturbed()


def test_a_new_signing_key_is_obeyed_and_a_revoked_one_no_longer(scene: Scene) -> None:
    old = next(scene.pki.signers.glob("*.crt"))
    authority.renew(scene.pki, "signer")
    signer = Signer.load(scene.pki.signer, scene.pki.signers)
    assert signer.kid != scene.signer.kid
    authority.revoke(scene.pki, [old])
    end = time.monotonic() + PATIENCE_S
    answer = ""
    while answer != "unsigned" and time.monotonic() < end:  # the folder is looked at once a second
        answer = scene.answer_to(scene.sender.wrap(Command(command="resume"), exp_ns=time.time_ns() + 10**10)[1])
    assert answer == "unsigned"
    fresh = scene.make_sender(signer).wrap(Command(command="resume"), exp_ns=time.time_ns() + 10**10)[1]
    assert scene.answer_to(fresh) == "refused"  # by the car's own judgement: it is not held
    assert scene.undisturbed()


def test_a_vehicle_with_a_new_certificate_connects_without_a_restart_of_anything(scene: Scene) -> None:
    identity = authority.renew(scene.pki, "car2")
    assert scene.let_in(identity, "car2")


def test_without_a_synchronised_clock_time_critical_commands_are_refused() -> None:
    setup = Setup()
    setup.bridge._inbox._clock = Clock
    setup.cloud.order()
    setup.run(2)
    setup.cloud.send("command", Command(command="pull_over"))
    assert setup.link.acks("refused")[0][1].startswith("pull_over is time-critical")
    setup.cloud.cancel()
    setup.run(1)
    assert setup.last[0] == "CANCELLED"


def test_what_has_no_expiry_is_not_obeyed() -> None:
    setup = Setup()
    setup.cloud.raw("command", setup.cloud.sender.wrap(Command(command="cancel", order_id="a"))[1])
    assert setup.link.acks("malformed") == [("malformed", "command without exp_ns")]
    assert NOW_NS > 0


def test_keys_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(SigningError, match=r"nothing\.key"):
        Signer.load(tmp_path / "nothing.key", tmp_path)
    pki = authority.make_test_pki(tmp_path / "pki", "demo", ["car1"])
    with pytest.raises(SigningError, match="not an Ed25519 key"):
        Signer.load(pki.vehicle("car1").key, pki.signers)
    with pytest.raises(SigningError, match="no certificate"):
        Signer.load(pki.signer, tmp_path)


def test_fuzzed_messages_change_nothing() -> None:
    figures = fuzz(3000, 1, lambda _: None)
    assert figures["holds"], figures
    assert figures["answers"] > 1000

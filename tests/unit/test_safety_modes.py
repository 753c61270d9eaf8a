"""The mode table: every state has a way to a standstill, and nothing drives without leave."""

from __future__ import annotations

import itertools

import pytest

from robotaxi.interfaces import TICK_NS
from robotaxi.safety import GateConfig
from robotaxi.safety.modes import TRANSITIONS, ModeMachine, Observation
from robotaxi.types import Permit, Request, SystemMode

CONFIG = GateConfig()
M = SystemMode
BRAKING = {M.STOP, M.COMFORTABLE_STOP, M.STOP_IN_LANE, M.EMERGENCY_STOP, M.REMOTE_ASSIST}
LONG = round(30.0 / (TICK_NS * 1e-9))
GOOD = {"fault": "", "threat": "", "standing": False, "clear": True}
# every kind of step: fault, threat, standing, clear, path, permit, request, manual
KINDS = [
    {"fault": fault, "threat": threat, "standing": standing, "path_known": path, "permit": permit,
     "permit_reason": "Impaired.", "request": request, "manual_ok": manual}
    for fault, threat, standing, path, permit, request, manual in itertools.product(
        ("", "Lost."), ("", "Near."), (False, True), (False, True), Permit, Request, (False, True)
    )
]  # fmt: skip


def drive(machine: ModeMachine, start: int, steps: int, **seen: object) -> tuple[int, SystemMode, str]:
    """Observe the same for a while: (next tick, mode, reason)."""
    mode, reason = machine.mode, ""
    for tick in range(start, start + steps):
        mode, reason = machine.step(Observation(tick * TICK_NS, **{**GOOD, **seen}))
    return start + steps, mode, reason


def reached() -> set[SystemMode]:
    """Every mode that a walk over all kinds of steps, each held for a moment or for long, can reach."""
    found, frontier = {M.STOP}, [[]]
    while frontier:
        path = frontier.pop()
        for kind, steps in itertools.product(KINDS, (1, 60)):
            machine, tick = ModeMachine(CONFIG), 0
            for before, held in [*path, (kind, steps)]:
                tick, mode, _ = drive(machine, tick, held, **before)
            if mode not in found:
                found.add(mode)
                frontier.append([*path, (kind, steps)])
    return found


def test_every_mode_can_be_reached_and_every_mode_has_rows() -> None:
    assert reached() == set(M)
    assert {source for row in TRANSITIONS for source in row.sources} == set(M)


@pytest.mark.parametrize("mode", list(M))
@pytest.mark.parametrize("kind", [0, 1, 2], ids=["fault", "permit", "threat"])
def test_from_every_mode_a_lasting_trouble_ends_in_a_standstill(mode: SystemMode, kind: int) -> None:
    machine = ModeMachine(CONFIG)
    machine.mode = mode
    trouble = [{"fault": "Lost."}, {"permit": Permit.STOP, "permit_reason": "Dead."}, {"threat": "Near."}][kind]
    tick, now, _ = drive(machine, 0, 3, **trouble)
    assert now in BRAKING  # whoever drove does so no longer, also a person whose commands do not come
    _, now, _ = drive(machine, tick, 200, standing=True, **trouble)
    assert now in {M.STOP, M.REMOTE_ASSIST, M.EMERGENCY_STOP}


@pytest.mark.parametrize("path_known", [True, False])
def test_the_manoeuvre_depends_on_what_still_works(path_known: bool) -> None:
    machine = ModeMachine(CONFIG)
    tick, mode, _ = drive(machine, 0, 40)
    assert mode is M.AUTONOMOUS
    _, mode, reason = drive(machine, tick, 1, fault="Lost.", path_known=path_known)
    assert mode is (M.COMFORTABLE_STOP if path_known else M.STOP_IN_LANE) and reason == "Lost."


def test_pull_over_is_bounded_and_ends_by_itself_when_all_is_well() -> None:
    impaired = {"permit": Permit.PULL_OVER, "permit_reason": "No camera."}
    machine = ModeMachine(CONFIG)
    tick, _, _ = drive(machine, 0, 40)
    tick, mode, reason = drive(machine, tick, 10, **impaired)
    assert (mode, reason) == (M.PULL_OVER, "No camera.")
    _, mode, _ = drive(machine, tick, 40)
    assert mode is M.AUTONOMOUS
    tick, mode, _ = drive(machine, tick + 40, LONG, **impaired)
    assert mode is M.COMFORTABLE_STOP


def test_a_person_takes_over_at_once_and_the_car_stops_when_the_commands_end() -> None:
    machine = ModeMachine(CONFIG)
    tick, _, _ = drive(machine, 0, 40)
    tick, mode, _ = drive(machine, tick, 1, request=Request.MANUAL, manual_ok=True)
    assert mode is M.MANUAL
    tick, mode, _ = drive(machine, tick, 1, request=Request.MANUAL, manual_ok=False)
    assert mode is M.STOP_IN_LANE
    tick, mode, _ = drive(machine, tick, 60, request=Request.MANUAL, standing=True)
    assert mode is M.STOP


def test_help_from_afar_means_standing_until_it_is_given() -> None:
    machine = ModeMachine(CONFIG)
    tick, _, _ = drive(machine, 0, 40)
    tick, mode, _ = drive(machine, tick, 1, request=Request.REMOTE_ASSIST, request_reason="May I pass the van?")
    assert mode is M.COMFORTABLE_STOP
    tick, mode, reason = drive(machine, tick, 3, request=Request.REMOTE_ASSIST, standing=True, request_reason="Van?")
    assert (mode, reason) == (M.REMOTE_ASSIST, "Van?")
    _, mode, _ = drive(machine, tick, 60, standing=True)
    assert mode is M.AUTONOMOUS


def test_no_step_from_any_mode_drives_on_trouble() -> None:
    for mode, kind in itertools.product(M, KINDS):
        machine = ModeMachine(CONFIG)
        machine.mode = mode
        _, now, _ = drive(machine, 0, 1, **kind)
        troubled = kind["fault"] or kind["permit"] is Permit.STOP
        if kind["threat"]:
            assert now is M.EMERGENCY_STOP
        elif troubled:
            assert now not in (M.AUTONOMOUS, M.PULL_OVER)
        if now is M.MANUAL:
            assert kind["request"] is Request.MANUAL and kind["manual_ok"]

"""The mode table: every state has a way to a standstill, and nothing drives without leave."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator

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


SHORT = GateConfig(recovery_time=0.02, emergency_clear_time=0.04, pull_over_time=0.06)  # 1, 2 and 3 steps
OBSERVED = [{**kind, "clear": clear} for kind, clear in itertools.product(KINDS, (False, True))]
State = tuple[SystemMode, int, int, int]  # mode; steps that it has been good, resting and in this mode, -1 for not


def state_of(machine: ModeMachine, tick: int) -> State:
    """All that the machine's future depends on. What has lasted longer than any row asks for is as long as that."""

    def steps(since: int | None, most: int) -> int:
        return -1 if since is None else min(tick - since // TICK_NS, most)

    return (machine.mode, steps(machine._good_since, 1), steps(machine._clear_since, 2), steps(machine._entered_ns, 3))


def explore() -> Iterator[tuple[State, dict[str, object], State, str]]:
    """(before, observed, after, reason) of every step from every state that can be reached from the start."""
    start = ModeMachine(SHORT)
    frontier = [(start, state_of(start, 0), 0)]
    known = {frontier[0][1]}
    while frontier:
        machine, before, tick = frontier.pop()
        for observed in OBSERVED:
            successor = copy.copy(machine)
            _, reason = successor.step(Observation((tick + 1) * TICK_NS, **observed))
            after = state_of(successor, tick + 1)
            yield before, observed, after, reason
            if after not in known:
                known.add(after)
                frontier.append((successor, after, tick + 1))


def test_every_step_from_every_state_is_safe() -> None:
    """The whole state space, for waits of a few steps: nothing is sampled."""
    reached, entered = set(), set()
    for (before, good, resting, lasted), seen, (after, *_), reason in explore():
        reached.add(after)
        if before is not after:
            entered.add((before, after))
        assert reason, "whoever asks is told why"
        trouble = seen["fault"] or seen["permit"] is Permit.STOP
        if seen["threat"]:
            assert after is M.EMERGENCY_STOP
        elif before is M.EMERGENCY_STOP and after is not before:
            assert resting >= 1 and seen["standing"] and seen["clear"] and after is M.STOP
        if trouble:
            assert after in BRAKING | {M.MANUAL}
        if after is M.MANUAL:
            assert seen["request"] is Request.MANUAL and seen["manual_ok"]
        if after is M.AUTONOMOUS and before is not M.AUTONOMOUS:
            assert good >= 0 and not trouble and seen["permit"] is Permit.DRIVE
        if after is M.PULL_OVER and before is M.PULL_OVER:
            assert lasted < 3, "pulling over has an end"
        if before in BRAKING and seen["standing"] and trouble and not seen["threat"] and after is not M.MANUAL:
            assert after in {M.STOP, M.REMOTE_ASSIST, M.EMERGENCY_STOP}, "who stands in trouble stays"
    assert reached == set(M)
    ways = {mode: {after for before, after in entered if before is mode} for mode in M}
    assert all(ways[mode] & BRAKING for mode in M), "every mode has a way to a standstill"
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

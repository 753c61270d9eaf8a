"""Traffic lights as CARLA has them: groups that take turns, times that can be set, states that can be held."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass

from robotaxi.carla_link.server.town import Town
from robotaxi.sim.lights import group_signals
from robotaxi.types import LightState

RED, YELLOW, GREEN, OFF, UNKNOWN = range(5)  # carla.TrafficLightState
TO_SIM = {
    RED: LightState.RED,
    YELLOW: LightState.AMBER,
    GREEN: LightState.GREEN,
    OFF: LightState.OFF,
    UNKNOWN: LightState.UNKNOWN,
}
_GREEN_S, _YELLOW_S, _RED_S = 10.0, 3.0, 2.0  # as CARLA's default


@dataclass
class Light:
    """One light. ``signal`` is its id in the map; ``pole`` its place in its group."""

    actor: int
    signal: int
    group: int
    phase: int
    pole: int
    state: int = RED
    green: float = _GREEN_S
    yellow: float = _YELLOW_S
    red: float = _RED_S
    elapsed: float = 0.0
    held: bool = False  # set by a client: the cycle leaves it alone until it comes round


@dataclass
class Group:
    """The lights of one junction: one phase is green, then yellow, then all are red, then the next."""

    phases: list[list[int]]  # actors by phase
    phase: int = 0
    state: int = GREEN
    elapsed: float = 0.0


class TrafficLights:
    """All lights of a town by actor id."""

    def __init__(self, town: Town, first_actor: int) -> None:
        self.lights: dict[int, Light] = {}
        self.groups: list[Group] = []
        self.frozen = False
        turns = _controllers(town.opendrive)
        for phases in (_in_turn(phases, turns) for phases in group_signals(town.lane_map)):
            number, group = len(self.groups), Group([])
            for phase, signals in enumerate(phases):
                actors: list[int] = []
                for signal in signals:
                    actor = first_actor + len(self.lights)
                    self.lights[actor] = Light(actor, signal, number, phase, sum(map(len, group.phases)) + len(actors))
                    actors.append(actor)
                group.phases.append(actors)
            if len(group.phases) == 1:
                group.phases.append([])  # a lone approach needs a red too
            self.groups.append(group)
            self._show(group)
        self.by_signal = {light.signal: light.actor for light in self.lights.values()}

    def step(self, dt: float) -> None:
        for light in self.lights.values():
            light.elapsed += dt
        if self.frozen:
            return
        for group in self.groups:
            group.elapsed += dt
            turns = [self.lights[a] for a in group.phases[group.phase]]
            first = turns[0] if turns else None
            limit = {
                GREEN: first.green if first else _GREEN_S,
                YELLOW: first.yellow if first else 0.0,
                RED: first.red if first else 0.0,
            }[group.state]
            if group.elapsed < limit - 1e-9:
                continue
            group.elapsed = 0.0
            if group.state == GREEN:
                group.state = YELLOW
            elif group.state == YELLOW:
                group.state = RED
            else:
                group.phase, group.state = (group.phase + 1) % len(group.phases), GREEN
            self._show(group)

    def set_state(self, actor: int, state: int) -> None:
        light = self.lights[actor]
        light.state, light.elapsed, light.held = state, 0.0, True

    def members(self, actor: int) -> list[int]:
        return [a for phase in self.groups[self.lights[actor].group].phases for a in phase]

    def reset_group(self, actor: int) -> None:
        self._reset(self.groups[self.lights[actor].group])

    def reset_all(self) -> None:
        for group in self.groups:
            self._reset(group)

    def states(self) -> dict[int, LightState]:
        """By signal id of the map, ascending."""
        return {light.signal: TO_SIM[light.state] for light in sorted(self.lights.values(), key=lambda x: x.signal)}

    def _reset(self, group: Group) -> None:
        group.phase, group.state, group.elapsed = 0, GREEN, 0.0
        for actors in group.phases:
            for actor in actors:
                self.lights[actor].held = False
        self._show(group)

    def _show(self, group: Group) -> None:
        for number, actors in enumerate(group.phases):
            for actor in actors:
                light = self.lights[actor]
                state = group.state if number == group.phase else RED
                if light.held and group.state != GREEN:
                    continue
                light.held = False
                if light.state != state:
                    light.state, light.elapsed = state, 0.0


def _controllers(opendrive: str) -> dict[int, tuple[int, int]]:
    """Signal id -> (sequence, id) of its controller: the phases that the town's file asks for."""
    found: dict[int, tuple[int, int]] = {}
    for controller in ET.fromstring(opendrive.encode()).iter("controller"):
        number, place = controller.get("id", ""), controller.get("sequence", "0")
        for control in controller.iter("control"):
            signal = control.get("signalId", "")
            if signal.isdecimal() and number.isdecimal() and place.isdecimal():
                found.setdefault(int(signal), (int(place), int(number)))
    return found


def _in_turn(phases: list[list[int]], turns: dict[int, tuple[int, int]]) -> list[list[int]]:
    """The phases of a junction: one for each controller of its file, as CARLA has them; where a signal has no
    controller, by the directions of the approaches."""
    signals = sorted(signal for phase in phases for signal in phase)
    if not signals or not all(signal in turns for signal in signals):
        return phases
    order = sorted({turns[signal] for signal in signals})
    return [[signal for signal in signals if turns[signal] == turn] for turn in order]

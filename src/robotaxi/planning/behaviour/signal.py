"""Traffic lights: what they show, remembered and confirmed, and whether to stop.

Arrows are for those alone who drive where they point, and go before round lights there. A dark light is out of order:
its line is one of an all-way stop (`give_way`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from robotaxi.planning.config import PlannerConfig
from robotaxi.planning.constraint import Constraint, Kind, stop_sentence
from robotaxi.planning.route_features import RouteLine
from robotaxi.planning.scene import Scene
from robotaxi.types import Cause, LightShape, LightState, RecordArray

MIN_CONFIDENCE = 0.3
LINE_PASSED = 0.6  # m beyond the line from which it no longer counts
REACTION = 0.4  # s that pass until braking has built up
STILL_STOPS = 5.5  # m/s^2 up to which who has begun to stop goes on stopping
LATE_AMBER = 1.5  # s that an amber whose beginning was not seen is trusted to last
ARROWS = {"left": LightShape.LEFT_ARROW, "right": LightShape.RIGHT_ARROW, "straight": LightShape.UP_ARROW}
DARK_HOLD = 30.0  # s that a dark light stays dark out of sight, for who stands below it
WAIT_RANGE = 3.0  # m before the line within which an unseen light holds a standing car


@dataclass
class _Seen:
    state: LightState = LightState.UNKNOWN
    stamp_ns: int = 0
    candidate: LightState = LightState.UNKNOWN
    count: int = 0
    shape: int = LightShape.UNKNOWN
    begun: bool = False  # an amber that was seen to follow green: as long as they last is left of it


@dataclass
class LightMemory:
    """Confirmed state by signal id; lines that the car goes over because it cannot stop any more."""

    signals: dict[int, _Seen] = field(default_factory=dict)
    stamp_ns: int = -1
    going: set[int] = field(default_factory=set)
    stopping: set[int] = field(default_factory=set)  # lines that it has begun to stop at

    def update(self, lights: RecordArray, stamp_ns: int, config: PlannerConfig) -> None:
        """Take one message; a change counts after ``light_confirmations`` equal ones, amber at once."""
        if stamp_ns <= self.stamp_ns:
            return
        self.stamp_ns = stamp_ns
        for record in lights:
            state = LightState(int(record["state"])) if record["state"] <= LightState.OFF else LightState.UNKNOWN
            seen = self.signals.setdefault(int(record["signal_id"]), _Seen())
            seen.shape = int(record["shape"])
            if state == LightState.UNKNOWN or not record["confidence"] >= MIN_CONFIDENCE:
                continue
            seen.count = seen.count + 1 if state == seen.candidate else 1
            seen.candidate = state
            first_sight = seen.state == LightState.UNKNOWN and state not in (LightState.GREEN, LightState.OFF)
            after_green = seen.state == LightState.GREEN and state == LightState.AMBER
            if state == seen.state or first_sight or after_green or seen.count >= config.light_confirmations:
                seen.begun = after_green or (seen.begun and state == seen.state)
                seen.state, seen.stamp_ns = state, stamp_ns

    def saw_it_begin(self, item: RouteLine) -> bool:
        """Whether green was seen to end at one of the heads of a line."""
        ours, round_ones = self._heads(item)
        return any(seen.begun for seen in ours or round_ones)

    def state(self, item: RouteLine, stamp_ns: int, config: PlannerConfig) -> LightState:
        """The strictest state that the heads of one line show to those who drive as the path does."""
        ours, round_ones = self._heads(item)
        shown = _strictest(ours or round_ones, stamp_ns, config)
        if ours and shown == LightState.UNKNOWN:  # round lights cannot tell that an unseen arrow is green
            others = _strictest(round_ones, stamp_ns, config)
            return others if others in (LightState.RED, LightState.AMBER) else LightState.UNKNOWN
        return shown

    def _heads(self, item: RouteLine) -> tuple[list[_Seen], list[_Seen]]:
        """Arrows for the path's way, and round lights; arrows for other ways say nothing."""
        heads = [self.signals[key] for key in item.line.signal_ids if key in self.signals]
        ours = [seen for seen in heads if seen.shape == ARROWS.get(item.turn)]
        return ours, [seen for seen in heads if seen.shape not in ARROWS.values()]

    def out_of_order(self, scene: Scene) -> frozenset[int]:
        """Lines ahead, by id, whose lights are all dark."""
        lines = [item for item in scene.features.lines if item.line.kind == "signal" and item.line.signal_ids]
        return frozenset(
            item.line.id for item in lines if self.state(item, scene.stamp_ns, scene.config) == LightState.OFF
        )


def _strictest(heads: list[_Seen], stamp_ns: int, config: PlannerConfig) -> LightState:
    hold = {LightState.OFF: DARK_HOLD}
    fresh = [s.state for s in heads if stamp_ns - s.stamp_ns <= hold.get(s.state, config.light_hold) * 1e9]
    for state in (LightState.RED, LightState.AMBER, LightState.GREEN, LightState.OFF):
        if state in fresh:
            return state
    return LightState.UNKNOWN


def obey_lights(scene: Scene, memory: LightMemory) -> list[Constraint]:
    """Stops at signal lines ahead."""
    out = []
    for item in scene.features.lines:
        if item.line.kind != "signal" or item.s - scene.front_s > scene.config.look_ahead:
            continue
        if scene.front_s > item.s + LINE_PASSED:
            memory.going.discard(item.line.id)
            memory.stopping.discard(item.line.id)
            continue
        state = memory.state(item, scene.stamp_ns, scene.config)
        if _must_stop(scene, item, state, memory):
            out.append(_stop(scene, item, state))
    return out


def _must_stop(scene: Scene, item: RouteLine, state: LightState, memory: LightMemory) -> bool:
    """Whether to stop; the dilemma zone is decided once and the decision kept."""
    key, config = item.line.id, scene.config
    room = item.s - scene.front_s
    begun = key in memory.stopping
    needed = scene.speed**2 / (2.0 * max(room - (0.0 if begun else REACTION) * scene.speed - 0.2, 0.05))
    if state in (LightState.GREEN, LightState.OFF):
        memory.going.discard(key)
        memory.stopping.discard(key)
        return False
    if scene.standing:
        return room > -LINE_PASSED
    if state == LightState.RED:
        if needed <= config.amber_deceleration:
            memory.going.discard(key)
        elif needed > (STILL_STOPS if begun else config.red_deceleration):
            memory.going.add(key)
        return key not in memory.going
    # braking builds up late: who has begun to stop goes on stopping; slowed down it would be over the line at red
    limit = config.amber_deceleration
    if state == LightState.AMBER and room > LATE_AMBER * scene.speed and not memory.saw_it_begin(item):
        limit = config.red_deceleration  # it may turn red before the line is reached
    if needed > (STILL_STOPS if begun else limit):
        memory.going.add(key)
    if key in memory.going:
        return False
    if state == LightState.AMBER:
        memory.stopping.add(key)
        return True
    reach = scene.speed**2 / (2.0 * config.unknown_deceleration) + 0.5 * scene.speed + WAIT_RANGE
    if room < reach:
        memory.stopping.add(key)
    return room < reach


def _stop(scene: Scene, item: RouteLine, state: LightState) -> Constraint:
    config = scene.config
    what = {LightState.RED: "red light", LightState.AMBER: "amber light"}.get(state, "light not seen")
    limit = config.amber_deceleration if state == LightState.UNKNOWN else config.red_deceleration
    distance = item.s - scene.front_s
    return Constraint(
        Kind.STOP,
        item.s - config.line_gap - scene.vehicle.front,
        Cause.RED_LIGHT,
        stop_sentence(scene.standing, f"{what} at stop line {item.line.id}", distance),
        item.line.id,
        distance,
        deceleration=limit,
    )

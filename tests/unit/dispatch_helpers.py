"""A scripted car for the dispatch tests: drives at once, boards a rider, lets the rider out."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from robotaxi.dispatch.bridge import Bridge, BridgeInput
from robotaxi.dispatch.outbox import StoredMessage
from robotaxi.dispatch.signing import Signer, Verifier
from robotaxi.types import EgoState, Goal, MissionState, MissionStatus, SystemMode, TripEvent, TripState, VehicleReport

ORIGIN = (48.137, 11.575, 520.0)
PICKUP = {"lat": 48.1380, "lon": 11.5760, "heading_deg": 90.0, "name": "Pick-up"}
DROPOFF = {"lat": 48.1400, "lon": 11.5800, "name": "Drop-off"}
STEP_NS = 100_000_000
_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
SIGNER = Signer(_KEY, "desk")
TRUST = Verifier({"desk": _KEY.public_key()})


def message(identity: str, name: str = "ack", payload: bytes = b"x", priority: int = 0) -> StoredMessage:
    return StoredMessage(identity, name, payload, priority)


@dataclass
class Car:
    """``arrives`` False: never gets to a goal."""

    arrives: bool = True
    stamp_ns: int = 0
    goal: Goal | None = None
    trip_state: TripState = TripState.IDLE
    in_state: int = 0
    goals: list[Goal] = field(default_factory=list)
    events: list[TripEvent] = field(default_factory=list)

    def inputs(self) -> BridgeInput:
        state = self.trip_state
        boarding = state is TripState.BOARDING
        mission = MissionStatus(MissionState.IDLE)
        if self.goal is not None:
            there = self.arrives and self.in_state >= 2
            mission = MissionStatus(MissionState.ARRIVED if there else MissionState.DRIVING, self.goal.goal_id, 12.0)
        report = VehicleReport(
            stamp_ns=self.stamp_ns,
            speed=0.0,
            steering=0.0,
            door_open=(state is TripState.WAITING_FOR_RIDER and self.in_state >= 2)
            or (boarding and self.in_state < 3)
            or (state is TripState.ARRIVED and self.in_state < 3),
            seat_occupied=(boarding and self.in_state >= 2)
            or state in (TripState.EN_ROUTE, TripState.AT_STOP)
            or (state is TripState.ARRIVED and self.in_state < 2),
            belt_fastened=boarding or state in (TripState.EN_ROUTE, TripState.AT_STOP),
        )
        ego = EgoState(self.stamp_ns, 10.0, 20.0, 0.5, 3.0)
        return BridgeInput(self.stamp_ns, ego, mission, report, SystemMode.AUTONOMOUS, "", "Driving at the limit.")

    def step(self, bridge: Bridge) -> None:
        output = bridge.step(self.inputs())
        self.in_state = self.in_state + 1 if output.trip_state is self.trip_state else 0
        self.trip_state, self.goal = output.trip_state, output.goal
        self.events += output.events
        if output.goal is not None and (not self.goals or output.goal != self.goals[-1]):
            self.goals.append(output.goal)
        self.stamp_ns += STEP_NS

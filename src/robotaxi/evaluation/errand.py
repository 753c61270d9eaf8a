"""What a ride is for: pick-up, boarding, drop-off, as the goals that the planner gets."""

from __future__ import annotations

from dataclasses import dataclass

from robotaxi.sim.ride_plan import RidePlan
from robotaxi.types import Goal, MissionState

BOARDING_NS = 4_000_000_000


@dataclass
class Errand:
    """Goals in order. ``leg``: 0 to the pick-up, 1 boarding, 2 to the drop-off."""

    plan: RidePlan
    leg: int = 0
    board_until_ns: int = 0
    done: bool = False
    failed: str = ""

    @property
    def boarding(self) -> bool:
        return self.leg == 1

    def goal(self, now: int) -> Goal:
        """What the planner is told at this time."""
        if self.leg == 1 and now < self.board_until_ns:
            return Goal("", 0.0, 0.0, hold=True)
        if self.leg == 1:
            self.leg = 2
        place = self.plan.pickup if self.leg == 0 else self.plan.dropoff
        return Goal("pickup" if self.leg == 0 else "dropoff", place.x, place.y, place.yaw)

    def update(self, state: MissionState, goal_id: str, now: int, reason: str = "") -> None:
        """Take what the planner says of its mission."""
        if state is MissionState.UNREACHABLE:
            self.failed = f"unreachable: {reason}"
        if state is MissionState.ARRIVED and goal_id == "pickup" and self.leg == 0:
            self.leg, self.board_until_ns = 1, now + BOARDING_NS
        self.done = self.done or (state is MissionState.ARRIVED and goal_id == "dropoff")

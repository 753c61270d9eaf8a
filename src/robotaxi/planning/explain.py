"""Exactly one cause: the constraint that holds the car below the speed that it would drive."""

from __future__ import annotations

import numpy as np

from robotaxi.planning.constraint import Constraint, Kind
from robotaxi.planning.motion.rollout import ROAD, Rollout
from robotaxi.planning.pull_over import PULL_OVER
from robotaxi.planning.reference import Reference
from robotaxi.types import Cause, Explanation, Goal, MissionState, MissionStatus

WINDOW = 3.0  # s of the plan that are explained
SLOWER = 0.95  # a speed below this share of the limit is slowing
KMH = 3.6  # km/h in a m/s


def explain(
    rollout: Rollout,
    times: np.ndarray,
    constraints: list[Constraint],
    reference: Reference,
    curve_source: np.ndarray,
    s: float,
    speed: float,
    front: float,
) -> Explanation:
    """The binding constraint with the lowest speed in the next three seconds."""
    near = times <= WINDOW
    bound = rollout.binding[near]
    held = np.flatnonzero(bound >= 0)
    if held.size:
        k = int(held[np.argmin(rollout.allowed[near][held])])
        item = constraints[int(bound[k])]
        slowing = item.kind != Kind.LEAD or rollout.allowed[k] < SLOWER * reference.speed_limit[reference.index(s)]
        return Explanation(item.cause, item.sentence, bool(slowing), item.subject_id, float(item.distance))
    limit = float(reference.speed_limit[reference.index(s)])
    on_road = np.flatnonzero(bound == ROAD)
    if on_road.size:
        k = int(on_road[np.argmin(rollout.allowed[near][on_road])])
        at = reference.index(float(rollout.s[k]))
        source = int(curve_source[at])
        if source >= 0 and rollout.allowed[k] < SLOWER * reference.speed_limit[at]:
            ahead = float(reference.s[source]) - s
            if reference.speed_limit[source] < SLOWER * limit and abs(reference.curvature[source]) < 0.01:
                slower = reference.speed_limit[source] * KMH
                text = f"Slowing to the speed limit of {slower:.0f} km/h, {max(ahead, 0.0):.0f} m ahead."
                return Explanation(Cause.CRUISE, text, True, 0, max(ahead - front, 0.0))
            where = f", {ahead:.0f} m ahead" if ahead > 2.0 else ""
            return Explanation(Cause.CURVE, f"Slowing for the curve{where}.", True, 0, max(ahead, 0.0))
    return Explanation(Cause.CRUISE, f"Driving at {speed * KMH:.0f} km/h, limit {limit * KMH:.0f} km/h.")


def explain_standing(status: MissionStatus, goal: Goal | None, standing: bool) -> Explanation:
    """Why the car stands, or comes to a stand, where no way is driven."""
    if status.state == MissionState.UNREACHABLE:
        return Explanation(Cause.NO_ROUTE, f"Standing: {status.reason}", True)
    if status.state == MissionState.ARRIVED:
        pulled_over = status.goal_id.endswith(PULL_OVER)
        where = "beside the road: pulled over" if pulled_over else f"at the goal {status.goal_id}"
        return Explanation(Cause.GOAL, f"Standing {where}.", True)
    if status.state == MissionState.DRIVING:
        return Explanation(Cause.BOARDING, f"{'Standing' if standing else 'Stopping'}: a door is open.", True)
    if goal is None:
        return Explanation(Cause.NO_ROUTE, "Standing: no goal.", True)
    place = goal.goal_id.rpartition("/")[2]  # bridges end goal ids with /pickup, /dropoff or /held
    sentence = {
        "held": f"{'Standing' if standing else 'Stopping'}: a dispatcher asked for it.",
        "pickup": "Standing at the pick-up for boarding.",
        "dropoff": "Standing at the drop-off while the rider gets out.",
    }.get(place, "Standing: told to hold.")
    return Explanation(Cause.BOARDING, sentence, True)

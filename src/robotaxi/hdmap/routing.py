"""Lane-level routes: Dijkstra over the lane graph by driving time.

Edges are successors and lane changes. A change costs ``LANE_CHANGE_TIME``, more on short lanes, so
that routes change lanes where there is room and only where they must. Closed stretches are not driven;
lanes that are ``shunned`` cost several times their driving time, so that another way is found where there is one.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from robotaxi.hdmap.closures import Closures, open_until
from robotaxi.hdmap.lane_map import LaneMatch, Route, RouteError, StoppingPlace
from robotaxi.types import Pose2

if TYPE_CHECKING:
    from robotaxi.hdmap.lane_map import LaneMap

LANE_CHANGE_TIME = 8.0  # s of driving that one lane change may save at least
MIN_CHANGE_LENGTH = 25.0  # m of lane needed to change out of or into it
MAX_DISTANCE = 6.0  # m from a pose to the lane that it is on or beside
SAME_PLACE = 1.0  # m: a goal this near to a stopping place's pose means that place
OVERLAP = 0.5  # m: lanes this much farther than the nearest are candidates too (they overlap in junctions)
BACKWARD_SLACK = 0.1  # m: a goal this little behind the start counts as reached
SHUN_FACTOR = 4.0  # how much longer a shunned lane seems to be
SHUN_TIME = 10.0  # s that it seems to take on top, so that short ones count


def find_route(
    lane_map: LaneMap,
    start: Pose2 | LaneMatch,
    goal: StoppingPlace | Pose2 | Sequence[float],
    closed: Closures | None = None,
    shunned: Collection[int] = (),
) -> Route:
    """See `LaneMap.route`. ``start``: also a place on one lane, then the route begins on that lane."""
    closed = closed or {}
    if isinstance(start, LaneMatch):
        starts = [start]
        x, y = (float(value) for value in lane_map.lane_point(start.lane_id, start.s)[:2])
    else:
        starts = _candidates(lane_map, "start", start.x, start.y, start.yaw)
        x, y = start.x, start.y
    place = goal if isinstance(goal, StoppingPlace) else _place_at(lane_map, goal)
    if place is not None:
        goals = [LaneMatch(place.lane_id, place.s, place.offset, 0.0)]
        text = f"'{place.name}'"
    else:
        to_x, to_y, yaw = _xy_yaw(goal)
        goals = _candidates(lane_map, "goal", to_x, to_y, yaw)
        text = f"({to_x:.1f}, {to_y:.1f})"
    found = _search(lane_map, starts, goals, closed, frozenset(shunned))
    if found is None:
        why = f"every way leads over one of {len(closed)} closed lanes" if closed else "no connected lanes"
        raise RouteError(
            f"no route from ({x:.1f}, {y:.1f}) to {text}: lane {goals[0].lane_id} cannot be reached "
            f"from lane {starts[0].lane_id}, {why}"
        )
    first, last, lane_ids, changes = found
    length = _length(lane_map, lane_ids, changes, first.s, last.s)
    if place is not None:
        return Route(lane_ids, changes, first.s, last.s, place.offset, place.pose[2], length)
    return Route(lane_ids, changes, first.s, last.s, 0.0, lane_map.lane_yaw(last.lane_id, last.s), length)


def _xy_yaw(goal: object) -> tuple[float, float, float | None]:
    if isinstance(goal, Pose2):
        return goal.x, goal.y, goal.yaw
    values = [float(v) for v in goal]  # type: ignore[attr-defined]
    if len(values) not in (2, 3):
        raise RouteError(f"a goal is (x, y) or (x, y, yaw), not {len(values)} numbers")
    return values[0], values[1], values[2] if len(values) == 3 else None


def _place_at(lane_map: LaneMap, goal: object) -> StoppingPlace | None:
    x, y, _ = _xy_yaw(goal)
    near = [
        (math.hypot(p.pose[0] - x, p.pose[1] - y), p.id)
        for p in lane_map.stopping_places.values()
        if math.hypot(p.pose[0] - x, p.pose[1] - y) <= SAME_PLACE
    ]
    return lane_map.stopping_places[min(near)[1]] if near else None


def _candidates(lane_map: LaneMap, what: str, x: float, y: float, yaw: float | None) -> list[LaneMatch]:
    if not (math.isfinite(x) and math.isfinite(y) and (yaw is None or math.isfinite(yaw))):
        raise RouteError(f"{what} ({x}, {y}) is not a position")
    matches = lane_map.nearest_lanes(x, y, yaw, MAX_DISTANCE)
    if not matches:
        distance = lane_map.index.distance(x, y)
        why = "is not in the direction of any lane" if distance <= MAX_DISTANCE else "is off the road"
        raise RouteError(f"{what} ({x:.1f}, {y:.1f}) {why}: it is {distance:.0f} m from the nearest lane")
    gaps = [lane_map.gap(m, x, y) for m in matches]
    return [m for m, gap in zip(matches, gaps, strict=True) if gap <= min(gaps) + OVERLAP]


_Found = tuple[LaneMatch, LaneMatch, tuple[int, ...], tuple[bool, ...]]


def _search(
    lane_map: LaneMap, starts: list[LaneMatch], goals: list[LaneMatch], closed: Closures, shunned: frozenset[int]
) -> _Found | None:
    """Cheapest way. A state is (lane, entered at its beginning or on the way); costs are paid per lane
    when it is left or the goal on it is reached."""
    lanes = lane_map.lanes
    goal_on = {goal.lane_id: goal for goal in reversed(goals)}
    counter = 0
    # entry: cost so far, order, lane, s where the lane is entered, state key, parent key, by change
    heap: list[tuple[float, int, int, float, tuple[int, int], tuple[int, int] | None, bool]] = []
    start_of: dict[tuple[int, int], LaneMatch] = {}
    for k, match in enumerate(starts):
        key = (match.lane_id, -1 - k)
        start_of[key] = match
        heapq.heappush(heap, (abs(match.offset), counter, match.lane_id, match.s, key, None, False))
        counter += 1
    done: dict[tuple[int, int], tuple[tuple[int, int] | None, bool]] = {}
    finish: list[tuple[float, int, tuple[int, int], LaneMatch]] = []
    while heap:
        if finish and heap[0][0] >= finish[0][0]:
            break
        cost, _, lane_id, s, key, parent, changed = heapq.heappop(heap)
        if key in done:
            continue
        done[key] = (parent, changed)
        lane = lanes[lane_id]
        goal = goal_on.get(lane_id)
        room = MIN_CHANGE_LENGTH if changed else 0.0
        end = open_until(closed, lane_id, lane.length, s)
        factor, on_top = (SHUN_FACTOR, SHUN_TIME) if lane_id in shunned else (1.0, 0.0)
        reachable = goal is not None and (goal.s < end or end == lane.length)
        if goal is not None and reachable and goal.s >= s + room - BACKWARD_SLACK:
            counter += 1
            heapq.heappush(finish, (cost + factor * (goal.s - s) / lane.speed_limit, counter, key, goal))
        left_to_drive = end - s
        for successor in lane.successors if end == lane.length else ():
            counter += 1
            after = cost + factor * left_to_drive / lane.speed_limit + on_top
            heapq.heappush(heap, (after, counter, successor, 0.0, (successor, 0), key, False))
        if left_to_drive >= MIN_CHANGE_LENGTH + room:
            for neighbour in (lane.left_neighbour, lane.right_neighbour):
                if neighbour is None:
                    continue
                counter += 1
                at = min(s + room, lane.length) / lane.length * lanes[neighbour].length
                after = cost + LANE_CHANGE_TIME * (1.0 + MIN_CHANGE_LENGTH / left_to_drive)
                # Where along the lane it was entered decides what can follow, to the metre.
                heapq.heappush(heap, (after, counter, neighbour, at, (neighbour, 1 + int(at)), key, True))
    if not finish:
        return None
    _, _, key, goal = finish[0]
    lane_ids, changes = [key[0]], []
    while True:
        parent, changed = done[key]
        if parent is None:
            break
        lane_ids.append(parent[0])
        changes.append(changed)
        key = parent
    return start_of[key], goal, tuple(reversed(lane_ids)), tuple(reversed(changes))


def _length(
    lane_map: LaneMap, lane_ids: tuple[int, ...], changes: tuple[bool, ...], start_s: float, goal_s: float
) -> float:
    """Metres along the lanes; a stretch that is driven beside a lane change counts once."""
    total, share = 0.0, start_s / lane_map.lanes[lane_ids[0]].length
    for lane_id, change in zip(lane_ids[:-1], changes, strict=True):
        if not change:
            total += (1.0 - share) * lane_map.lanes[lane_id].length
            share = 0.0
    return total + goal_s - share * lane_map.lanes[lane_ids[-1]].length


def lengthened(lane_map: LaneMap, route: Route, first: int, s: float, last: int, onward: Route) -> Route:
    """``onward`` begun earlier: the car is at arc length ``s`` of lane number ``first`` of ``route``, keeps to that
    route up to its lane number ``last``, and goes on along ``onward``, which begins on that lane."""
    lane_ids = (*route.lane_ids[first:last], *onward.lane_ids)
    change = (*route.change[first:last], *onward.change)
    length = _length(lane_map, lane_ids, change, s, onward.goal_s)
    return Route(lane_ids, change, s, onward.goal_s, onward.goal_offset, onward.goal_yaw, length)

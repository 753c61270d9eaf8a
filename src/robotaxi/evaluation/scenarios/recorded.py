"""What a bag recorded, as a scenario: the ego begins where it was, the others move as they were tracked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from robotaxi.types import FloatArray, LightState, ObjectClass, Pose2, RecordArray

KINDS = {
    ObjectClass.UNKNOWN: "box", ObjectClass.CAR: "car", ObjectClass.TRUCK: "truck", ObjectClass.BICYCLE: "bicycle",
    ObjectClass.PEDESTRIAN: "pedestrian",
}  # fmt: skip
COLOURS = {LightState.RED: "red", LightState.AMBER: "amber", LightState.GREEN: "green", LightState.OFF: "off"}
SHORTEST = 0.5  # s; what was tracked for less may have been nothing
STANDING = 0.8  # m; who got no farther from where it was first seen stood, a track wanders so much
SPACING = 0.5  # m between the points of a way


@dataclass(frozen=True)
class Recorded:
    """Somebody tracked. ``times`` (N,) s since the clip's start, rising from 0; ``points`` (N, 2) of the box's centre
    in the map; one row for who stood. ``heading`` (rad) and ``speed`` (m/s) at the start."""

    name: str
    kind: str
    length: float
    width: float
    height: float
    heading: float
    speed: float
    times: FloatArray
    points: FloatArray


@dataclass(frozen=True)
class Clip:
    """``lights``: signal's id to (s since the start, colour), as seen. ``ego_size``: length, width, height, and m from
    the rear axle to the middle. ``goal`` None: it did not get anywhere. ``duration`` s."""

    description: str
    map: str
    start: Pose2
    speed: float
    goal: Pose2 | None
    ego_size: tuple[float, float, float, float]
    others: tuple[Recorded, ...]
    lights: Mapping[int, tuple[tuple[float, str], ...]]
    duration: float


def others_of(objects: Sequence[tuple[float, RecordArray]]) -> tuple[Recorded, ...]:
    """The tracks in ``objects``: (s since the clip's start, rows of OBJECT_DTYPE), in order.

    Who was seen only later came from where its first velocity says; who stood was there from the start.
    """
    seen: dict[int, list[tuple[float, np.void]]] = {}
    for t, rows in objects:
        for row in rows:
            seen.setdefault(int(row["id"]), []).append((t, row))
    return tuple(_track(key, rows) for key, rows in sorted(seen.items()) if rows[-1][0] - rows[0][0] >= SHORTEST)


def _track(key: int, rows: list[tuple[float, np.void]]) -> Recorded:
    times = np.array([t for t, _ in rows])
    values = np.array([[float(row[name]) for name in ("x", "y", "length", "width", "height")] for _, row in rows])
    points, (length, width, height) = values[:, :2], np.median(values[:, 2:], axis=0).tolist()
    labels = [int(row["label"]) for _, row in rows]
    kind = KINDS[ObjectClass(max(set(labels), key=labels.count))]
    first = rows[0][1]
    name = f"{kind}_{key}"
    if np.hypot(*(points - points[0]).T).max() < STANDING:
        middle, heading = np.median(points, axis=0), float(rows[len(rows) // 2][1]["yaw"])
        return Recorded(name, kind, length, width, height, heading, 0.0, np.zeros(1), middle[None])
    kept = _apart(points)
    times, points = times[kept], points[kept]
    velocity = np.array([float(first["vx"]), float(first["vy"])])
    if times[0] > 0.0:
        before = points[0] - velocity * times[0]
        if np.hypot(*(points[0] - before)) >= SPACING:
            times, points = np.concatenate([[0.0], times]), np.concatenate([before[None], points])
        else:
            times[0] = 0.0
    way = points[1] - points[0]
    speed = float(np.hypot(*way) / (times[1] - times[0]))
    heading = float(np.arctan2(way[1], way[0]))
    return Recorded(name, kind, length, width, height, heading, speed, times, points)


def _apart(points: FloatArray) -> list[int]:
    """Which points are a way of `SPACING`: tracks of who stands still wander, and have no direction."""
    kept = [0]
    for k in range(1, len(points)):
        if np.hypot(*(points[k] - points[kept[-1]])) >= SPACING:
            kept.append(k)
    return kept


def lights_of(lights: Sequence[tuple[float, RecordArray]]) -> dict[int, tuple[tuple[float, str], ...]]:
    """When each signal changed its colour; the first holds from the start. ``lights``: rows of LIGHT_DTYPE."""
    out: dict[int, list[tuple[float, str]]] = {}
    for t, rows in lights:
        for row in rows:
            colour = COLOURS.get(LightState(int(row["state"])))
            course = out.setdefault(int(row["signal_id"]), [])
            if colour is not None and (not course or course[-1][1] != colour):
                course.append((t if course else 0.0, colour))
    return {key: tuple(course) for key, course in sorted(out.items()) if course}

"""The map that the desk's page draws: lanes as lines of latitude and longitude, thinned."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.hdmap.lane_map import LaneMap

TOLERANCE = 0.15  # m that a thinned line may be off
DIGITS = 7  # of a degree: a centimetre


def map_of(lane_map: LaneMap) -> dict[str, Any]:
    """``lanes``: each with ``left``, ``right``, ``center`` as [lat, lon, ...], its ``id`` and whether it lies in a
    junction; ``places``: stopping places by name."""
    frame = LocalFrame(*lane_map.origin)
    lanes = []
    for lane in lane_map.lanes.values():
        keep = _thinned(lane.centerline[:, :2])
        lanes.append(
            {
                "id": lane.id,
                "junction": lane.junction_id is not None,
                "left": _line(frame, lane.left[keep]),
                "right": _line(frame, lane.right[keep]),
                "center": _line(frame, lane.centerline[keep]),
            }
        )
    places = []
    for place in lane_map.stopping_places.values():
        x, y, yaw = place.pose
        lat, lon, _ = frame.to_geodetic(x, y)
        heading = (90.0 - math.degrees(yaw)) % 360.0
        places.append(
            {"name": place.name, "lat": round(lat, DIGITS), "lon": round(lon, DIGITS), "heading_deg": heading}
        )
    return {"origin": list(lane_map.origin[:2]), "lanes": lanes, "places": places}


def _line(frame: LocalFrame, points: Any) -> list[float]:
    line: list[float] = []
    for point in points:
        lat, lon, _ = frame.to_geodetic(float(point[0]), float(point[1]))
        line += [round(lat, DIGITS), round(lon, DIGITS)]
    return line


def _thinned(points: Any) -> list[int]:
    """Indices of the points that a line needs (Douglas and Peucker, The Canadian Cartographer 10(2), 1973)."""
    keep = {0, len(points) - 1}
    stack = [(0, len(points) - 1)]
    while stack:
        first, last = stack.pop()
        if last - first < 2:
            continue
        along = points[last] - points[first]
        length = float(np.hypot(*along)) or 1.0
        offsets = points[first + 1 : last] - points[first]
        distance = np.abs(along[0] * offsets[:, 1] - along[1] * offsets[:, 0]) / length
        worst = int(np.argmax(distance))
        if distance[worst] > TOLERANCE:
            middle = first + 1 + worst
            keep.add(middle)
            stack += [(first, middle), (middle, last)]
    return sorted(keep)

"""The road: LaneMap and its readers and writers."""

from robotaxi.hdmap.lane_map import (
    Crosswalk,
    Lane,
    LaneMap,
    LaneMatch,
    MapError,
    Route,
    RouteError,
    Signal,
    StopLine,
    StoppingPlace,
)
from robotaxi.hdmap.load import known_maps, load_map

__all__ = [
    "Crosswalk",
    "Lane",
    "LaneMap",
    "LaneMatch",
    "MapError",
    "Route",
    "RouteError",
    "Signal",
    "StopLine",
    "StoppingPlace",
    "known_maps",
    "load_map",
]

"""Occupancy grids as nav_msgs/OccupancyGrid."""

from __future__ import annotations

from typing import Any

from robotaxi.nodes.records import TYPES, header
from robotaxi.types import OccupancyGrid


def to_occupancy_grid(grid: OccupancyGrid, stamp_ns: int) -> Any:
    """A message of rosbags' types in ``base_link``."""
    types, head = TYPES.types, header(stamp_ns, "base_link")
    origin = types["geometry_msgs/msg/Pose"](
        position=types["geometry_msgs/msg/Point"](x=grid.x, y=grid.y, z=0.0),
        orientation=types["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0),
    )
    height, width = grid.cells.shape
    info = types["nav_msgs/msg/MapMetaData"](
        map_load_time=head.stamp, resolution=grid.resolution, width=width, height=height, origin=origin
    )
    return types["nav_msgs/msg/OccupancyGrid"](header=head, info=info, data=grid.cells.reshape(-1))

"""What stands along the roads of a map: a pure function of the map, the same on every ride.

    scenery = build_scenery(load_map("town"))

Lidar and camera look at ``scenery.mesh``; contact is checked against ``scenery.obstacles``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robotaxi.hdmap.lane_map import LaneMap, Signal
from robotaxi.sim.mesh import Mesh, join
from robotaxi.sim.scenery.config import SceneryConfig
from robotaxi.sim.scenery.ground import ground_mesh
from robotaxi.sim.scenery.layout import Layout, make_layout
from robotaxi.sim.scenery.markings import markings_mesh
from robotaxi.sim.scenery.objects import objects_mesh
from robotaxi.sim.scenery.obstacles import OBSTACLE_BOX_DTYPE, obstacle_boxes
from robotaxi.sim.scenery.parking import place_parked
from robotaxi.sim.scenery.placement import Placement, place_all
from robotaxi.sim.scenery.road_users import road_users_mesh
from robotaxi.sim.scenery.shadows import ShadowMap, bake_shadows, sun_direction
from robotaxi.types import FloatArray, RecordArray

__all__ = ["OBSTACLE_BOX_DTYPE", "Scenery", "SceneryConfig", "build_scenery"]


@dataclass(frozen=True)
class Scenery:
    """Everything of the world that never moves.

    ``mesh``: all of it as triangles in map, parked cars included; ``instance`` (T,) the id of the
    parked car that a triangle belongs to, else 0. ``parked``: AGENT_DTYPE.
    ``obstacles``: OBSTACLE_BOX_DTYPE. ``signals``: the heads whose lamps the camera draws, by id order.
    """

    mesh: Mesh
    instance: NDArray[np.uint32]
    parked: RecordArray
    obstacles: RecordArray
    signals: tuple[Signal, ...]
    shadows: ShadowMap
    sun: FloatArray  # (3,) unit vector towards the sun
    layout: Layout
    placement: Placement


def build_scenery(lane_map: LaneMap, config: SceneryConfig | None = None) -> Scenery:
    """Build up the roadside of any map. Raises MapError for a map without usable lanes."""
    config = config or SceneryConfig()
    parked, parking_strips = place_parked(lane_map, config)
    layout = make_layout(lane_map, config, parking_strips)
    placement = place_all(lane_map, layout, parking_strips, config)
    parked["z"] = layout.height.at(np.stack([parked["x"], parked["y"]], axis=1))
    fixed = join([ground_mesh(layout, config), markings_mesh(lane_map), objects_mesh(lane_map, placement)])
    cars, owner = road_users_mesh(parked, detail=True)
    return Scenery(
        mesh=join([fixed, cars]),
        instance=np.concatenate([np.zeros(len(fixed), np.uint32), parked["id"][owner]]),
        parked=parked,
        obstacles=obstacle_boxes(lane_map, placement, parked),
        signals=tuple(signal for _, signal in sorted(lane_map.signals.items())),
        shadows=bake_shadows(layout, placement, parked, config),
        sun=sun_direction(config),
        layout=layout,
        placement=placement,
    )

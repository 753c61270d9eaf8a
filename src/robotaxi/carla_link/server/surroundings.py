"""What there is around the lanes of a town: scenery to see, walls to run into, objects to list, ground to walk on."""

from __future__ import annotations

import hashlib
import logging
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely

from robotaxi.carla_link.server import wire
from robotaxi.carla_link.server.blueprints import Tag
from robotaxi.carla_link.server.navigation import navigation_mesh
from robotaxi.carla_link.server.sensors import Scene
from robotaxi.carla_link.server.town import Town
from robotaxi.sim.scenery import build_scenery
from robotaxi.sim.view import AGENT_DTYPE
from robotaxi.types import RecordArray

LOG = logging.getLogger("robotaxi.carla_server")
ANY = 255  # carla.CityObjectLabel.Any
_TAGS = {
    "building": Tag.BUILDINGS,
    "tree": Tag.VEGETATION,
    "lamp": Tag.POLES,
    "mast": Tag.POLES,
    "stop": Tag.TRAFFIC_SIGNS,
    "yield": Tag.TRAFFIC_SIGNS,
    "limit": Tag.TRAFFIC_SIGNS,
    "parked": Tag.CAR,
}


@dataclass(frozen=True)
class Thing:
    """An upright box on the ground. ``middle`` in map, ``yaw`` rad, ``extent`` half sizes."""

    id: int
    name: str
    tag: Tag
    middle: tuple[float, float, float]
    yaw: float
    extent: tuple[float, float, float]

    def box(self) -> list[Any]:
        """In the world, as CARLA's level boxes are."""
        x, y, z = self.middle
        return wire.bounding_box((x, -y, z), self.extent, (0.0, -math.degrees(self.yaw), 0.0))

    def wire(self) -> list[Any]:
        x, y, z = self.middle
        place = wire.transform((x, -y, z - self.extent[2]), (0.0, -math.degrees(self.yaw), 0.0))
        return [place, self.box(), self.id, self.name, int(self.tag)]


def things_of(obstacles: RecordArray) -> list[Thing]:
    """One for each of the scenery's ``obstacles`` (OBSTACLE_BOX_DTYPE), in their order."""
    out: list[Thing] = []
    for k, o in enumerate(obstacles):
        kind, height = str(o["kind"]), float(o["height"])
        middle = (float(o["x"]), float(o["y"]), float(o["z"]) + height / 2.0)
        extent = (float(o["length"]) / 2.0, float(o["width"]) / 2.0, height / 2.0)
        out.append(Thing(k + 1, f"{kind}_{k + 1}", _TAGS.get(kind, Tag.STATIC), middle, float(o["yaw"]), extent))
    return out


@dataclass(frozen=True)
class Surroundings:
    """``scene`` None: nothing can be seen, and sensors that look are refused. ``walls``: oriented boxes, AGENT_DTYPE or
    OBSTACLE_BOX_DTYPE. ``navigation``: the mesh that pedestrians walk on, empty where there is none."""

    scene: Scene | None
    walls: RecordArray
    things: list[Thing]
    navigation: bytes
    navigation_file: str


def surroundings_of(town: Town, *, rendering: bool) -> Surroundings:
    """Without ``rendering`` there are lanes, and pavements beside them, but nothing stands there."""
    if rendering:
        scenery = build_scenery(town.lane_map)
        scene, walls, layout = Scene(scenery), scenery.obstacles, scenery.layout
        scene.warm_up()
        things = things_of(walls)
    else:
        scene, walls, layout, things = None, np.zeros(0, AGENT_DTYPE), None, []
    try:
        navigation = navigation_mesh(town.lane_map, layout, walls)
    except (shapely.errors.GEOSException, ValueError) as error:  # outlines that cross themselves beyond repair
        LOG.warning("'%s' has no ground that pedestrians find their way on: %s", town.name, error)
        navigation = b""
    # a client keeps files by their names, so the name tells the contents
    name = f"Carla/Maps/Nav/{town.name}-{hashlib.sha256(navigation).hexdigest()[:12]}.bin"
    return Surroundings(scene, walls, things, navigation, name)

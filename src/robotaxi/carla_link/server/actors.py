"""What lives in an episode: one record an actor, whatever its kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robotaxi.carla_link.frames import carla_from_map
from robotaxi.carla_link.server import wire
from robotaxi.carla_link.server.blueprints import Body
from robotaxi.types import FloatArray


@dataclass
class Actor:
    """``T`` (4x4) is its pose in map, for an attached one ``T_parent`` in its parent's frame. Velocities are
    in map. ``description`` is what the client asked for: [uid, type id, [[id, type, value]]]."""

    id: int
    type_id: str
    description: list[Any]
    attributes: dict[str, str]
    T: FloatArray
    body: Body | None = None
    parent: int = 0
    T_parent: FloatArray | None = None
    stream: int = 0
    velocity: FloatArray = field(default_factory=lambda: np.zeros(3))
    angular_velocity: FloatArray = field(default_factory=lambda: np.zeros(3))
    acceleration: FloatArray = field(default_factory=lambda: np.zeros(3))
    physics: bool = True
    collisions: bool = True
    # walkers
    direction: FloatArray = field(default_factory=lambda: np.zeros(3))
    speed: float = 0.0
    jump: bool = False
    # vehicles
    light_state: int = 0
    physics_control: list[Any] | None = None  # as a client has set it
    ackermann_settings: list[float] = field(default_factory=lambda: [0.15, 0.0, 0.25, 0.01, 0.0, 0.01])
    # lights and signs: the box that they watch
    box: list[Any] | None = None
    # sensors: simulated time of the next measurement, and of the last
    due: float = 0.0
    measured: float | None = None
    _posed: tuple[FloatArray, tuple[list[float], list[float]]] | None = None

    def __post_init__(self) -> None:
        self.kind = self.type_id.split(".", 1)[0]  # vehicle, walker, sensor ...

    def carla_pose(self) -> tuple[list[float], list[float]]:
        """Location and rotation; ``T`` is replaced, never changed, so it is worked out once for each."""
        if self._posed is None or self._posed[0] is not self.T:
            self._posed = (self.T, carla_from_map(self.T))
        return self._posed[1]

    def wire(self, token: bytes) -> list[Any]:
        tag = bytes([self.body.tag]) if self.body else b""
        size = self.body.size if self.body else (0.0, 0.0, 0.0)
        middle = 0.0 if self.kind == "walker" else size[2] / 2.0
        box = self.box or wire.bounding_box((0.0, 0.0, middle), [v / 2.0 for v in size], actor=self.id)
        return [self.id, self.parent, self.description, box, tag, token]

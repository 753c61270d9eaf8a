"""CARLA bridge node: a CARLA server in the place of the built-in simulator, behind the same topics.

It owns the clock as the simulator does: a frame of the server is asked for when the commands that count are here.
"""

from __future__ import annotations

from typing import Any

from robotaxi.carla_link.bridge.connection import CarlaOptions, parse_address
from robotaxi.carla_link.bridge.world import CarlaRig, CarlaWorld
from robotaxi.hdmap.lane_map import LaneMap
from robotaxi.interfaces import INTERFACES
from robotaxi.nodes.simulator import SimulatorNode
from robotaxi.sensor_rig import SensorRig
from robotaxi.sim.cabin import RiderPlan
from robotaxi.sim.ride_plan import RidePlan
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import VehicleParams

_TOPIC_OF = {
    "lidar": "sensing/lidar/top/pointcloud",
    "camera": "sensing/camera/front/image_raw",
    "gnss": "sensing/gnss/fix",
}


class CarlaBridgeNode(SimulatorNode):
    name = "carla_bridge"

    def make_world(
        self, lane_map: LaneMap, vehicle: VehicleParams, spec: SensorRig, plan: RidePlan, seed: int
    ) -> tuple[Any, Any]:
        host, port = parse_address(str(self.parameter("carla", "127.0.0.1:2000")))
        options = CarlaOptions(
            host=host,
            port=port,
            role_name=str(self.parameter("role_name", "hero")),
            blueprint=str(self.parameter("blueprint", "vehicle.tesla.model3")),
            traffic=int(self.parameter("carla_traffic", 0)),
            seed=seed,
        )
        rider = RiderPlan((plan.pickup.x, plan.pickup.y), (plan.dropoff.x, plan.dropoff.y))
        world = CarlaWorld(
            options,
            lane_map,
            vehicle,
            spec,
            self.config(WorldConfig, "world"),
            plan.start,
            (rider,),
            lambda sensor: INTERFACES[_TOPIC_OF[sensor]].phase_ns,
            camera=self._camera,
        )
        return world, CarlaRig(world, spec, lane_map.origin, seed)

    def _warm_up(self) -> None:
        """Nothing to compile here; the server is warm when it answers."""

    def close(self) -> None:
        super().close()
        world = getattr(self, "_world", None)
        if world is not None:
            world.close()

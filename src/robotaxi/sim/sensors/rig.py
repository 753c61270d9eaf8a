"""All simulated sensors of one vehicle, as its sensor rig file mounts them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robotaxi.sensor_rig import SensorRig
from robotaxi.sim.scenery import Scenery
from robotaxi.sim.sensors.camera import Camera
from robotaxi.sim.sensors.gnss import Gnss
from robotaxi.sim.sensors.imu import Imu
from robotaxi.sim.sensors.lidar import Lidar
from robotaxi.sim.sensors.wheels import Wheels
from robotaxi.sim.view import WorldView
from robotaxi.types import GnssFix, ImuSample, RecordArray, VehicleReport


class SimulatedRig:
    """``origin``: (lat_deg, lon_deg, alt) of map (0, 0, 0). Cameras are built when first used."""

    def __init__(self, scenery: Scenery, rig: SensorRig, origin: tuple[float, float, float], seed: int) -> None:
        self._scenery, self._rig, self._seed = scenery, rig, seed
        name, lidar = next(iter(rig.lidars.items()))
        self._lidar = Lidar(scenery, lidar, seed, f"lidar_{name}")
        self._gnss = Gnss(rig.gnss, origin, seed)
        self._imu = Imu(rig.imu, seed)
        self._wheels = Wheels(rig.wheels, seed)
        self._cameras: dict[str, Camera] = {}

    def lidar(self, view: WorldView) -> RecordArray:
        """One sweep in the frame of the first lidar; see `Lidar.sweep`."""
        return self._lidar.sweep(view)

    def camera(self, name: str, view: WorldView) -> NDArray[np.uint8]:
        """(H, W, 3) BGR of the camera ``name``."""
        if name not in self._cameras:
            self._cameras[name] = Camera(self._scenery, self._rig.cameras[name], self._seed, name)
        return self._cameras[name].render(view)

    def gnss(self, view: WorldView) -> GnssFix:
        return self._gnss.measure(view.ego, view.conditions is None or view.conditions.satellites)

    def imu(self, view: WorldView) -> ImuSample:
        return self._imu.measure(view.ego)

    def wheels(self, view: WorldView, report: VehicleReport) -> VehicleReport:
        """What the vehicle bus says: noisy speed and tyre angle, and the cabin as it is."""
        return self._wheels.measure(
            view.ego,
            door_open=report.door_open,
            seat_occupied=report.seat_occupied,
            belt_fastened=report.belt_fastened,
            energy=report.energy,
        )

"""GNSS receiver of RTK-fixed grade: the antenna's WGS 84 position with white and correlated errors."""

from __future__ import annotations

import math

import numpy as np

from robotaxi.geometry.geodesy import LocalFrame
from robotaxi.sensor_rig import GnssSpec
from robotaxi.sim.events.conditions import sigma_without_satellites
from robotaxi.sim.sensors.noise import CorrelatedNoise, generator
from robotaxi.sim.view import EgoTruth
from robotaxi.types import GnssFix


class Gnss:
    """``origin``: (latitude_deg, longitude_deg, altitude) of map (0, 0, 0), as in LaneMap."""

    def __init__(self, spec: GnssSpec, origin: tuple[float, float, float], seed: int, name: str = "gnss") -> None:
        self._spec, self._seed, self._name = spec, seed, name
        self._frame = LocalFrame(*origin)
        self._bias = CorrelatedNoise(seed, f"{name}/bias", spec.bias_sigma, spec.bias_time, 3)
        white = np.array([spec.sigma_horizontal, spec.sigma_horizontal, spec.sigma_vertical])
        self._white = white
        self._sigma = np.hypot(white, spec.bias_sigma)

    def measure(self, ego: EgoTruth, satellites: bool = True) -> GnssFix:
        """The fix at ``ego.stamp_ns``; its sigma covers the white and the correlated error. No fix without
        ``satellites``."""
        spec = self._spec
        cos, sin = math.cos(ego.yaw), math.sin(ego.yaw)
        antenna = np.array([ego.x + cos * spec.x - sin * spec.y, ego.y + sin * spec.x + cos * spec.y, ego.z + spec.z])
        white = generator(self._seed, self._name, ego.stamp_ns).standard_normal(3) * self._white
        east, north, up = (antenna + self._bias.at(ego.stamp_ns) + white).tolist()
        latitude_deg, longitude_deg, altitude = self._frame.to_geodetic(east, north, up)
        if not satellites:
            return GnssFix(ego.stamp_ns, latitude_deg, longitude_deg, altitude, sigma_without_satellites(), False)
        return GnssFix(ego.stamp_ns, latitude_deg, longitude_deg, altitude, self._sigma.copy())

"""What the sensors measured on one drive, as the nouns of the stack; and the truth where there is one."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from robotaxi.geometry.se3 import transform
from robotaxi.types import FloatArray, GnssFix, ImuSample, RecordArray, VehicleReport


@dataclass(frozen=True)
class Truth:
    """True states of base_link: ``stamps_ns`` (N,), ``pose`` (N, 4) x, y, z, yaw in map; ``speed`` (N,)."""

    stamps_ns: np.ndarray
    pose: FloatArray
    speed: FloatArray

    def at(self, stamps_ns: np.ndarray) -> FloatArray:
        """(M, 4) x, y, z, yaw, linear in between."""
        t = (self.stamps_ns - self.stamps_ns[0]) * 1e-9
        wanted = (np.asarray(stamps_ns) - self.stamps_ns[0]) * 1e-9
        columns = [np.interp(wanted, t, column) for column in (*self.pose[:, :3].T, np.unwrap(self.pose[:, 3]))]
        return np.stack(columns, axis=1)

    def poses_at(self, stamps_ns: np.ndarray) -> FloatArray:
        """(M, 4, 4) base_link in map."""
        return np.array([transform(x, y, z, yaw=yaw) for x, y, z, yaw in self.at(stamps_ns)])


@dataclass
class SensorLog:
    """Readings by stamp. ``sweeps``: (stamp_ns, records in the lidar's frame)."""

    name: str
    imu: list[ImuSample] = field(default_factory=list)
    reports: list[VehicleReport] = field(default_factory=list)
    fixes: list[GnssFix] = field(default_factory=list)
    sweeps: list[tuple[int, RecordArray]] = field(default_factory=list)
    truth: Truth | None = None
    T_base_lidar: FloatArray | None = None

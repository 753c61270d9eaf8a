"""What the sensors measured on one drive, as the nouns of the stack; and the truth where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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


class Sweeps:
    """The sweeps of a drive as (stamp_ns, records), with rising stamps, read when they are iterated over: a minute of
    them fills a gigabyte. ``read`` gives them from the first on."""

    def __init__(self, stamps_ns: Iterable[int], read: Callable[[], Iterable[tuple[int, RecordArray]]]) -> None:
        self.stamps_ns = sorted(set(stamps_ns))
        self._read = read

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def __iter__(self) -> Iterator[tuple[int, RecordArray]]:
        last: int | None = None
        for stamp, records in self._read():
            if last is None or stamp > last:
                last = stamp
                yield stamp, records


def held(sweeps: list[tuple[int, RecordArray]]) -> Sweeps:
    """Sweeps that are in memory."""
    return Sweeps([stamp for stamp, _ in sweeps], lambda: sweeps)


@dataclass
class SensorLog:
    """Readings by stamp. ``sweeps``: (stamp_ns, records in the lidar's frame)."""

    name: str
    imu: list[ImuSample] = field(default_factory=list)
    reports: list[VehicleReport] = field(default_factory=list)
    fixes: list[GnssFix] = field(default_factory=list)
    sweeps: Sweeps = field(default_factory=lambda: held([]))
    truth: Truth | None = None
    T_base_lidar: FloatArray | None = None

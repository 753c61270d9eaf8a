"""Who drives: class, size and colour of the vehicles of the traffic."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robotaxi.sim.view import AGENT_DTYPE
from robotaxi.sim.world_config import WorldConfig
from robotaxi.types import ObjectClass, RecordArray

FIRST_ID = 1000  # agent id of the first vehicle
_SIZE = {  # m: length, width and height from smallest to largest
    "car": ((3.8, 4.9), (1.7, 1.9), (1.4, 1.8)),
    "truck": ((7.0, 10.0), (2.3, 2.5), (2.6, 3.4)),
    "motorbike": ((2.0, 2.3), (0.7, 0.9), (1.4, 1.7)),
    "bus": ((10.5, 12.0), (2.5, 2.55), (2.9, 3.3)),
    "bicycle": ((1.7, 1.9), (0.55, 0.65), (1.6, 1.8)),
}


def looks(n: int, config: WorldConfig, rng: np.random.Generator) -> RecordArray:
    """Class, size and colour of ``n`` vehicles. Sizes span those of the vehicles on European roads."""
    records = np.zeros(n, dtype=AGENT_DTYPE)
    records["id"] = FIRST_ID + np.arange(n)
    records["color"] = rng.integers(0, 8, n)
    kind, jitter = rng.random(n), rng.random((3, n))
    truck = kind < config.traffic_truck_share
    bike = ~truck & (kind < config.traffic_truck_share + config.traffic_motorbike_share)
    bus = ~truck & ~bike & (kind >= 1.0 - config.traffic_bus_share)
    cyclist = ~truck & ~bike & ~bus & (kind >= 1.0 - config.traffic_bus_share - config.traffic_bicycle_share)
    two_wheels = bike | cyclist
    records["label"] = np.where(
        truck | bus, ObjectClass.TRUCK, np.where(two_wheels, ObjectClass.BICYCLE, ObjectClass.CAR)
    )
    for k, name in enumerate(("length", "width", "height")):
        low, high = (np.full(n, _SIZE["car"][k][end]) for end in (0, 1))
        for mask, size in ((truck, "truck"), (bike, "motorbike"), (bus, "bus"), (cyclist, "bicycle")):
            low[mask], high[mask] = _SIZE[size][k]
        records[name] = low + jitter[k] * (high - low)
    return records


def cyclists(records: RecordArray) -> NDArray[np.bool_]:
    """Which of the two-wheelers have no engine: the short ones."""
    return np.asarray((records["label"] == ObjectClass.BICYCLE) & (records["length"] < _SIZE["motorbike"][0][0]))

"""Serialised messages as nouns: what cannot be used is None."""

from __future__ import annotations

import numpy as np
import pytest

from robotaxi.interfaces import INTERFACES
from robotaxi.nodes import convert
from robotaxi.nodes.cdr import decoder
from robotaxi.nodes.records import TYPES, to_cloud
from robotaxi.pointcloud2 import POINT_DTYPE, CloudError, from_cloud
from robotaxi.types import Sight

SWEEP = INTERFACES["sensing/lidar/top/pointcloud"]


def sweep(frame: str, **changes):
    points = np.zeros(3, POINT_DTYPE)
    points["x"] = 1.0, 2.0, 3.0
    message = to_cloud(points, 5, frame)
    for name, value in changes.items():
        setattr(message, name, value)
    return bytes(TYPES.serialize_cdr(message, SWEEP.type))


def test_a_sweep_of_another_frame_is_none() -> None:
    decode = decoder(SWEEP)
    assert decode(sweep("lidar_top"))["x"].tolist() == [1.0, 2.0, 3.0]
    assert len(decode(sweep(""))) == 3
    assert decode(sweep("lidar_rear")) is None


@pytest.mark.parametrize("changes", [{"width": 4}, {"point_step": 3}, {"width": 2**31}])
def test_a_sweep_whose_sizes_disagree_is_none(changes) -> None:
    assert decoder(SWEEP)(sweep("lidar_top", **changes)) is None


def test_what_a_cloud_lacks_is_named() -> None:
    with pytest.raises(CloudError, match="cloud has no field 'z', only x, y"):
        points = np.zeros(2, [("x", "<f4"), ("y", "<f4")])
        from_cloud(to_cloud(points, 0, "map"), POINT_DTYPE)


def test_sight_travels() -> None:
    item = Sight(41_000, 23.5, (0, 10, 350), "the lidar is blind in 3 of 36 directions, from 0 degrees", 210)
    assert convert.sight(convert.sight_record(item, 7)) == item

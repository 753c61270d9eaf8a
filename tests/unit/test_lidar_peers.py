"""The peer beside our lidar objects: Patchwork++, components on a grid, rectangles around them."""

import numpy as np
from perception_scene import Thing, cast, ego_at

from robotaxi.evaluation.lidar_peers import Patchwork, components, rectangles
from robotaxi.evaluation.perception_case import TRUTH_DTYPE, Frame
from robotaxi.types import ObjectClass


def test_cells_that_touch_are_one_object_with_its_middle() -> None:
    side = np.arange(0.05, 4.0, 0.1)
    bar = np.column_stack([10.0 + side, np.full(len(side), 3.0), np.zeros(len(side))])
    far = bar + np.array([0.0, 6.0, 0.0])
    middles = rectangles(*components(np.concatenate([bar, far, [[200.0, 0.0, 0.0]]])))
    assert len(middles) == 2
    assert np.abs(middles - [[12.0, 3.0], [12.0, 9.0]]).max() < 0.3


def test_the_peer_finds_two_cars_and_tells_how_long_it_took() -> None:
    ego, things = ego_at(0), [Thing(12.0, 3.0), Thing(18.0, -4.0, yaw=0.4)]
    truth = np.zeros(2, TRUTH_DTYPE)
    truth["label"], truth["counted"], truth["points"] = ObjectClass.CAR, True, 100
    truth["x"], truth["y"] = [12.0, 18.0], [3.0, -4.0]
    peer = Patchwork()
    for index in range(3):
        peer.step(Frame(index, cast(things, ego, seed=index), ego, truth, True))
    near = peer.near_vehicles(25.0, 20)["2_m"]
    assert near["annotated"] == 6 and near["share"] == 1.0
    assert set(peer.ms) == {"ground", "clusters", "boxes", "total"} and all(len(each) == 3 for each in peer.ms.values())

"""The free-space grid: what is seen to be free, what stands, and what nobody can know."""

import numpy as np
import pytest
from perception_scene import PERIOD_NS, T_BASE_LIDAR, VEHICLE, Thing, cast, ego_at

from robotaxi.interfaces import INTERFACES
from robotaxi.nodes.cdr import deserialize, publishable
from robotaxi.nodes.occupancy import to_occupancy_grid
from robotaxi.perception.lidar import LidarPerception, LidarPerceptionConfig
from robotaxi.types import LidarSweep, OccupancyGrid

FREE, OCCUPIED, UNKNOWN = OccupancyGrid.FREE, OccupancyGrid.OCCUPIED, OccupancyGrid.UNKNOWN
TOPIC = INTERFACES["perception/occupancy_grid_map/map"]


def look(things, change=lambda points: points, **values):
    """The grid of one sweep."""
    sweep = cast(things, ego_at(0))
    pipeline = LidarPerception(LidarPerceptionConfig(**values), VEHICLE, None)
    return pipeline.step(LidarSweep(0, change(sweep.points), T_BASE_LIDAR), ego_at(0)).free_space


def area(grid, x, y):
    """The cells whose middles lie in x[0]..x[1] and y[0]..y[1]."""
    height, width = grid.cells.shape
    across = grid.y + (np.arange(height) + 0.5) * grid.resolution
    along = grid.x + (np.arange(width) + 0.5) * grid.resolution
    return grid.cells[(across > y[0]) & (across < y[1])][:, (along > x[0]) & (along < x[1])]


def test_an_open_road_is_free_as_far_as_its_ground_is_seen():
    grid = look([])
    assert grid.cells.shape == (200, 200) and (grid.x, grid.y) == (-50.0, -50.0)
    assert (area(grid, (6.0, 30.0), (-6.0, 6.0)) == FREE).all()
    assert (area(grid, (-25.0, -6.0), (-6.0, 6.0)) == FREE).all()
    assert OCCUPIED not in grid.cells
    # no ring meets the ground right beside the lidar
    assert (area(grid, (0.0, 2.0), (-0.8, 0.8)) == UNKNOWN).all()


def test_a_wall_ends_the_view_and_behind_it_nothing_is_known():
    grid = look([Thing(15.0, 0.0, 0.4, 16.0, 2.0)])
    assert (area(grid, (6.0, 14.0), (-3.0, 3.0)) == FREE).all()
    assert (area(grid, (14.5, 15.0), (-6.0, 6.0)) == OCCUPIED).all()
    assert (area(grid, (16.0, 50.0), (-6.0, 6.0)) == UNKNOWN).all()
    assert (area(grid, (16.0, 20.0), (20.0, 26.0)) == FREE).all()


def test_no_place_that_something_stands_on_is_free():
    things = [Thing(12.0, 5.0, 0.5, 0.5, 1.7), Thing(25.0, -4.0), Thing(-14.0, 3.0, 9.0, 2.5, 3.2, yaw=0.4)]
    grid = look(things)
    for thing in things:
        here = area(grid, (thing.x - 0.3, thing.x + 0.3), (thing.y - 0.3, thing.y + 0.3))
        assert here.size and FREE not in here


def test_below_a_bridge_and_over_a_kerb_it_is_free():
    bridge, pavement = Thing(25.0, 0.0, 6.0, 40.0, 6.0, base=4.5), Thing(20.0, -12.0, 60.0, 14.0, 0.14)
    grid = look([bridge, pavement])
    assert (area(grid, (6.0, 30.0), (-3.0, 3.0)) == FREE).all()
    assert (area(grid, (10.0, 18.0), (-9.0, -6.0)) == FREE).all()


def test_few_rings_leave_gaps_in_which_nothing_is_known():
    def some_rings(points):
        ranges = np.hypot(points["x"], points["y"])
        return points[(np.abs(ranges - 8.0) < 1.0) | (np.abs(ranges - 30.0) < 2.0)]

    grid = look([], some_rings)
    assert (area(grid, (14.0, 22.0), (-2.0, 2.0)) == UNKNOWN).all()
    assert (area(grid, (7.0, 9.0), (-2.0, 2.0)) == FREE).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_points_that_are_no_numbers_change_nothing(value):
    def broken(points):
        more = points[:500].copy()
        more["x"][:250], more["z"][250:] = value, value
        return np.concatenate([points, more])

    wall = [Thing(15.0, 0.0, 0.4, 16.0, 2.0)]
    assert np.array_equal(look(wall, broken).cells, look(wall).cells)


def test_an_empty_cloud_shows_no_free_place():
    assert (look([], lambda points: points[:0]).cells == UNKNOWN).all()


def test_what_the_ego_has_driven_past_is_where_it_is():
    pipeline = LidarPerception(LidarPerceptionConfig(grid_range=20.0, grid_resolution=0.25), VEHICLE, None)
    for k in range(3):
        ego = ego_at(k * PERIOD_NS, speed=10.0)
        grid = pipeline.step(cast([Thing(12.0, 4.0)], ego), ego).free_space
    assert grid.cells.shape == (160, 160)
    assert OCCUPIED in area(grid, (7.6, 8.2), (2.9, 3.4))  # the car's near corner, seen from x = 2


def test_the_message_is_that_of_nav2_and_autoware():
    grid = look([Thing(15.0, 0.0, 0.4, 16.0, 2.0)])
    message = deserialize(TOPIC, publishable(to_occupancy_grid(grid, 1_500_000_000)))
    assert (message.header.frame_id, message.header.stamp.sec, message.header.stamp.nanosec) == (
        TOPIC.frame, 1, 500_000_000
    )  # fmt: skip
    info = message.info
    assert (info.width, info.height, info.resolution) == (200, 200, 0.5)
    assert (info.origin.position.x, info.origin.position.y, info.origin.orientation.w) == (-50.0, -50.0, 1.0)
    assert np.array_equal(np.array(message.data).reshape(200, 200), grid.cells)

"""The guard over TrafficManager's missed wake-ups, with a world and a manager that behave as CARLA's client does."""

import threading
from types import SimpleNamespace

from robotaxi.carla_link.bridge.guard import TrafficGuard

PATIENCE_S = 0.05


class World:
    def __init__(self) -> None:
        self.frame, self.said = 0, threading.Event()

    def get_snapshot(self) -> SimpleNamespace:
        return SimpleNamespace(frame=self.frame)

    def tick(self) -> None:
        """The server steps, then the frame waits for TrafficManager."""
        self.frame += 1
        assert self.said.wait(30.0), "nobody has woken TrafficManager"


class Manager:
    def __init__(self, world: World) -> None:
        self.world, self.modes, self.back = world, [], threading.Event()

    def set_synchronous_mode(self, on: bool) -> None:
        self.modes.append(on)
        (self.back if on else self.world.said).set()


def test_a_manager_that_missed_its_turn_is_woken_and_goes_on_in_step() -> None:
    world = World()
    manager = Manager(world)
    guard = TrafficGuard(world, manager, PATIENCE_S)
    with guard:
        world.tick()
    guard.close()
    assert manager.back.wait(30.0)
    assert guard.woken == 1 and manager.modes == [False, True]


def test_a_slow_server_is_left_alone() -> None:
    world = World()
    manager = Manager(world)
    guard = TrafficGuard(world, manager, PATIENCE_S)
    with guard:
        threading.Event().wait(4 * PATIENCE_S)  # no frame yet: it is the server that takes its time
    guard.close()
    assert guard.woken == 0 and manager.modes == []

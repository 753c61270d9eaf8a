"""The scenes of `robotaxi bench aeb`: with the real lidar model, in sun, rain and fog."""

from __future__ import annotations

from dataclasses import replace

import pytest

from robotaxi.evaluation import aeb
from robotaxi.safety import GateConfig
from robotaxi.sensor_rig import load_rig
from robotaxi.sim.events.conditions import Conditions
from robotaxi.vehicle import load_vehicle

VEHICLE, RIG = load_vehicle("robotaxi"), load_rig("robotaxi")


@pytest.mark.parametrize("name", ["rain", "fog", "gantry"])
def test_harmless_scenes_are_passed(name: str) -> None:
    scene = next(scene for scene in aeb.harmless(VEHICLE) if scene.name == name)
    row = aeb.run(scene, VEHICLE, RIG, GateConfig(), 1)
    assert not row["collided"] and row["emergency_stops"] == 0


def test_a_child_from_behind_a_van_is_not_hit_in_fog_either() -> None:
    child = next(scene for scene in aeb.scenes(VEHICLE, (20.0,)) if "CPNCO" in scene.name)
    for weather in (None, Conditions(visibility=60.0)):
        row = aeb.run(replace(child, weather=weather), VEHICLE, RIG, GateConfig(), 1)
        assert row["avoidable"] and not row["collided"]

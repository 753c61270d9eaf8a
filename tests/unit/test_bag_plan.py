"""What a replay plays, what it makes anew, who starves, and which stamps are to come."""

import numpy as np
import pytest
from bag_helpers import every
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robotaxi.bags.plan import chain_of, plan_replay
from robotaxi.interfaces import INTERFACES, MS, TRIGGERS, VEHICLE, inputs_of
from robotaxi.nodes.let import InputBuffer
from robotaxi.nodes.runtime import StackNode

ALL = tuple(role for role in TRIGGERS if role != "dispatch_bridge")


def recorded(until_ms=2000, without=()):
    """Every periodic topic of the table, as a ride leaves them."""
    return {
        item.topic: np.array(every(item.period_ms, until_ms, item.phase_ms), np.int64)
        for item in INTERFACES.values()
        if item.period_ms and item.topic not in without
    }


def test_the_whole_stack_gets_sensors_and_the_goal():
    plan = plan_replay(ALL, recorded())
    assert plan.roles == ALL and not plan.starving and not plan.missing
    outside = {i.topic for role in ALL for i in inputs_of(role) if i.producer not in ALL and i.period_ms}
    assert set(plan.played) == outside
    assert all(np.array_equal(plan.stamps[t], recorded()[t]) for t in plan.stamps)


def test_a_part_gets_the_outputs_of_the_rest():
    plan = plan_replay(("planner", "controller"), recorded())
    assert "perception/objects" in plan.played and "planning/trajectory" in plan.fresh


def test_without_images_the_recorded_lights_are_played():
    plan = plan_replay(ALL, recorded(without=["sensing/camera/front/image_raw"]))
    assert plan.starving == {"camera_perception": "sensing/camera/front/image_raw"}
    assert "perception/traffic_lights" in plan.played
    assert plan.warnings() == ["camera_perception is left out: nothing gives it sensing/camera/front/image_raw"]


def test_starvation_spreads_down_the_chain():
    sweeps = {"sensing/lidar/top/pointcloud": recorded()["sensing/lidar/top/pointcloud"]}
    plan = plan_replay(ALL, sweeps)
    assert set(plan.roles) == {"lidar_perception", "map_matcher"}
    assert set(plan.starving) == set(ALL) - set(plan.roles)
    assert plan.missing == dict.fromkeys(plan.roles, ("localization/kinematic_state",))


def test_only_the_span_asked_for_is_played():
    plan = plan_replay(ALL, recorded(), 500 * MS, 1500 * MS)
    assert plan.stamps["sensing/imu/data"][[0, -1]].tolist() == [500 * MS, 1500 * MS]
    assert plan.stamps["planning/trajectory"][0] == 560 * MS
    assert plan.last_ns == 1500 * MS


def test_no_stage_of_a_replay_reads_what_a_later_one_writes():
    """The planner once came to hear of the gate, and waited for ever in a stage before it."""
    for roles in (ALL, ("planner", "controller"), ("lidar_perception",), ("planner", "command_gate", "localization")):
        stages = chain_of(roles)
        assert sorted(role for stage in stages for role in stage) == sorted(roles)
        for number, stage in enumerate(stages):
            later = {role for other in stages[number + 1 :] for role in other}
            assert not later & {item.producer for role in stage for item in inputs_of(role)}
    assert chain_of(("planner", "controller")) == [["planner"], ["controller"]]
    assert chain_of(("controller", "lidar_perception")) == [["lidar_perception"], ["controller"]]


def test_every_node_of_the_table_has_its_trigger():
    nodes = {item.producer for item in INTERFACES.values()} | {c for i in INTERFACES.values() for c in i.consumers}
    assert nodes - {"", VEHICLE} == set(TRIGGERS)


@pytest.mark.parametrize("role", sorted(TRIGGERS))
def test_the_table_of_triggers_is_that_of_the_nodes(role):
    from importlib import import_module

    import_module(f"robotaxi.nodes.{role}")
    (node,) = [cls for cls in StackNode.__subclasses__() if cls.role == role and cls.__module__.startswith("robotaxi")]
    assert node.trigger == TRIGGERS[role]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a loaded machine
@given(st.sets(st.integers(0, 60), min_size=1), st.integers(0, 300))
def test_a_consumer_never_waits_for_a_stamp_that_is_not_to_come(kept, tick):
    item = INTERFACES["sensing/lidar/top/pointcloud"]
    stamps = np.array(sorted(kept), np.int64) * item.period_ns
    gaps = plan_replay(("lidar_perception",), {item.topic: stamps}).gaps()[item.topic]
    buffer = InputBuffer(item, lambda m: m, lockstep=True, let_ns=item.let_ns, gaps=gaps)
    at_ns = tick * 20 * MS
    for stamp in stamps.tolist():
        if stamp + item.let_ns <= at_ns:
            buffer.push(stamp, stamp)
    assert buffer.ready(at_ns)
    missing = [s for s in stamps.tolist() if s + item.let_ns <= at_ns < s + item.let_ns + item.period_ns]
    if missing:  # but it does wait for one that is
        empty = InputBuffer(item, lambda m: m, lockstep=True, let_ns=item.let_ns, gaps=gaps)
        assert not empty.ready(at_ns)

"""The description of the stack and its launch arguments."""

import pytest

from robotaxi.interfaces import INTERFACES, VEHICLE
from robotaxi.stack import StackArguments, StackError, describe, parse_arguments


def test_arguments_as_ros2_launch_writes_them():
    arguments = parse_arguments(["mode:=sim", "seed:=7", "namespace:=car2", "rviz:=true"])
    assert arguments == StackArguments(seed=7, namespace="car2", rviz=True)


def test_a_vehicle_runs_on_the_wall_clock():
    assert not parse_arguments(["mode:=vehicle"]).use_sim_time
    assert parse_arguments(["mode:=vehicle", "use_sim_time:=true"]).use_sim_time


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("speed:=9", "unknown launch argument 'speed'; known are: mode, map"),
        ("mode=sim", "'mode=sim' is not a launch argument; write key:=value"),
        ("mode:=boat", "launch argument 'mode' is 'boat', allowed is one of sim, carla, bag, vehicle"),
        ("seed:=-1", "launch argument 'seed' is '-1', expected an integer from 0"),
        ("rviz:=yes", "launch argument 'rviz' is 'yes', allowed is true or false"),
        ("log_level:=loud", "launch argument 'log_level' is 'loud'"),
        ("params_file:=/none.yaml", "launch argument 'params_file' is '/none.yaml', which is not a file"),
        ("mode:=bag", "mode:=bag needs bag:=PATH"),
    ],
)
def test_bad_arguments_are_named(word, message):
    with pytest.raises(StackError) as error:
        parse_arguments([word])
    assert message in str(error.value)


def test_every_end_of_the_interface_table_is_in_the_stack():
    stack = describe(StackArguments(broker="localhost:1", localization_map="town.lmap"))
    roles = {role for item in stack for role in item.roles}
    ends = {item.producer for item in INTERFACES.values()} | {c for i in INTERFACES.values() for c in i.consumers}
    assert ends - {""} == roles
    assert VEHICLE in roles


def test_nobody_who_drives_reads_ground_truth():
    for item in INTERFACES.values():
        if item.topic.startswith("sim/"):
            assert item.consumers == ()

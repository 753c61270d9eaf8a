"""Turns the stack's description into actions of ROS 2 launch. Imported by the launch files only."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from robotaxi.environment import stack_environment
from robotaxi.resources import share_dir
from robotaxi.stack import (
    DOMAINS,
    HELP,
    StackArguments,
    common_parameters,
    describe,
    parameter_files,
    parse_arguments,
)

_ENVIRONMENT = ("FASTDDS_DEFAULT_PROFILES_FILE", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def declared_arguments() -> list[DeclareLaunchArgument]:
    """Every launch argument with its default and meaning. An unset use_sim_time follows the mode."""
    return [
        DeclareLaunchArgument(
            item.name,
            default_value="" if item.name == "use_sim_time" else _text(item.default),
            description=HELP[item.name],
        )
        for item in fields(StackArguments)
    ]


def _arguments(context: Any) -> StackArguments:
    words = []
    for item in fields(StackArguments):
        value = LaunchConfiguration(item.name).perform(context)
        if value or isinstance(item.default, str):
            words.append(f"{item.name}:={value}")
    return parse_arguments(words)


def _nodes(context: Any, domain: str) -> list[Node]:
    arguments = _arguments(context)
    stack = describe(arguments)
    common = common_parameters(arguments, stack)
    files = [str(path) for path in parameter_files(arguments)]
    return [
        Node(
            package="robotaxi",
            executable=item.name,
            namespace=arguments.namespace,
            parameters=[*files, {**common, **item.parameters}],
            arguments=["--ros-args", "--log-level", arguments.log_level],
            output="screen",
            emulate_tty=True,
        )
        for item in stack
        if item.domain == domain
    ]


def domain_description(domain: str) -> LaunchDescription:
    """One domain's processes; every launch argument is understood, so that a domain can be started alone."""
    return LaunchDescription([*declared_arguments(), OpaqueFunction(function=_nodes, args=[domain])])


def bringup_description() -> LaunchDescription:
    """The whole stack: one included launch file a domain, and RViz where it is wanted."""
    environment = stack_environment(0)
    launch_folder = share_dir() / "launch"
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        namespace=LaunchConfiguration("namespace"),
        arguments=["-d", str(share_dir() / "config" / "rviz" / "robotaxi.rviz")],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    includes = [
        IncludeLaunchDescription(PythonLaunchDescriptionSource(str(launch_folder / f"{domain}.launch.py")))
        for domain in DOMAINS
    ]
    return LaunchDescription(
        [
            *declared_arguments(),
            *(SetEnvironmentVariable(name, environment[name]) for name in _ENVIRONMENT),
            *includes,
            rviz,
        ]
    )

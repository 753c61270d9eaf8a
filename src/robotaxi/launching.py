"""Turns the stack's description into actions of ROS 2 launch. Imported by the launch files only."""

from __future__ import annotations

import shutil
import sys
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from robotaxi.environment import stack_environment
from robotaxi.parameter_files import check_parameter_files
from robotaxi.resources import share_dir
from robotaxi.stack import (
    DOMAINS,
    HELP,
    StackArguments,
    StackError,
    common_parameters,
    describe,
    parameter_files,
    parse_arguments,
)

_ENVIRONMENT = (
    "FASTDDS_DEFAULT_PROFILES_FILE",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
# ros2 launch ends its processes on Ctrl-C only; killed, it would leave them running
_DIE_WITH_LAUNCH = "setpriv --pdeathsig TERM --"


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def declared_arguments() -> list[DeclareLaunchArgument]:
    """Every launch argument with its default and meaning. An unset use_sim_time follows the mode."""
    return [
        DeclareLaunchArgument(
            item.name,
            default_value="" if item.name == "use_sim_time" else _text(item.default),
            description=HELP[item.name] + ("; empty: as the mode needs" if item.name == "use_sim_time" else ""),
        )
        for item in fields(StackArguments)
    ]


def _arguments(context: Any, launch_file: str) -> StackArguments:
    known = [item.name for item in fields(StackArguments)]
    if launch_file in {Path(word).name for word in sys.argv}:
        # included in a launch file of somebody else's, we would see the arguments of that file
        for word in context.argv:
            name, separator, _ = word.partition(":=")
            if separator and name not in known:
                raise StackError(f"unknown launch argument '{name}'; known are: {', '.join(known)}")
    words = []
    for item in fields(StackArguments):
        value = LaunchConfiguration(item.name).perform(context)
        if value or isinstance(item.default, str):
            words.append(f"{item.name}:={value}")
    arguments = parse_arguments(words)
    _check_parameter_files(arguments)
    return arguments


# every domain's launch file asks for it
_check_parameter_files = lru_cache(maxsize=1)(check_parameter_files)


def _prefix(context: Any) -> str | None:
    """What each process is started through; None leaves it to `ros2 launch --launch-prefix`."""
    if "launch-prefix" in context.launch_configurations or shutil.which("setpriv") is None:
        return None
    return _DIE_WITH_LAUNCH


def _nodes(context: Any, domain: str) -> list[Node]:
    arguments = _arguments(context, f"{domain}.launch.py")
    stack = describe(arguments)
    common = common_parameters(arguments, stack)
    files = [str(path) for path in parameter_files(arguments)]
    return [
        Node(
            package="robotaxi",
            executable=item.name,
            exec_name=item.name,
            namespace=arguments.namespace,
            parameters=[*files, {**common, **item.parameters}],
            arguments=["--ros-args", "--log-level", arguments.log_level],
            output="screen",
            emulate_tty=True,
            prefix=_prefix(context),
        )
        for item in stack
        if item.domain == domain
    ]


def _check(context: Any) -> list[Any]:
    """Before anything starts: wrong arguments and wrong parameter files end the launch."""
    _arguments(context, "bringup.launch.py")
    return []


def _environment() -> list[SetEnvironmentVariable]:
    values = stack_environment(0)
    return [SetEnvironmentVariable(name, values[name]) for name in _ENVIRONMENT]


def domain_description(domain: str) -> LaunchDescription:
    """One domain's processes; every launch argument is understood, so that a domain can be started alone."""
    nodes = OpaqueFunction(function=_nodes, args=[domain])
    return LaunchDescription([*declared_arguments(), *_environment(), nodes])


def bringup_description() -> LaunchDescription:
    """The whole stack: one included launch file a domain, and RViz where it is wanted."""
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
    return LaunchDescription([*declared_arguments(), OpaqueFunction(function=_check), *includes, rviz])

"""The whole stack: `ros2 launch robotaxi bringup.launch.py mode:=sim map:=town seed:=1`."""

from launch import LaunchDescription

from robotaxi.launching import bringup_description


def generate_launch_description() -> LaunchDescription:
    return bringup_description()

"""The localization domain alone: `ros2 launch robotaxi localization.launch.py`."""

from launch import LaunchDescription

from robotaxi.launching import domain_description


def generate_launch_description() -> LaunchDescription:
    return domain_description("localization")

"""Message types of the interface table, imported once, by name."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def message_type(name: str) -> Any:
    """'sensor_msgs/msg/PointCloud2' -> the class."""
    package, kind, cls = name.split("/")
    return getattr(import_module(f"{package}.{kind}"), cls)

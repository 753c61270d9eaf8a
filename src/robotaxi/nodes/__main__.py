"""`python -m robotaxi.nodes EXECUTABLE [EXECUTABLE ...] --ros-args ...`: what `ros2 run robotaxi EXECUTABLE` runs.

Several executables share one process and one executor (composition).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from robotaxi.environment import keep_memory

EXECUTABLES: dict[str, tuple[str, ...]] = {
    "localization": ("localization:LocalizationNode",),
    "map_matcher": ("map_matcher:MapMatcherNode",),
    "perception": ("lidar_perception:LidarPerceptionNode", "camera_perception:CameraPerceptionNode"),
    "planning": ("planner:PlannerNode",),
    "control": ("controller:ControllerNode",),
    "safety": ("command_gate:CommandGateNode",),
    "health": ("health_monitor:HealthMonitorNode",),
    "dispatch": ("dispatch_bridge:DispatchBridgeNode",),
    "simulator": ("simulator:SimulatorNode",),
    "carla_bridge": ("carla_bridge:CarlaBridgeNode",),
    "bag_player": ("bag_player:BagPlayerNode",),
    "recorder": ("recorder:RecorderNode",),
    "event_recorder": ("event_recorder:EventRecorderNode",),
}


def load_node(target: str) -> Any:
    """The class that 'module:Class' names."""
    module, cls = target.split(":")
    return getattr(import_module(f"robotaxi.nodes.{module}"), cls)


def _factory(target: str) -> Callable[[], Any]:
    return lambda: load_node(target)()


def main(executables: tuple[str, ...] | None = None, argv: list[str] | None = None) -> int:
    """Run the named executables in this process until they are stopped."""
    argv = sys.argv[1:] if argv is None else argv
    if executables is None:
        split = argv.index("--ros-args") if "--ros-args" in argv else len(argv)
        executables, argv = tuple(argv[:split]), argv[split:]
    unknown = [name for name in executables if name not in EXECUTABLES]
    if unknown or not executables:
        print(f"robotaxi.nodes: unknown executable '{' '.join(unknown)}'; known are: {', '.join(EXECUTABLES)}",
              file=sys.stderr)  # fmt: skip
        return 2
    keep_memory()
    from robotaxi.nodes.host import run

    return run([_factory(target) for name in executables for target in EXECUTABLES[name]], ["robotaxi", *argv])


if __name__ == "__main__":
    sys.exit(main())

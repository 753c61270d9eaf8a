"""The command gate: age checks, limits, emergency braking and minimal risk manoeuvres."""

from robotaxi.safety.config import GateConfig
from robotaxi.safety.events import EventConfig, EventDetector
from robotaxi.safety.gate import CommandGate, GateOutput
from robotaxi.safety.health import HealthConfig, HealthMonitor
from robotaxi.safety.inputs import GateInput

__all__ = [
    "CommandGate",
    "EventConfig",
    "EventDetector",
    "GateConfig",
    "GateInput",
    "GateOutput",
    "HealthConfig",
    "HealthMonitor",
]

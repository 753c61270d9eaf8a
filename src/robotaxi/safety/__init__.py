"""The command gate: age checks, limits, emergency braking and minimal risk manoeuvres."""

from robotaxi.safety.config import GateConfig
from robotaxi.safety.gate import CommandGate, GateOutput
from robotaxi.safety.health import HealthConfig, HealthMonitor
from robotaxi.safety.inputs import GateInput

__all__ = ["CommandGate", "GateConfig", "GateInput", "GateOutput", "HealthConfig", "HealthMonitor"]

"""Scenarios of ASAM OpenSCENARIO XML 1.x: the common subset, as our scenarios. See docs/scenarios.md."""

from robotaxi.evaluation.scenarios.openscenario.reader import read_openscenario

__all__ = ["read_openscenario"]

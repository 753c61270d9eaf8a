"""Traffic signal controllers of OpenSCENARIO as the lights of a `Story`."""

from __future__ import annotations

from itertools import accumulate

from robotaxi.evaluation.scenarios.openscenario.document import Document
from robotaxi.evaluation.scenarios.story import Lights
from robotaxi.hdmap.lane_map import LaneMap

COLOURS = {"red": "red", "amber": "amber", "yellow": "amber", "green": "green", "off": "off"}


def read_lights(document: Document, lane_map: LaneMap, notes: list[str]) -> tuple[Lights, ...]:
    """A light for each signal of the controllers that the map has; what has no effect is added to ``notes``. Raises
    MapError."""
    out: dict[int, Lights] = {}
    for controller in document.root.findall("RoadNetwork/TrafficSignals/TrafficSignalController"):
        if document.number(controller, "delay", 0.0):
            raise document.error(controller, "delay is not read; begin with another phase")
        phases = controller.findall("Phase")
        durations = [document.number(phase, "duration") for phase in phases]
        for phase, duration in zip(phases, durations, strict=True):
            if duration <= 0.0:
                raise document.error(phase, f"attribute duration='{duration:g}' must be above 0")
        ids = {document.text(item, "trafficSignalId"): None for item in controller.findall("Phase/TrafficSignalState")}
        for name in ids:
            if not name.isdigit() or int(name) not in lane_map.signals:
                notes.append(f"signal {name}: is not on the map")
                continue
            colours, last = [], "off"
            for phase in phases:
                for item in phase.findall("TrafficSignalState"):
                    if document.text(item, "trafficSignalId") == name:
                        last = COLOURS[document.choice(item, "state", tuple(COLOURS))]
                colours.append(last)
            out[int(name)] = Lights(int(name), tuple(accumulate(durations)), tuple(colours))
    return tuple(out.values())

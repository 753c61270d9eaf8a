"""What a behaviour may ask of the speed: stop somewhere, go no faster, keep behind somebody."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from robotaxi.types import Cause


class Kind(IntEnum):
    STOP = 0
    CAP = 1
    LEAD = 2


@dataclass(frozen=True)
class Constraint:
    """One demand with its reason.

    STOP: base_link at rest at ``s`` at the latest. CAP: at most ``speed`` from ``s`` to ``s_end``.
    LEAD: stay behind a point at ``s`` (base_link arc length, gap at standstill included) that
    moves at ``speed``. ``sentence`` is written for the moving car; ``distance`` is from the front
    bumper to the thing; ``deceleration`` is the hardest braking that the cause is worth.
    """

    kind: Kind
    s: float
    cause: Cause
    sentence: str
    subject_id: int = 0
    distance: float = 0.0
    speed: float = 0.0
    s_end: float = 0.0
    deceleration: float = 4.0


def stop_sentence(standing: bool, what: str, distance: float) -> str:
    """'Stopping: red light at stop line 412, 18 m ahead.' or, at rest, 'Waiting: red light at stop line 412.'"""
    if standing:
        return f"Waiting: {what}."
    return f"Stopping: {what}, {max(distance, 0.0):.0f} m ahead."

"""The modes of the car as a pure state machine: what the gate saw in, the mode out.

STOP --inputs good for recovery_time--> AUTONOMOUS
AUTONOMOUS --an input lost--> COMFORTABLE_STOP (STOP if already standing)
COMFORTABLE_STOP --standing--> STOP;  --inputs good for recovery_time--> AUTONOMOUS
any --threat--> EMERGENCY_STOP --standing and clear for emergency_clear_time--> STOP
"""

from __future__ import annotations

from dataclasses import dataclass

from robotaxi.safety.config import GateConfig
from robotaxi.types import SystemMode


@dataclass(frozen=True)
class Observation:
    """What one step saw. ``fault``: a sentence, empty when all inputs are good; ``threat`` likewise."""

    stamp_ns: int
    fault: str
    threat: str
    standing: bool
    clear: bool


class ModeMachine:
    """Starts in STOP."""

    def __init__(self, config: GateConfig) -> None:
        self._recovery_ns = round(config.recovery_time * 1e9)
        self._clear_ns = round(config.emergency_clear_time * 1e9)
        self._good_since: int | None = None
        self._clear_since: int | None = None
        self._cause = ""
        self.mode = SystemMode.STOP

    def step(self, seen: Observation) -> tuple[SystemMode, str]:
        """The mode from now on and the sentence that gives its reason."""
        now = seen.stamp_ns
        self._good_since = None if seen.fault else _since(self._good_since, now)
        resting = seen.standing and seen.clear and not seen.threat
        self._clear_since = _since(self._clear_since, now) if resting else None
        recovered = self._good_since is not None and now - self._good_since >= self._recovery_ns

        if seen.threat:
            self._enter(SystemMode.EMERGENCY_STOP, seen.threat)
        elif self.mode is SystemMode.EMERGENCY_STOP:
            if self._clear_since is not None and now - self._clear_since >= self._clear_ns:
                self._enter(SystemMode.STOP, seen.fault or self._cause)
        elif seen.fault and self.mode is not SystemMode.STOP:
            self._enter(SystemMode.STOP if seen.standing else SystemMode.COMFORTABLE_STOP, seen.fault)
        elif self.mode is SystemMode.COMFORTABLE_STOP and seen.standing and not recovered:
            self._enter(SystemMode.STOP, self._cause)
        elif seen.fault:
            self._cause = seen.fault
        if self.mode in (SystemMode.STOP, SystemMode.COMFORTABLE_STOP) and recovered:
            self._enter(SystemMode.AUTONOMOUS, "Driving: all inputs are good.")
        return self.mode, self._cause

    def _enter(self, mode: SystemMode, cause: str) -> None:
        self.mode, self._cause = mode, cause


def _since(before: int | None, now: int) -> int:
    """Start of a condition that holds now; a clock that jumped back starts it again."""
    return now if before is None or before > now else before

"""Watches over the processes of a ride: one that died is started again, one that hangs is killed first."""

from __future__ import annotations

import time
from dataclasses import dataclass

from robotaxi.nodes.__main__ import EXECUTABLES
from robotaxi.ride.monitor import Progress
from robotaxi.safety.health import CAPABILITIES
from robotaxi.supervisor import Supervisor, describe_exit

_RESTARTS = 2  # of one process within _SOON; after that something is wrong with it, not with its luck
_SOON_NS = 30_000_000_000  # ride time
_HANGS_S = 5.0  # wall time for which the health monitor calls a part silent whose process lives
_SETTLES_S = 60.0  # wall time that a new process has to load its map and join in
PROCESS_OF = {"lidar_perception": "perception", "camera_perception": "perception", "planner": "planning",
           "controller": "control", "command_gate": "safety", "health_monitor": "health",
           "dispatch_bridge": "dispatch", "localization": "localization"}  # fmt: skip
_PARTS = {item.part for item in CAPABILITIES}


@dataclass(frozen=True)
class Incident:
    """A process that ended or hung at ``stamp_ns`` of the ride, and what came of it."""

    process: str
    what: str
    stamp_ns: int

    @property
    def sentence(self) -> str:
        return f"{self.what} at t={self.stamp_ns / 1e9:.1f} s"


class Guardian:
    """``keep``: processes that it leaves alone (the clock's owner, the recorder)."""

    def __init__(self, supervisor: Supervisor, keep: tuple[str, ...]) -> None:
        self._supervisor, self._keep = supervisor, keep
        self._silent: tuple[str, float] | None = None
        self._given_up: set[str] = set()
        self._started: dict[str, float] = {}
        self._restarts: dict[str, list[int]] = {}  # ride time of each
        self.given_up = False

    def look(self, progress: Progress) -> list[Incident]:
        """What was found and done just now."""
        found = []
        for child in self._supervisor.dead():
            if child.name in self._keep or child.name in self._given_up:
                continue
            ended = f"{child.name} ended during the ride ({describe_exit(int(child.exit_status or 0))})"
            found.append(self._again(child.name, ended, progress.stamp_ns))
        hanging = self._hanging(progress)
        if hanging:
            found.append(self._again(hanging, f"{hanging} hangs", progress.stamp_ns))
        return found

    def _again(self, name: str, what: str, now_ns: int) -> Incident:
        recent = [at for at in self._restarts.get(name, []) if now_ns - at < _SOON_NS]
        if name == "stack" or len(recent) >= _RESTARTS:
            self._given_up.add(name)
            self.given_up = True
            return Incident(name, what, now_ns)
        self._restarts[name] = [*recent, now_ns]
        self._supervisor.restart(name)
        self._started[name] = time.monotonic()
        self._silent = None
        return Incident(name, f"{what} and was started again", now_ns)

    def _hanging(self, progress: Progress) -> str:
        """The process of a part that has been called silent for too long although it lives."""
        health, now = progress.health, time.monotonic()
        name = PROCESS_OF.get(health.part, "")
        silent = health.part in _PARTS and ("is silent" in health.sentence or " old, " in health.sentence)
        silent = silent and now - self._started.get(name, -_SETTLES_S) >= _SETTLES_S
        if not silent or name not in self._supervisor.children or name not in EXECUTABLES or name in self._given_up:
            self._silent = None
            return ""
        if self._silent is None or self._silent[0] != name:
            self._silent = (name, now)
        return name if now - self._silent[1] > _HANGS_S else ""

"""Plays a bag through the perception process over DDS and records what comes out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from robotaxi.environment import reserve_domain
from robotaxi.stack import StackArguments, describe
from robotaxi.supervisor import Interrupt, Supervisor, describe_exit

_POLL_S = 0.1
_PATIENCE_S = 1800.0


class ReplayError(RuntimeError):
    """A replay that could not begin or was cut short; the message says why."""


@dataclass(frozen=True)
class ReplayOptions:
    """``on_map``: keep only objects on the map's roads (needs a bag that was recorded there)."""

    bag: Path
    folder: Path
    sensors: str = "robotaxi"
    vehicle: str = "robotaxi"
    map: str = "town"
    on_map: bool = False
    rate: float = 0.0


def replay(options: ReplayOptions, show: Callable[[float], None]) -> Path:
    """Run it; ``show`` gets the wall seconds so far. Returns the bag with the fresh outputs. Raises ReplayError."""
    out = options.folder / "bag"
    arguments = StackArguments(
        mode="bag", bag=str(options.bag), map=options.map, sensors=options.sensors, vehicle=options.vehicle
    )
    executables = describe(arguments, recorder=True, record_profile="perception")
    # the player reads `bag`, the recorder writes `bag`: parameters of their own, in files of their own
    extra = {"use_map": options.on_map, "rate": float(options.rate), "record_profile": "perception"}
    reservation = reserve_domain()
    try:
        with Interrupt() as interrupt, Supervisor(reservation.domain_id, options.folder / "log") as supervisor:
            supervisor.start_stack(
                arguments, executables, extra=extra, own={"recorder": {"bag": str(out)}},
                parameter_folder=options.folder / "params",
            )  # fmt: skip
            player = supervisor.children["bag_player"]
            begun = time.monotonic()
            while player.exit_status is None:
                dead = [child for child in supervisor.dead() if child is not player]
                if dead:
                    status = describe_exit(int(dead[0].exit_status or 0))
                    raise ReplayError(f"{dead[0].name} ended ({status}): {dead[0].last_words()}")
                if interrupt.is_set:
                    raise ReplayError("interrupted by the user")
                if time.monotonic() - begun > _PATIENCE_S:
                    raise ReplayError(f"gave up after {_PATIENCE_S:.0f} s; logs: {options.folder / 'log'}")
                show(time.monotonic() - begun)
                time.sleep(_POLL_S)
            if player.exit_status != 0:
                raise ReplayError(player.last_words() or f"bag_player ended ({describe_exit(player.exit_status)})")
            for name in ("perception", "recorder"):
                supervisor.stop(name)
    finally:
        reservation.release()
    return out

"""What a drive-by-wire interface does by itself when commands cease."""

from __future__ import annotations

from robotaxi.types import Command, VehicleParams


def watchdog_command(stamp_ns: int, last: Command | None, vehicle: VehicleParams) -> Command:
    """All its brakes, because nobody steers any more; the tyres as they were asked for last."""
    return Command(stamp_ns, last.steering if last is not None else 0.0, -vehicle.max_deceleration)

"""The one live line of a ride: where the trip stands, how far, how fast, and why it slows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

_MISSING = "--"
_ELLIPSIS = "…"
_GREEN, _AMBER, _RED = "bold green", "bold yellow", "bold red"
_TROUBLE = ("ABORTED", "REJECTED", "CANCELLED", "NO_SHOW")


@dataclass(frozen=True, slots=True)
class LiveState:
    """What the line shows. NaN stands for not known yet.

    ``trip_state``: name of a TripState. ``distance_to_go`` in metres, ``speed`` in m/s.
    ``slowing``: the sentence holds the car back. ``time``: seconds of ride time.
    """

    trip_state: str
    distance_to_go: float = math.nan
    speed: float = math.nan
    real_time_factor: float = math.nan
    sentence: str = ""
    slowing: bool = False
    time: float = math.nan


def live_line(state: LiveState, width: int = 120) -> str:
    """Plain text of at most ``width`` terminal cells, for ``\\r`` where nothing understands colours."""
    return live_text(state, width).plain


def live_text(state: LiveState, width: int = 120) -> Text:
    """The same as a rich Text with colours, for ``rich.live``."""
    trip = state.trip_state.replace("_", " ").lower()
    style = _RED if state.trip_state in _TROUBLE else _GREEN if state.trip_state == "COMPLETED" else "bold cyan"
    parts = [
        (_clock(state.time), "dim"),
        (f"{trip:<19}", style),
        (f"{_distance(state.distance_to_go):>7}", "bold"),
        (f"{_number(state.speed * 3.6, 0):>3} km/h", ""),
        (f"x{_number(state.real_time_factor, 2)}", _AMBER if state.real_time_factor < 1.0 else "dim"),
        (" ".join(state.sentence.split()), _AMBER if state.slowing else ""),
    ]
    line = Text(no_wrap=True, overflow="crop", end="")
    for text, part_style in parts:
        if not text:
            continue
        if line:
            line.append("  ")
        line.append(text, part_style)
    if width > 0 and cell_len(line.plain) > width:
        keep = set_cell_size(line.plain, width - 1).rstrip()
        line.right_crop(len(line.plain) - len(keep))
        line.append(_ELLIPSIS)
    return line


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else _MISSING


def _distance(metres: float) -> str:
    if not math.isfinite(metres):
        return _MISSING
    return f"{metres / 1000.0:.2f} km" if metres >= 1000.0 else f"{metres:.0f} m"


def _clock(seconds: float) -> str:
    if not math.isfinite(seconds):
        return ""
    return f"{int(seconds) // 60:d}:{int(seconds) % 60:02d}"

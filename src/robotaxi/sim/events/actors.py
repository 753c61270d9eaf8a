"""Scripted road users and things as data: the actors of scenarios and of the events of a ride.

Every fault of a file is named with file, field, value and what is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from robotaxi.params import ParameterError

KINDS = {  # name: (ObjectClass, length, width, height)
    "car": (1, 4.5, 1.8, 1.5),
    "truck": (2, 8.0, 2.5, 3.2),
    "bicycle": (3, 1.8, 0.6, 1.7),
    "pedestrian": (4, 0.6, 0.6, 1.7),
    "box": (0, 1.0, 1.0, 0.8),
    "cone": (0, 0.4, 0.4, 0.8),
    "barrier": (0, 0.6, 2.4, 1.0),
    "bus": (2, 12.0, 2.55, 3.2),
    "motorcycle": (3, 2.2, 0.8, 1.5),
    "van": (2, 5.5, 2.0, 2.4),
    "door": (0, 0.2, 1.0, 1.2),
}
SIDES = ("left", "right", "ahead")
TURNS = ("straight", "left", "right")
HEADINGS = {"same": 0.0, "oncoming": 3.141592653589793, "left": 1.5707963267948966, "right": -1.5707963267948966}
_ACTOR = (
    "kind", "s", "offset", "heading", "speed", "trigger", "delay", "stop_after", "acceleration", "seen", "from", "turn",
    "to_offset", "sideways", "go_on_after", "appears", "braking", "over", "merge_ahead",
)  # fmt: skip

Range = tuple[float, float]


class ActorError(ParameterError):
    """A file of actors that cannot be used; the message names file and field."""


@dataclass(frozen=True)
class Actor:
    """``s``: metres ahead of the ego's start (of an event: of its place) along the path, ``offset`` to the left of it;
    it moves with ``speed`` from when the ego is ``trigger`` metres near it, and brakes to rest ``stop_after`` seconds
    later. With ``comes_from`` (left, right, ahead) it drives through the ego's next junction from that side with
    ``turn``, and ``s`` is the distance before that junction. ``delay``: seconds from the trigger until it moves;
    ``to_offset``: it moves there with ``sideways`` m/s once it moves (NaN: it keeps its offset). ``go_on_after``:
    seconds after ``stop_after`` at which it drives on; ``braking``: m/s^2 to its stop (NaN: as ``acceleration``);
    ``appears``: it is not there before it is triggered. Of events only: ``over``: m/s faster than the ego when it
    comes (NaN: ``speed`` counts), ``merge_ahead``: m ahead of the ego from which on ``to_offset`` counts."""

    kind: str
    s: Range
    offset: Range
    heading: str
    speed: Range
    trigger: float
    acceleration: float
    stop_after: float
    seen: float
    comes_from: str = ""
    turn: str = "straight"
    delay: float = 0.0
    to_offset: float = math.nan
    sideways: float = 1.0
    go_on_after: float = math.inf
    appears: bool = False
    braking: float = math.nan
    over: float = math.nan
    merge_ahead: float = -math.inf


def read_actor(row: Any, source: str) -> Actor:
    """One actor from its fields. Raises ActorError."""
    if not isinstance(row, Mapping):
        raise ActorError(f"{source}: expected 'field: value' lines, found {type(row).__name__}")
    only(row, _ACTOR, source)
    kind, heading = str(row.get("kind", "car")), str(row.get("heading", "same"))
    if kind not in KINDS:
        raise ActorError(f"{source}: kind is '{kind}', allowed are {', '.join(KINDS)}")
    if heading not in HEADINGS:
        raise ActorError(f"{source}: heading is '{heading}', allowed are {', '.join(HEADINGS)}")
    if "s" not in row:
        raise ActorError(f"{source}: field 's' is missing")
    appears = row.get("appears", False)
    if not isinstance(appears, bool):
        raise ActorError(f"{source}: appears is {appears!r}, allowed are true and false")

    def one(name: str, default: float) -> float:
        return read_range(row[name], f"{source}: {name}")[0] if name in row else default

    return Actor(
        kind, read_range(row["s"], f"{source}: s"), read_range(row.get("offset", 0.0), f"{source}: offset"), heading,
        read_range(row.get("speed", 0.0), f"{source}: speed"), one("trigger", np.inf), one("acceleration", 2.0),
        one("stop_after", np.inf), one("seen", 60.0),
        one_of(row.get("from", ""), ("", *SIDES), f"{source}: from"),
        one_of(row.get("turn", "straight"), TURNS, f"{source}: turn"),
        one("delay", 0.0), one("to_offset", math.nan), one("sideways", 1.0), one("go_on_after", np.inf), appears,
        one("braking", math.nan), one("over", math.nan), one("merge_ahead", -np.inf),
    )  # fmt: skip


def rows_of(row: Mapping[str, Any], name: str, source: str) -> list[Any]:
    """The list that a field holds; none where it is not there."""
    rows = row.get(name) or []
    if not isinstance(rows, list):
        raise ActorError(f"{source}: {name} is {rows!r}, expected a list")
    return rows


def one_of(value: Any, known: tuple[str, ...], source: str) -> str:
    """The value, where it is one of the known ones."""
    if value not in known:
        raise ActorError(f"{source} is {value!r}, allowed are {', '.join(item for item in known if item)}")
    return str(value)


def only(row: Any, known: tuple[str, ...], source: str) -> None:
    """Nothing where every field is known."""
    if not isinstance(row, Mapping):
        raise ActorError(f"{source}: expected 'field: value' lines, found {type(row).__name__}")
    for field in row:
        if field not in known:
            raise ActorError(f"{source}: unknown field '{field}'; known are: {', '.join(known)}")


def read_range(value: Any, source: str) -> Range:
    """A number, or [low, high]."""
    values = value if isinstance(value, (list, tuple)) else [value, value]
    if len(values) != 2 or any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in values):
        raise ActorError(f"{source} is {value!r}, expected a number or [low, high]")
    low, high = float(values[0]), float(values[1])
    if math.isnan(low) or math.isnan(high):
        raise ActorError(f"{source} is {value!r}, expected a number or [low, high]")
    if low > high:
        raise ActorError(f"{source} is {value!r}, low is above high")
    return low, high

"""Message bodies of the dispatch protocol: the source of truth of its JSON Schemas and AsyncAPI document.

SI units bare, others carry their suffix. A reader ignores (and a store keeps) fields that it does not know.
No message carries steering, throttle, brake or gear: the cloud requests, the car decides.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

VERSION = "1.0"
MAX_TEXT = 500  # characters of a reason or a sentence
MAX_PICTURE_BYTES = 40_000
ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"
WGS84: Final = "WGS84"
GCJ02: Final = "GCJ02"
DATUM: Final = WGS84
Datum = Literal["WGS84", "GCJ02"]

UP = ("connection", "factsheet", "state", "order_event", "event", "ack", "assist_request")
DOWN = ("order", "command", "assist_answer", "receipt")

COMMANDS = (
    "cancel",
    "change_destination",
    "add_stop",
    "pull_over",
    "resume",
    "reroute",
    "avoid_area",
    "open_doors",
    "close_doors",
)
TIME_CRITICAL = frozenset({"pull_over", "resume", "reroute", "avoid_area", "open_doors", "close_doors"})
"""Refused while the car's clock is not synchronised: their expiry could not be judged."""

_ID = re.compile(ID_PATTERN)
Text = Annotated[str, Meta(max_length=4 * MAX_TEXT)]


def check_id(text: str, what: str) -> str:
    """``text`` if it may be an id; ValueError says what an id looks like."""
    if not _ID.match(text):
        raise ValueError(f"{what} {text[:80]!r}: use 1 to 64 letters, digits, '.', '_', ':' or '-'")
    return text


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all bodies."""


# ---------------------------------------------------------------------------- parts


class Position(Body, frozen=True, kw_only=True):
    """A place on earth; every one names its datum. The car thinks in WGS 84 and converts at this edge."""

    datum: Datum
    lat: float  # degrees, north positive
    lon: float  # degrees, east positive
    alt: float | None = None  # metres above the ellipsoid

    def __post_init__(self) -> None:
        # msgspec has no constraint that keeps NaN out of a range check's complement
        if not (abs(self.lat) <= 90.0 and abs(self.lon) <= 180.0):
            raise ValueError(f"position {self.lat}, {self.lon} is not on earth")


class Place(Body, frozen=True, kw_only=True):
    position: Position
    heading_deg: float | None = None  # clockwise from north, where the car should point
    name: Text = ""


class Clock(Body, frozen=True, kw_only=True):
    """Of the sender. ``err_ms``: largest error of its UTC time, negative where it is unknown."""

    synced: bool = False
    err_ms: float = -1.0


class Area(Body, frozen=True, kw_only=True):
    """A circle that the car shall not drive into until ``until_ns`` (UTC)."""

    area_id: str
    center: Position
    radius: Annotated[float, Meta(gt=0.0, le=100_000.0)]
    until_ns: int

    def __post_init__(self) -> None:
        check_id(self.area_id, "area_id")


class TripReport(Body, frozen=True, kw_only=True):
    order_id: str
    state: str  # name of types.TripState
    reason: str = ""
    revision: int = 0  # counts changes of destination and stops
    distance_to_go: float = 0.0  # m to the current goal
    eta_s: float = -1.0  # to the current goal; negative: unknown
    pickup: Position | None = None
    stops: tuple[Position, ...] = ()  # still to come
    dropoff: Position | None = None


class Option(Body, frozen=True, kw_only=True):
    """One answer to a closed question."""

    option_id: str
    text: Text


# ---------------------------------------------------------------------------- up


class Connection(Body, frozen=True, kw_only=True):
    """up, retained: online; offline (said goodbye); lost (last will, published by the broker)."""

    state: Literal["online", "offline", "lost"]
    reason: str = ""
    versions: tuple[str, ...] = (VERSION,)


class Factsheet(Body, frozen=True, kw_only=True):
    """up, retained, at each start: what this car is."""

    software: str
    map_name: str = ""
    map_sha256: str = ""
    odd: Text = ""  # operational design domain, in words
    seats: int = 4
    capabilities: tuple[str, ...] = COMMANDS  # commands that it knows
    encodings: tuple[str, ...] = ("application/json", "application/msgpack")
    versions: tuple[str, ...] = (VERSION,)
    datum: Datum = WGS84
    service_center: Position | None = None
    service_radius: float = 0.0


class State(Body, frozen=True, kw_only=True):
    """up, 1 Hz and on change; the newest is what counts. ``live`` false: kept while offline, sent later."""

    stamp_ns: int  # vehicle's data time, may be simulated
    mode: str  # name of types.SystemMode
    mode_reason: str = ""
    minimal_risk: bool = False  # a minimal risk manoeuvre is under way or has ended at standstill
    sentence: str = ""  # why the car drives no faster than it does
    position: Position | None = None
    position_sigma: float = 0.0  # m, one standard deviation, the larger axis
    heading_deg: float = 0.0  # clockwise from north
    speed: float = 0.0
    acceleration: float = 0.0
    energy: float = -1.0  # 0 to 1 of the battery; negative: unknown
    range: float = -1.0  # m; negative: unknown
    door_open: bool = False
    seat_occupied: bool = False
    belt_fastened: bool = False
    trip: TripReport | None = None
    trajectory: tuple[tuple[float, float], ...] = ()  # lat, lon of the next seconds, in position's datum
    faults: tuple[str, ...] = ()
    avoided: tuple[str, ...] = ()  # ids of the areas in force
    backlog: int = 0  # messages that wait for a receipt
    problem: str = ""  # of the bridge itself, e.g. a full disk
    live: bool = True


class OrderEvent(Body, frozen=True, kw_only=True):
    """up, kept until its receipt. ``event_no`` counts from 1 within the order, without gaps."""

    stamp_ns: int
    order_id: str
    event_no: int
    state: str  # name of types.TripState
    reason: str = ""
    position: Position | None = None
    revision: int = 0


class Event(Body, frozen=True, kw_only=True):
    """up, kept until its receipt: anything else that must be known later.

    gap: ``count`` messages named ``name`` from ``first_ns`` to ``last_ns`` were given up (quota or
    time-to-live). disengagement, minimal_risk, package (the 90 s around an event are at ``package``).
    """

    stamp_ns: int
    kind: str
    text: Text = ""
    severity: Literal["info", "warning", "alarm"] = "info"
    order_id: str = ""
    name: str = ""
    count: int = 0
    first_ns: int = 0
    last_ns: int = 0
    package: str = ""
    position: Position | None = None


class Ack(Body, frozen=True, kw_only=True):
    """up, kept until its receipt unless ``received``: what became of a message from the cloud.

    received: valid and queued, nothing decided yet. accepted, refused: the car's decision. duplicate:
    known already, no second effect. expired, malformed, unsupported, unsigned, reordered: no effect.
    """

    message_id: str
    status: Literal[
        "received",
        "accepted",
        "refused",
        "duplicate",
        "expired",
        "malformed",
        "unsupported",
        "unsigned",
        "reordered",
    ]
    reason: str = ""
    order_id: str = ""
    state: str = ""  # of the order, where there is one
    versions: tuple[str, ...] = (VERSION,)


class AssistRequest(Body, frozen=True, kw_only=True):
    """up, kept until its receipt: a closed question to a person. Without an answer ``default`` is taken."""

    question_id: str
    stamp_ns: int
    question: Text
    options: tuple[Option, ...]
    default: str  # option_id
    deadline_ns: int  # UTC
    picture_jpeg: Annotated[bytes, Meta(max_length=MAX_PICTURE_BYTES)] = b""  # base64 in JSON
    position: Position | None = None
    settled: str = ""  # in the closing report: the option taken
    reason: str = ""


# ---------------------------------------------------------------------------- down


class Order(Body, frozen=True, kw_only=True):
    """down: an offer of one ride. The envelope's ``exp_ns`` is the deadline for accepting it."""

    order_id: str
    pickup: Place
    dropoff: Place
    stops: tuple[Place, ...] = ()
    rider_code: str = ""  # what the rider shows or says to be let in; empty: nobody is asked

    def __post_init__(self) -> None:
        check_id(self.order_id, "order_id")
        if len(self.stops) > 8:
            raise ValueError(f"{len(self.stops)} stops; at most 8")


class Command(Body, frozen=True, kw_only=True):
    """down: a request. The car decides, and answers with an ack."""

    command: str  # one of COMMANDS; others are refused with an answer
    order_id: str = ""
    by: Literal["platform", "rider"] = "platform"
    reason: Text = ""
    place: Place | None = None  # of change_destination and add_stop
    area: Area | None = None  # of avoid_area

    def __post_init__(self) -> None:
        if self.order_id:
            check_id(self.order_id, "order_id")


class AssistAnswer(Body, frozen=True, kw_only=True):
    """down: a person's choice. It becomes a permission that the planner may use, never an order to drive."""

    question_id: str
    option_id: str
    by: str = ""

    def __post_init__(self) -> None:
        check_id(self.question_id, "question_id")


class Receipt(Body, frozen=True, kw_only=True):
    """down: the dispatcher has stored these messages; the car may forget them.

    Without ids: the dispatcher is there (again); the car sends anew what has no receipt.
    """

    ids: tuple[str, ...]


BODIES: dict[str, type[Body]] = {
    "connection": Connection,
    "factsheet": Factsheet,
    "state": State,
    "order_event": OrderEvent,
    "event": Event,
    "ack": Ack,
    "assist_request": AssistRequest,
    "order": Order,
    "command": Command,
    "assist_answer": AssistAnswer,
    "receipt": Receipt,
}

"""What the desk answers over HTTP, as structs: the OpenAPI document is made from them, and a test reads the desk's
answers with them. Times that end in ``_ns`` are UTC since 1970, but ``stamp_ns``, which is the vehicle's data time."""

from __future__ import annotations

from typing import Any

import msgspec

from robotaxi.dispatch.messages import AssistRequest, Factsheet, Place, State


class Answer(msgspec.Struct, forbid_unknown_fields=True):
    """Base of all answers."""


class RideAnswer(Answer):
    """What was ordered."""

    pickup: Place
    dropoff: Place
    stops: list[Place] = []
    rider_code: str = ""


class OrderEventAnswer(Answer):
    vehicle: str
    event_no: int
    state: str
    reason: str
    stamp_ns: int
    received_ns: int


class OrderAnswer(Answer):
    """``events``: of the car that has the order; ``earlier``: of cars that had it before. ``delivered``: the car has
    the offer in hand. ``expires_ns``: of the offer, ``until_ns``: then the order is given up."""

    order_id: str
    wanted: str
    vehicle: str
    request: RideAnswer
    state: str
    final: bool
    reason: str
    event_no: int
    attempt: int
    created_ns: int
    until_ns: int
    expires_ns: int
    delivered_ns: int
    message_id: str
    withdrawn: int
    cancel_id: str
    delivered: bool
    events: list[OrderEventAnswer]
    earlier: list[OrderEventAnswer]
    eta_s: float | None = None


class VehicleAnswer(Answer):
    """``age_s``: how old the newest state is, whatever the connection says of itself. Positions are in WGS 84."""

    vehicle: str
    connection: str
    state: State | None
    received_ns: int
    age_s: float | None
    factsheet: Factsheet | None


class CommandAnswer(Answer):
    """``status``: the car's answer, "" until it comes. ``body``: the message's body, as JSON text."""

    message_id: str
    vehicle: str
    order_id: str
    kind: str
    body: str
    status: str
    reason: str
    created_ns: int
    until_ns: int


class QuestionAnswer(Answer):
    question_id: str
    vehicle: str
    body: AssistRequest
    deadline_ns: int
    received_ns: int
    settled: str
    reason: str


class EventAnswer(Answer):
    message_id: str
    vehicle: str
    kind: str
    severity: str
    text: str
    order_id: str
    stamp_ns: int
    received_ns: int
    body: str
    acknowledged: int


class AreaAnswer(Answer):
    """A closed area. ``obeyed``: cars that keep out; ``asked``: cars that have not answered."""

    area_id: str
    lat: float
    lon: float
    radius: float
    until_ns: int
    obeyed: list[str]
    asked: list[str]


class StateAnswer(Answer):
    """``state``: the message's body as it was sent, as JSON text."""

    vehicle: str
    boot_id: str
    stamp_ns: int
    sent_ns: int
    received_ns: int
    state: str


class Orders(Answer):
    orders: list[OrderAnswer]


class Vehicles(Answer):
    vehicles: list[VehicleAnswer]
    revision: int


class Commands(Answer):
    commands: list[CommandAnswer]
    revision: int


class Questions(Answer):
    questions: list[QuestionAnswer]


class Events(Answer):
    events: list[EventAnswer]


class History(Answer):
    history: list[StateAnswer]


class NamedPlaces(Answer):
    places: dict[str, Place]


class Acknowledged(Answer):
    acknowledged: bool


class Asked(Answer):
    """How many cars are asked."""

    area_id: str
    asked: int


class Lane(Answer):
    """Lines as [lat, lon, lat, lon, ...]."""

    id: Any
    junction: bool
    left: list[float]
    right: list[float]
    center: list[float]


class NamedPlace(Answer):
    name: str
    lat: float
    lon: float
    heading_deg: float


class Map(Answer):
    lanes: list[Lane]
    places: list[NamedPlace]
    origin: list[float] = []


class Snapshot(Answer):
    operator: str
    link: str
    vehicles: list[VehicleAnswer]
    orders: list[OrderAnswer]
    questions: list[QuestionAnswer]
    events: list[EventAnswer]
    areas: list[AreaAnswer]


class Metrics(Answer):
    """Live states' time from their car's clock to the desk's, in ms; the desk's processor time in s."""

    messages: int
    waiting: int
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    latency_max_ms: float | None
    latency_count: int
    cpu_s: float


class HealthAnswer(Answer):
    connected: bool
    link: str


class Nothing(Answer):
    pass


class Problem(Answer):
    """What is wrong, in a sentence."""

    error: str

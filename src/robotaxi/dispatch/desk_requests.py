"""What the desk is asked over HTTP, and how that becomes messages."""

from __future__ import annotations

import time
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from robotaxi.dispatch.messages import COMMANDS, DATUM, Area, Command, Order, Place, Position, check_id
from robotaxi.dispatch.protocol import clip


class DeskError(ValueError):
    """A request that cannot be served. ``status``: HTTP status."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class PlaceRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A place by name, or by position. ``heading_deg`` clockwise from north."""

    name: str = ""
    lat: float | None = None
    lon: float | None = None
    heading_deg: float | None = None


class OrderRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A ride. A place may also be just its name. Without a vehicle: the nearest able one, now or later."""

    pickup: PlaceRequest | str
    dropoff: PlaceRequest | str
    stops: tuple[PlaceRequest | str, ...] = ()
    vehicle: str = ""
    order_id: str = ""
    rider_code: str = ""


class CancelRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Who cancels, platform or rider, and why."""

    by: str = "platform"
    reason: str = ""


class AreaRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A circle to keep out of for ``minutes``; 0 lifts it."""

    area_id: str
    lat: float
    lon: float
    radius: float
    minutes: Annotated[float, Meta(ge=0.0, le=1e6)] = 60.0


class CommandRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A request to a car. The car decides; ``within_s``: of no effect after."""

    command: str
    order_id: str = ""
    by: str = "platform"
    reason: str = ""
    place: PlaceRequest | str | None = None
    area: AreaRequest | None = None
    within_s: Annotated[float, Meta(gt=0.0, le=3600.0)] = 60.0


class AnswerRequest(msgspec.Struct, forbid_unknown_fields=True):
    """An operator's choice of one of a question's options."""

    question_id: str
    option_id: str
    by: str = ""


class Places:
    """Named places, and requests made into message bodies. Raises DeskError for what cannot be used."""

    def __init__(self, named: dict[str, Place]) -> None:
        self.named = named

    def ride(self, request: OrderRequest) -> dict[str, Any]:
        """The fields of an `Order` but its id."""
        stops = tuple(self.place(stop, f"stop {number}") for number, stop in enumerate(request.stops, 1))
        try:
            order = Order(
                order_id="x",
                pickup=self.place(request.pickup, "pickup"),
                dropoff=self.place(request.dropoff, "dropoff"),
                stops=stops,
                rider_code=request.rider_code,
            )
        except ValueError as error:
            raise DeskError(str(error)) from error
        fields: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(order))  # as it will be read back
        del fields["order_id"]
        return fields

    def command(self, request: CommandRequest) -> Command:
        if request.command not in COMMANDS:
            raise DeskError(f"command {request.command[:40]!r} is unknown; known are {', '.join(COMMANDS)}")
        if request.by not in ("platform", "rider"):
            raise DeskError(f"by is {request.by!r}, allowed is platform or rider")
        try:
            if request.order_id:
                check_id(request.order_id, "order_id")
            return Command(
                command=request.command,
                order_id=request.order_id,
                by=request.by,  # type: ignore[arg-type]
                reason=clip(request.reason),
                place=self.place(request.place, "place") if request.place is not None else None,
                area=self._area(request.area) if request.area is not None else None,
            )
        except DeskError:
            raise
        except ValueError as error:
            raise DeskError(str(error)) from error

    def _area(self, request: AreaRequest) -> Area:
        if not 0.0 < request.radius <= 100_000.0:
            raise DeskError(f"area: radius is {request.radius}, allowed is up to 100000 m")
        until = time.time_ns() + round(request.minutes * 60e9) if request.minutes > 0.0 else 1
        center = Position(datum=DATUM, lat=request.lat, lon=request.lon)
        return Area(area_id=request.area_id, center=center, radius=request.radius, until_ns=until)

    def place(self, request: PlaceRequest | str, what: str) -> Place:
        if isinstance(request, str):
            request = PlaceRequest(name=request)
        if request.lat is None or request.lon is None:
            known = self.named.get(request.name)
            if known is None:
                names = ", ".join(sorted(self.named)) or "none"
                raise DeskError(
                    f"{what}: place {request.name[:80]!r} is unknown; known places: {names}; or give lat and lon"
                )
            return known
        try:
            position = Position(datum=DATUM, lat=request.lat, lon=request.lon)
        except ValueError as error:
            raise DeskError(f"{what}: {error}") from error
        return Place(position=position, heading_deg=request.heading_deg, name=clip(request.name))

"""The order client: what a rider's app or a script needs of the desk."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

HTTP_TIMEOUT_S = 10.0
LONG_POLL_S = 20.0
DELIVERED = "DELIVERED"  # for `wait_for_state`: the car has the offer in hand


class OrderError(RuntimeError):
    """The desk cannot be reached, refuses, or the order went another way; the message says which."""


def place_order(
    desk_url: str,
    pickup: Mapping[str, Any] | str,
    dropoff: Mapping[str, Any] | str,
    *,
    vehicle: str = "",
    order_id: str = "",
    stops: Sequence[Mapping[str, Any] | str] = (),
    rider_code: str = "",
) -> str:
    """Order a ride; returns its order id.

    A place is a name that the desk knows or ``{"lat": .., "lon": .., "heading_deg": .., "name": ..}``.
    With ``order_id`` given, ordering again is harmless. ``rider_code``: what the rider will show. Raises OrderError.
    """
    body: dict[str, Any] = {"pickup": pickup, "dropoff": dropoff}
    given = {"vehicle": vehicle, "order_id": order_id, "stops": list(stops), "rider_code": rider_code}
    body.update({name: value for name, value in given.items() if value})
    return str(call(desk_url, "POST", "/orders", body)["order_id"])


def get_order(desk_url: str, order_id: str) -> dict[str, Any]:
    """The order as the books have it: state, reason, events, delivered, final."""
    return call(desk_url, "GET", f"/orders/{order_id}")


def list_orders(desk_url: str) -> list[dict[str, Any]]:
    return list(call(desk_url, "GET", "/orders")["orders"])


def list_vehicles(desk_url: str) -> list[dict[str, Any]]:
    return list(call(desk_url, "GET", "/vehicles")["vehicles"])


def health(desk_url: str) -> dict[str, Any]:
    """``connected`` to the broker, and ``link`` in words."""
    return call(desk_url, "GET", "/health")


def cancel_order(desk_url: str, order_id: str, *, by: str = "platform", reason: str = "") -> dict[str, Any]:
    """Ask for a cancellation; the car decides. Returns the order as it stands."""
    return call(desk_url, "POST", f"/orders/{order_id}/cancel", {"by": by, "reason": reason})


def wait_for_state(desk_url: str, order_id: str, states: Collection[str], timeout_s: float) -> dict[str, Any]:
    """Wait until the order is, or has been, in one of ``states`` (names, or DELIVERED), or is over.

    Returns the order; look at its ``state`` and ``reason``. Raises OrderError after ``timeout_s``.
    """
    end = time.monotonic() + timeout_s
    delivered = "1" if DELIVERED in states else "0"
    order = get_order(desk_url, order_id)
    while True:
        seen = {event["state"] for event in order["events"]} | {order["state"]}
        if seen & set(states) or (DELIVERED in states and order["delivered"]) or order["final"]:
            return order
        left = end - time.monotonic()
        if left <= 0:
            wanted = " or ".join(states)
            raise OrderError(f"order {order_id} is {order['state']}, not {wanted}, after {timeout_s:g} s")
        query = f"wait_s={min(left, LONG_POLL_S):.3f}&events={len(order['events'])}&delivered={delivered}"
        order = call(desk_url, "GET", f"/orders/{order_id}?{query}", wait_s=min(left, LONG_POLL_S))


def call(desk_url: str, method: str, path: str, body: Any = None, wait_s: float = 0.0) -> dict[str, Any]:
    """``desk_url`` may end in ``/?key=...``: the operator's key, where the desk serves several. Raises OrderError."""
    address = urlsplit(desk_url)
    key = parse_qs(address.query).get("key", [""])[-1]
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if address.scheme != "http" or not address.hostname:
        raise OrderError(f"{desk_url!r} is not the address of a desk, such as http://127.0.0.1:8080")
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=HTTP_TIMEOUT_S + wait_s)
    try:
        if body is None and method != "GET":
            body = {}  # the desk takes JSON only: a form of a page from elsewhere must not command it
        data = json.dumps(body).encode() if body is not None else None
        if data is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise OrderError(f"the desk at {desk_url} does not answer: {error}") from error
    finally:
        connection.close()
    if response.status >= 400:
        raise OrderError(str(answer.get("error", response.reason)))
    return dict(answer)

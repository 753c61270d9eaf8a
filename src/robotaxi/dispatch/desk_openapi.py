"""The OpenAPI document of the desk, made from the structs of its requests and answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from robotaxi.dispatch import desk_answers as answers
from robotaxi.dispatch.desk_requests import AnswerRequest, AreaRequest, CancelRequest, CommandRequest, OrderRequest


@dataclass(frozen=True)
class Operation:
    """``status``: of success. ``query``: name and meaning of each parameter after the question mark."""

    method: str
    path: str
    summary: str
    answer: type
    body: type | None = None
    status: int = 200
    query: tuple[tuple[str, str, str], ...] = ()


_WAIT = ("wait_s", "number", "wait so long at most, up to 30 s")
_AFTER = (_WAIT, ("after", "integer", "with wait_s: until the book's revision is above it"))
OPERATIONS = (
    Operation("get", "/orders", "The newest orders", answers.Orders),
    Operation("post", "/orders", "Order a ride", answers.OrderAnswer, OrderRequest, 201),
    Operation(
        "get",
        "/orders/{order_id}",
        "One order",
        answers.OrderAnswer,
        query=(
            _WAIT,
            ("events", "integer", "with wait_s: until it has more events"),
            ("delivered", "integer", "with wait_s: 1 also ends the wait when a car has the offer in hand"),
        ),
    ),
    Operation(
        "post",
        "/orders/{order_id}/cancel",
        "Ask for a cancellation; the car decides",
        answers.OrderAnswer,
        CancelRequest,
        202,
    ),
    Operation("get", "/vehicles", "Cars, newest state and its age", answers.Vehicles, query=_AFTER),
    Operation(
        "post",
        "/vehicles/{vehicle}/commands",
        "Ask a car for something; the car decides",
        answers.CommandAnswer,
        CommandRequest,
        202,
    ),
    Operation(
        "post", "/vehicles/{vehicle}/answers", "Answer a car's question", answers.CommandAnswer, AnswerRequest, 202
    ),
    Operation(
        "post", "/areas", "Ask every car to keep out of an area; 0 minutes opens it", answers.Asked, AreaRequest, 202
    ),
    Operation(
        "get",
        "/history/{vehicle}",
        "States of a car as they were sent, at most 10000",
        answers.History,
        query=(("since_ns", "integer", "UTC, from when on"),),
    ),
    Operation("get", "/questions", "Questions of cars, the open ones first", answers.Questions),
    Operation("get", "/events", "Alarms, gaps and other events", answers.Events),
    Operation("post", "/events/{message_id}/acknowledge", "Somebody has seen it", answers.Acknowledged),
    Operation("get", "/commands", "Commands and the cars' answers", answers.Commands, query=_AFTER),
    Operation("get", "/places", "Named places", answers.NamedPlaces),
    Operation("get", "/map", "Lanes as lines of latitude and longitude", answers.Map),
    Operation("get", "/snapshot", "All that the page shows", answers.Snapshot),
    Operation("get", "/metrics", "Counts, delivery times, processor time", answers.Metrics),
    Operation("post", "/metrics/reset", "Forget the delivery times", answers.Nothing),
    Operation("get", "/health", "Whether the desk is connected to its broker", answers.HealthAnswer),
)


def openapi(url: str) -> dict[str, Any]:
    kinds = [kind for op in OPERATIONS for kind in (op.body, op.answer) if kind is not None]
    kinds = list(dict.fromkeys([*kinds, answers.Problem]))
    references, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(kinds, references, strict=True))
    paths: dict[str, Any] = {}
    for op in OPERATIONS:
        names = [part[1:-1] for part in op.path.split("/") if part.startswith("{")]
        operation: dict[str, Any] = {
            "operationId": f"{op.method}{op.path.replace('{', '').replace('}', '').replace('/', '_')}",
            "summary": op.summary,
            "parameters": [
                *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names),
                *(
                    {"name": name, "in": "query", "description": words, "schema": {"type": kind}}
                    for name, kind, words in op.query
                ),
            ],
            "responses": {
                str(op.status): _response("done", schema_of[op.answer]),
                "4XX": _response("what is wrong", schema_of[answers.Problem]),
            },
        }
        if op.body is not None:
            operation["requestBody"] = {
                "required": op.body is not CancelRequest,
                "content": {"application/json": {"schema": schema_of[op.body]}},
            }
        paths.setdefault(op.path, {})[op.method] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "robotaxi dispatch desk", "version": "1.0"},
        "servers": [{"url": url}],
        "security": [{}, {"key": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "where several operators share the desk"}
            },
        },
    }


def _response(words: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": words, "content": {"application/json": {"schema": schema}}}

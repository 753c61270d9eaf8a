"""The OpenAPI document of the desk, made from the structs that its requests are read with."""

from __future__ import annotations

from typing import Any

import msgspec

from robotaxi.dispatch.desk_requests import AnswerRequest, CancelRequest, CommandRequest, OrderRequest

_PATHS: tuple[tuple[str, str, str, Any], ...] = (
    ("get", "/orders", "The newest orders", None),
    ("post", "/orders", "Order a ride", OrderRequest),
    ("get", "/orders/{order_id}", "One order; with wait_s and events: once it has more events", None),
    ("post", "/orders/{order_id}/cancel", "Ask for a cancellation; the car decides", CancelRequest),
    ("get", "/vehicles", "Cars with their newest state and how old it is", None),
    ("post", "/vehicles/{vehicle}/commands", "Ask a car for something; the car decides", CommandRequest),
    ("post", "/vehicles/{vehicle}/answers", "Answer a car's question", AnswerRequest),
    ("get", "/history/{vehicle}", "States of a car, once a second, from since_ns on", None),
    ("get", "/questions", "Questions of cars, the open ones first", None),
    ("get", "/events", "Alarms, gaps and other events", None),
    ("post", "/events/{message_id}/acknowledge", "Somebody has seen it", None),
    ("get", "/commands", "Commands and the cars' answers", None),
    ("get", "/places", "Named places", None),
    ("get", "/map", "Lanes as lines of latitude and longitude", None),
    ("get", "/snapshot", "All that the page shows", None),
    ("get", "/metrics", "Counts, delivery times, processor time", None),
    ("get", "/health", "Whether the desk is connected to its broker", None),
)


def openapi(url: str) -> dict[str, Any]:
    kinds = [kind for _, _, _, kind in _PATHS if kind is not None]
    references, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(kinds, references, strict=True))
    paths: dict[str, Any] = {}
    for method, path, summary, kind in _PATHS:
        names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
        operation: dict[str, Any] = {
            "summary": summary,
            "parameters": [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
            ],
            "responses": {
                "2XX": {"description": "done", "content": {"application/json": {}}},
                "4XX": {"description": 'what is wrong: {"error": "..."}', "content": {"application/json": {}}},
            },
        }
        if kind is not None:
            operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema_of[kind]}}}
        paths.setdefault(path, {})[method] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "robotaxi dispatch desk", "version": "1.0"},
        "servers": [{"url": url}],
        "paths": paths,
        "components": {"schemas": components},
    }

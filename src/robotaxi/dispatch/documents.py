"""What is generated from the source of truth: the drawing of a trip, and the AsyncAPI document."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from robotaxi.dispatch import trip
from robotaxi.dispatch.messages import BODIES, DOWN, ID_PATTERN, UP, VERSION, Clock
from robotaxi.dispatch.protocol import JSON, MAX_MESSAGE_BYTES, MSGPACK, Envelope, Signature, topic

BEGIN, END = "<!-- generated: trip -->", "<!-- end generated -->"
RETAINED = ("connection", "factsheet")
_REF = "#/components/schemas/{name}"


def with_trip_table(text: str) -> str:
    """``text`` of the document with the generated part as it is now. ValueError without the markers."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document has no part between {BEGIN} and {END}")
    words = (
        "Rows of one state are tried in this order. A cancellation with the rider on board is refused: the car\n"
        "drives on to the drop-off. The timers are parameters of the bridge."
    )
    drawing = f"```mermaid\n{trip.diagram_mermaid()}\n```"
    return f"{head}{BEGIN}\n\n{trip.table_markdown()}\n\n{words}\n\n{drawing}\n\n{END}{tail}"


def schemas() -> dict[str, Any]:
    """JSON Schema (2020-12) of every body, its parts, and the envelope, by name."""
    _, components = msgspec.json.schema_components([*BODIES.values(), Clock, Signature], ref_template=_REF)
    components["Envelope"] = _envelope()
    return dict(sorted(components.items()))


def _envelope() -> dict[str, Any]:
    """The envelope's schema; msgspec has none for a body that is kept as bytes."""
    text, whole = {"type": "string"}, {"type": "integer", "format": "int64"}
    properties: dict[str, Any] = {
        "v": {**text, "pattern": r"^[0-9]+\.[0-9]+$"},
        "type": {**text, "enum": list(BODIES)},
        "id": {**text, "pattern": ID_PATTERN},
        "veh": text,
        "boot_id": text,
        "seq": whole,
        "t_src_ns": whole,
        "body": {"type": "object"},
        "clock": {"$ref": _REF.format(name="Clock")},
        "exp_ns": {**whole, "default": 0},
        "corr": {**text, "default": ""},
        "trace": {**text, "default": ""},
        "sig": {"anyOf": [{"type": "null"}, {"$ref": _REF.format(name="Signature")}], "default": None},
    }
    if set(properties) != set(Envelope.__struct_fields__):
        raise ValueError("the envelope has other fields than its schema")
    required = ["v", "type", "id", "veh", "boot_id", "seq", "t_src_ns", "body"]
    words = " ".join((Envelope.__doc__ or "").split())
    return {"title": "Envelope", "description": words, "type": "object", "properties": properties, "required": required}


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.0 document of the protocol."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    for direction, names in (("up", UP), ("down", DOWN)):
        for name in names:
            kind = BODIES[name]
            words = " ".join((kind.__doc__ or "").split())
            messages[name] = {
                "name": name,
                "title": kind.__name__,
                "summary": words,
                "contentType": JSON,
                "payload": {
                    "allOf": [
                        {"$ref": _REF.format(name="Envelope")},
                        {
                            "type": "object",
                            "properties": {
                                "type": {"const": name},
                                "body": {"$ref": _REF.format(name=kind.__name__)},
                            },
                        },
                    ]
                },
            }
            channels[name] = {
                "address": topic("{operator}", "{vehicle}", direction, name),  # type: ignore[arg-type]
                "parameters": {
                    "operator": {"description": "O of the certificates"},
                    "vehicle": {"description": "CN of the vehicle's certificate"},
                },
                "messages": {name: {"$ref": f"#/components/messages/{name}"}},
                "bindings": {"mqtt": {}},
            }
            operations[f"{'send' if direction == 'up' else 'receive'}_{name}"] = {
                "action": "send" if direction == "up" else "receive",
                "channel": {"$ref": f"#/channels/{name}"},
                "summary": words,
                "bindings": {"mqtt": {"qos": 0 if name == "state" else 1, "retain": name in RETAINED}},
            }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "robotaxi dispatch",
            "version": VERSION,
            "description": (
                "Seen from the vehicle. Every message is an envelope around a body, at most "
                f"{MAX_MESSAGE_BYTES} bytes, {JSON} or {MSGPACK}. Messages to a vehicle are signed (Ed25519). "
                "No message carries steering, throttle, brake or gear."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": JSON,
        "servers": {
            "broker": {
                "host": "localhost:8883",
                "protocol": "secure-mqtt",
                "protocolVersion": "5",
                "description": "TLS 1.3, both sides show a certificate; MQTT 3.1.1 works too",
                "security": [{"$ref": "#/components/securitySchemes/certificate"}],
            }
        },
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "schemas": schemas(),
            "securitySchemes": {"certificate": {"type": "X509"}},
        },
    }


def asyncapi_text() -> str:
    return json.dumps(asyncapi(), indent=1) + "\n"

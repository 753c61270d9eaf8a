"""HTTP on localhost for the desk, with the standard library.

GET /  the page;  GET /health, /orders, /vehicles, /places;  POST /orders;  GET /orders/{id};
POST /orders/{id}/cancel.  Errors are ``{"error": "..."}`` with a fitting status.

Where several operators share the server, each request names its operator by a secret key (``Authorization: Bearer``,
or the cookie that ``/?key=...`` sets) and reaches that operator's desk only: books, cars and link are its own.
"""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from robotaxi.dispatch.desk import Desk
from robotaxi.dispatch.desk_openapi import openapi
from robotaxi.dispatch.desk_requests import (
    AnswerRequest,
    AreaRequest,
    CancelRequest,
    CommandRequest,
    DeskError,
    OrderRequest,
)
from robotaxi.dispatch.desk_web import LIBRARY, MISSING, POLICY, library_file, page_file

log = logging.getLogger(__name__)

MAX_BODY = 64 * 1024
MAX_WAIT_S = 30.0
COOKIE = "desk_key"
NO_KEY = "this desk serves several operators: open it with your own address, which ends in /?key=..."
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


class DeskServer(ThreadingHTTPServer):
    """Serves ``desks`` on ``host``:``port`` (0: any free one): one without a key, or several by their keys.

    OSError when the port is taken.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, desks: Desk | Mapping[str, Desk], host: str, port: int) -> None:
        self._alone = desks if isinstance(desks, Desk) else None
        self._desks = {} if isinstance(desks, Desk) else dict(desks)
        super().__init__((host, port), _Handler)
        if any(library_file(name) is None for name in LIBRARY):
            log.warning("%s", MISSING)

    def desk_of(self, key: str) -> Desk | None:
        """The desk that ``key`` opens; every key is compared, in constant time."""
        if self._alone is not None:
            return self._alone
        found = [desk for known, desk in self._desks.items() if hmac.compare_digest(known.encode(), key.encode())]
        return found[0] if found else None

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: DeskServer
    protocol_version = "HTTP/1.1"
    timeout = 60.0

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def _serve(self, method: str) -> None:
        try:
            self._check_host()
            url = urlsplit(self.path)
            query = {key: values[-1] for key, values in parse_qs(url.query).items()}
            path = [part for part in url.path.split("/") if part]
            if method == "GET" and not path and "key" in query:
                self._let_in(query["key"])
                return
            desk = self.server.desk_of(self._key())
            if desk is None:
                raise DeskError(NO_KEY, 401)
            if method == "GET" and len(path) < 2 and (file := self._page("".join(path))) is not None:
                self._send(200, file[0], f"{file[1]}; charset=utf-8")
                return
            body = self._body() if method == "POST" else b""
            status, answer = self._route(desk, method, path, query, body)
        except DeskError as error:
            status, answer = error.status, {"error": str(error)}
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True
            return
        except Exception as error:
            log.exception("%s %s", method, self.path)
            status, answer = 500, {"error": f"{type(error).__name__}: {error}"}
        self._send(status, json.dumps(answer).encode(), "application/json")

    @staticmethod
    def _page(name: str) -> tuple[bytes, str] | None:
        try:
            return page_file(name)
        except FileNotFoundError as error:
            raise DeskError(str(error), 404) from error

    def _key(self) -> str:
        scheme, _, key = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return key.strip()
        try:
            found = SimpleCookie(self.headers.get("Cookie", "")).get(COOKIE)
        except CookieError:
            return ""
        return found.value if found is not None else ""

    def _let_in(self, key: str) -> None:
        """The page's address with the key: the key goes into a cookie and out of the address."""
        if self.server.desk_of(key) is None:
            raise DeskError(NO_KEY, 401)
        self.send_response(303)
        self.send_header("Location", "/")
        if key.isascii() and key.isprintable() and not set(key) & set(';,"\\ '):
            self.send_header("Set-Cookie", f"{COOKIE}={key}; HttpOnly; SameSite=Strict; Path=/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _route(self, desk: Desk, method: str, path: list[str], query: dict[str, str], body: bytes) -> tuple[int, Any]:
        match method, path:
            case "GET", ["health"]:
                return 200, {"connected": desk.connected, "link": desk.link_detail}
            case "GET", ["orders"]:
                return 200, {"orders": desk.book.orders()}
            case "GET", ["vehicles"]:
                revision = self._revision(desk, query)
                return 200, {"vehicles": desk.vehicles(), "revision": revision}
            case "GET", ["map"]:
                return 200, desk.map
            case "GET", ["snapshot"]:
                return 200, desk.snapshot()
            case "GET", ["openapi.json"]:
                return 200, openapi(self.server.url)
            case "GET", ["history", vehicle]:
                since = int(_number(query, "since_ns"))
                return 200, {"history": desk.fleet.history(vehicle, since, 10_000)}
            case "GET", ["metrics"]:
                return 200, desk.metrics()
            case "POST", ["metrics", "reset"]:
                desk.reset_metrics()
                return 200, {}
            case "GET", ["events"]:
                return 200, {"events": desk.fleet.reports()}
            case "POST", ["events", message_id, "acknowledge"]:
                return 200, {"acknowledged": desk.fleet.acknowledge(message_id)}
            case "GET", ["questions"]:
                return 200, {"questions": desk.fleet.questions()}
            case "GET", ["commands"]:
                revision = self._revision(desk, query)
                return 200, {"commands": desk.fleet.commands(), "revision": revision}
            case "POST", ["vehicles", vehicle, "commands"]:
                return 202, desk.command(vehicle, _parse(body, CommandRequest))
            case "POST", ["areas"]:
                return 202, desk.close_area(_parse(body, AreaRequest))
            case "POST", ["vehicles", vehicle, "answers"]:
                return 202, desk.answer(vehicle, _parse(body, AnswerRequest))
            case "GET", ["places"]:
                return 200, {"places": {name: msgspec.to_builtins(place) for name, place in desk.places.named.items()}}
            case "GET", ["orders", order_id]:
                if "wait_s" not in query:
                    return 200, desk.order(order_id)
                wait_s = min(max(_number(query, "wait_s"), 0.0), MAX_WAIT_S)
                events = int(_number(query, "events"))
                return 200, desk.wait_order(order_id, events, query.get("delivered") == "1", wait_s)
            case "POST", ["orders"]:
                return 201, desk.place_order(_parse(body, OrderRequest))
            case "POST", ["orders", order_id, "cancel"]:
                return 202, desk.cancel(order_id, _parse(body or b"{}", CancelRequest))
            case _:
                raise DeskError(f"there is no {method} {self.path[:200]}", 404)

    @staticmethod
    def _revision(desk: Desk, query: dict[str, str]) -> int:
        """Of the book as it is answered from; with ``wait_s`` once it is above ``after``."""
        wait_s = min(_number(query, "wait_s"), MAX_WAIT_S)
        return desk.wait_change(int(_number(query, "after")), wait_s)

    def _check_host(self) -> None:
        """A page from elsewhere may resolve its own name to 127.0.0.1; it must not order rides."""
        host = self.headers.get("Host", "")
        if host.rsplit(":", 1)[0] not in (*LOCAL_NAMES, str(self.server.server_address[0])):
            raise DeskError(f"host {host[:80]!r} is not this desk", 403)

    def _body(self) -> bytes:
        if self.headers.get_content_type() != "application/json":
            self.close_connection = True
            raise DeskError("send application/json", 415)
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY:
            self.close_connection = True
            raise DeskError(f"a body of at most {MAX_BODY} bytes with its Content-Length is read", 413)
        return self.rfile.read(int(length))

    def _send(self, status: int, data: bytes, content_type: str) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("Content-Security-Policy", POLICY)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


def _number(query: dict[str, str], name: str) -> float:
    try:
        value = float(query.get(name, "0"))
    except ValueError as error:
        raise DeskError(f"{name} is {query[name][:40]!r}, expected a number") from error
    if not 0.0 <= value < 1e19:
        raise DeskError(f"{name} is {value}, expected a number from 0")
    return value


def _parse(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DeskError(f"request: {error}") from error

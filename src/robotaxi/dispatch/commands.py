"""``robotaxi dispatch broker|desk|order|cancel|orders|pki``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robotaxi.dispatch import client, process
from robotaxi.dispatch.proof_commands import add_conformance, add_export, add_torture

if TYPE_CHECKING:
    from robotaxi.dispatch.desk import Desk
    from robotaxi.dispatch.desk_http import DeskServer
    from robotaxi.dispatch.pki import Identity

DEFAULT_PKI = "~/.local/share/robotaxi/pki"
DEFAULT_DESK = "http://127.0.0.1:8080"
BROKER_PORT = 8883
DESK_PORT = 8080
HTTP_POLL_S = 0.1  # how soon the HTTP server sees that it shall end
EPILOG = """examples:
  robotaxi dispatch pki --vehicle car1          certificates for one car, a broker and a desk
  robotaxi dispatch broker                      an MQTT broker with mutual TLS on port 8883
  robotaxi dispatch desk                        the desk and its page on http://127.0.0.1:8080
  robotaxi dispatch order --pickup "Main Street" --dropoff 48.1371,11.5754 --wait
  robotaxi dispatch orders --json orders.json
  robotaxi dispatch cancel ride-7 --by rider --reason "changed my mind"
"""


def register(subparsers: Any) -> None:
    """Add ``dispatch`` to ``robotaxi``'s sub-commands; ``args.run(args)`` returns the exit status."""
    parser = subparsers.add_parser(
        "dispatch",
        help="orders in, rides out: broker, dispatch desk and order client",
        description="The cloud side of a ride, small but real: broker, dispatch desk and order client.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_commands(parser)


def add_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="dispatch_command", required=True, metavar="COMMAND")

    broker = commands.add_parser("broker", help="run the embedded MQTT broker (mutual TLS)")
    _add_pki(broker)
    broker.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    broker.add_argument("--port", type=_port, default=BROKER_PORT, help="0: any free port (default %(default)s)")
    _add_announce(broker)
    broker.set_defaults(run=run_broker)

    desk = commands.add_parser("desk", help="run the dispatch desk with its page and HTTP API")
    _add_pki(desk)
    desk.add_argument("--broker", default=f"localhost:{BROKER_PORT}", help="HOST:PORT (default %(default)s)")
    desk.add_argument("--book", default="dispatch.sqlite", help="order book file (default %(default)s)")
    desk.add_argument("--port", type=_port, default=DESK_PORT, help="0: any free port (default %(default)s)")
    desk.add_argument("--map", default="", help="map to show: a name in config/maps, or a path")
    desk.add_argument("--accept-within", type=float, help="s that a car has for its answer to an offer")
    desk.add_argument(
        "--also", action="append", default=[], metavar="OPERATOR", help="serve this operator too; it sees its own cars"
    )
    desk.add_argument("--places", help='JSON or YAML file: {"name": {"lat": .., "lon": .., "heading_deg": ..}}')
    _add_announce(desk)
    desk.set_defaults(run=run_desk)

    order = commands.add_parser("order", help="order a ride")
    order.add_argument("--pickup", required=True, type=place, help="name of a place, or LAT,LON[,HEADING]")
    order.add_argument("--dropoff", required=True, type=place, help="name of a place, or LAT,LON[,HEADING]")
    order.add_argument("--stop", action="append", default=[], type=place, help="a stop on the way; may be repeated")
    order.add_argument("--code", default="", help="what the rider shows to be let in, where the car can ask")
    order.add_argument("--vehicle", default="", help="offer it to this car (default: the nearest free one)")
    order.add_argument("--order-id", default="", help="own id; ordering twice with it is harmless")
    order.add_argument("--wait", action="store_true", help="wait until the ride is over")
    order.add_argument("--timeout", type=float, default=3600.0, help="longest wait, s (default %(default)s)")
    _add_desk(order)
    order.set_defaults(run=run_order)

    cancel = commands.add_parser("cancel", help="ask to cancel an order; the car decides")
    cancel.add_argument("order_id")
    cancel.add_argument("--by", choices=("platform", "rider"), default="platform")
    cancel.add_argument("--reason", default="")
    _add_desk(cancel)
    cancel.set_defaults(run=run_cancel)

    orders = commands.add_parser("orders", help="show the order book, or one order")
    orders.add_argument("order_id", nargs="?")
    _add_desk(orders)
    orders.set_defaults(run=run_orders)

    add_torture(commands)
    add_conformance(commands)
    add_export(commands)

    pki = commands.add_parser("pki", help="make a test authority: broker, dispatcher and vehicle certificates")
    _add_pki(pki)
    pki.add_argument("--revoke", action="append", default=[], metavar="NAME", help="revoke this car's certificate")
    pki.add_argument(
        "--renew", action="append", default=[], metavar="NAME", help="new key for a car, broker, dispatcher or signer"
    )
    pki.set_defaults(run=run_pki)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="robotaxi dispatch", epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_commands(parser)
    args = parser.parse_args(arguments)
    return int(args.run(args))


# ---------------------------------------------------------------------------- servers


def run_broker(args: argparse.Namespace) -> int:
    from robotaxi.dispatch.broker import BrokerError, BrokerReady, serve
    from robotaxi.dispatch.pki import PkiError, make_test_pki
    from robotaxi.dispatch.tls import TlsError

    _log_to_stderr()

    def ready(state: BrokerReady, stop: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
        if args.announce:
            process.announce({"host": state.host, "port": state.port})
            process.when_parent_ends(lambda: _call_soon(loop, stop.set))
        else:
            print(f"Broker ready on {state.host}:{state.port} (mutual TLS, {args.pki}). Ctrl-C ends it.", flush=True)

    try:
        pki = make_test_pki(Path(args.pki).expanduser(), args.operator, args.vehicle)
        serve(pki, args.host, args.port, ready)
    except (BrokerError, PkiError, TlsError) as error:
        return _fail(str(error))
    return 0


def run_desk(args: argparse.Namespace) -> int:
    from robotaxi.dispatch.book import BookError, OrderBook
    from robotaxi.dispatch.desk import Desk
    from robotaxi.dispatch.desk_http import DeskServer
    from robotaxi.dispatch.desk_keys import book_of, desk_key, schema_of
    from robotaxi.dispatch.desk_outbound import DeskConfig
    from robotaxi.dispatch.pki import PkiError, make_test_pki
    from robotaxi.dispatch.places import load_places
    from robotaxi.dispatch.signing import Signer, SigningError
    from robotaxi.dispatch.transport import MqttConfig, MqttLink
    from robotaxi.params import ParameterError, build

    _log_to_stderr()
    try:
        host, port = _address(args.broker)
        values: dict[str, Any] = {"operator": args.operator}
        if args.accept_within is not None:
            values["accept_within"] = args.accept_within
        config = build(DeskConfig, values, "desk")
        mqtt = build(MqttConfig, {"host": host, "port": port}, "--broker")
        places = load_places(Path(args.places)) if args.places else {}
        drawn, named = _map(args.map)
        desks: dict[str, Desk] = {}
        for operator in dict.fromkeys([args.operator, *args.also]):
            vehicles = args.vehicle if operator == args.operator else []
            pki = make_test_pki(Path(args.pki).expanduser(), operator, vehicles)
            link = MqttLink(mqtt, pki.dispatcher, "dispatcher:desk")
            book = OrderBook(book_of(args.book, operator, args.operator), schema_of(operator, args.operator))
            signer = Signer.load(pki.signer, pki.signers)
            desk = Desk(replace(config, operator=operator), link, book, signer, {**named, **places}, drawn)
            desks[desk_key(pki)] = desk
    except (ParameterError, PkiError, BookError, SigningError, ValueError) as error:
        return _fail(str(error))
    alone = next(iter(desks.values())) if len(desks) == 1 else None
    try:
        server = DeskServer(alone or desks, "127.0.0.1", args.port)
    except OSError as error:
        for desk in desks.values():
            desk.book.close()
        return _fail(f"desk cannot listen on 127.0.0.1:{args.port}: {error.strerror or error}; give --port")
    return _serve_desk(desks, server, args)


def _map(name: str) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """(the map for the page, its stopping places); none without a name. ValueError for one that cannot be read."""
    if not name:
        return None, {}
    from robotaxi.dispatch.desk_map import map_of
    from robotaxi.dispatch.messages import DATUM, Place, Position
    from robotaxi.hdmap import load_map

    drawn = map_of(load_map(name))
    places = {}
    for place in drawn["places"]:
        position = Position(datum=DATUM, lat=place["lat"], lon=place["lon"])
        places[place["name"]] = Place(position=position, heading_deg=place["heading_deg"], name=place["name"])
    return drawn, places


def _serve_desk(desks: dict[str, Desk], server: DeskServer, args: argparse.Namespace) -> int:
    stop = process.StopRequest()
    for desk in desks.values():
        desk.start()
    threading.Thread(target=server.serve_forever, args=(HTTP_POLL_S,), name="http", daemon=True).start()
    urls = {desk.config.operator: f"{server.url}/?key={key}" for key, desk in desks.items()}
    if args.announce:
        several = {"urls": urls} if len(urls) > 1 else {}
        process.announce({"url": server.url, "port": server.server_address[1], **several})
        process.when_parent_ends(stop.ask)
    else:
        where = "; ".join(f"{name}: {url}" for name, url in urls.items()) if len(urls) > 1 else f"{server.url}/"
        print(f"Dispatch desk ready: {where} (broker {args.broker}, book {args.book}). Ctrl-C ends it.", flush=True)
    stop.wait()
    server.shutdown()
    server.server_close()
    for desk in desks.values():
        desk.close()
    return 0


# ---------------------------------------------------------------------------- client


def run_order(args: argparse.Namespace) -> int:
    try:
        order_id = client.place_order(
            args.desk,
            args.pickup,
            args.dropoff,
            vehicle=args.vehicle,
            order_id=args.order_id,
            stops=args.stop,
            rider_code=args.code,
        )
        order = client.get_order(args.desk, order_id)
        if args.wait:
            order = client.wait_for_state(args.desk, order_id, ("COMPLETED",), args.timeout)
    except client.OrderError as error:
        return _fail(str(error))
    _write_json(args, order)
    print(_line(order))
    return 0 if not args.wait or order["state"] == "COMPLETED" else 1


def run_cancel(args: argparse.Namespace) -> int:
    try:
        order = client.cancel_order(args.desk, args.order_id, by=args.by, reason=args.reason)
    except client.OrderError as error:
        return _fail(str(error))
    _write_json(args, order)
    print(f"Cancellation of {args.order_id} is asked for; the car decides. {_line(order)}")
    return 0


def run_orders(args: argparse.Namespace) -> int:
    try:
        orders = [client.get_order(args.desk, args.order_id)] if args.order_id else client.list_orders(args.desk)
    except client.OrderError as error:
        return _fail(str(error))
    _write_json(args, orders)
    for order in orders:
        print(_line(order))
        if args.order_id:
            for event in order["events"]:
                print(f"  {event['stamp_ns'] / 1e9:14.2f} s  {event['state']:<20} {event['reason']}".rstrip())
    print(f"{len(orders)} order{'s' if len(orders) != 1 else ''}, {sum(not o['final'] for o in orders)} under way")
    return 0


def run_pki(args: argparse.Namespace) -> int:
    from robotaxi.dispatch.pki import PkiError, make_test_pki, renew, revoke

    try:
        pki = make_test_pki(Path(args.pki).expanduser(), args.operator, args.vehicle)
        if args.revoke:
            revoke(pki, [pki.vehicle(name).cert for name in args.revoke])
        for name in args.renew:
            renew(pki, name)
    except PkiError as error:
        return _fail(str(error))
    for name in args.revoke:
        print(f"revoked      {name}")
    identities: list[Identity] = [pki.broker, pki.dispatcher, *(pki.vehicle(name) for name in args.vehicle)]
    print(f"authority    {pki.ca}")
    for identity in identities:
        print(f"{identity.name:<12} {identity.cert}")
    return 0


# ---------------------------------------------------------------------------- small things


def place(text: str) -> dict[str, Any] | str:
    """``LAT,LON[,HEADING]`` in degrees, or the name of a place."""
    parts = text.split(",")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        return text
    if len(numbers) not in (2, 3):
        raise argparse.ArgumentTypeError(f"{text!r}: expected LAT,LON or LAT,LON,HEADING in degrees")
    return dict(zip(("lat", "lon", "heading_deg"), numbers, strict=False))


def _add_pki(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pki", default=DEFAULT_PKI, help="folder of the test authority (default %(default)s)")
    parser.add_argument("--operator", default="demo", help="operator in topics and certificates (default %(default)s)")
    parser.add_argument("--vehicle", action="append", default=[], help="make this car's certificate; may be repeated")


def _add_desk(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--desk", default=DEFAULT_DESK, help="address of the desk (default %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the answer to FILE")


def _add_announce(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--announce", action="store_true", help="for programs: print one JSON line when ready, end with standard input"
    )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a port from 0 to 65535")
    return int(text)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"--broker {text!r}: expected HOST:PORT")
    return host, int(port)


def _line(order: Mapping[str, Any]) -> str:
    reason = f" ({order['reason']})" if order["reason"] else ""
    return f"{order['order_id']}: {order['state']}{reason}, car {order['vehicle']}"


def _write_json(args: argparse.Namespace, value: Any) -> None:
    if args.json:
        Path(args.json).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def _call_soon(loop: asyncio.AbstractEventLoop, function: Any) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended by itself
        loop.call_soon_threadsafe(function)


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1

"""`robotaxi fleet --cars 5`: several simulated cars on one dispatch desk, to look at and to order from."""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path
from typing import Any

PERIOD_S = 0.1
OPERATOR = "demo"


def register(subparsers: Any) -> None:
    fleet = subparsers.add_parser(
        "fleet",
        help="several simulated cars on one dispatch desk",
        description=(
            "Starts a broker, a desk with its page and cars with real dispatch bridges that follow their routes "
            "without sensors or traffic. Open the address that it prints and order rides by clicking on the map."
        ),
        epilog="example:\n  robotaxi fleet --cars 5 --orders 3",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    fleet.add_argument("--cars", type=int, default=5, help="from 1 to 50 (default %(default)s)")
    fleet.add_argument("--map", default="town", help="map name, or path to .osm or .xodr (default %(default)s)")
    fleet.add_argument("--orders", type=int, default=0, help="rides to order by itself (default %(default)s)")
    fleet.add_argument("--seed", type=int, default=0, help="of where cars stand and of orders (default %(default)s)")
    fleet.add_argument("--port", type=int, default=8080, help="of the page; 0: any free one (default %(default)s)")
    fleet.add_argument("--rate", type=float, default=1.0, help="simulated over real time (default %(default)s)")
    fleet.add_argument("--duration", type=float, default=0.0, help="s until it ends; 0: Ctrl-C (default %(default)s)")
    fleet.add_argument("--folder", type=Path, help="books, outboxes, certificates and logs (default: runs/fleet-...)")
    fleet.add_argument("--json", type=Path, metavar="FILE", help="write the order book there at the end")
    fleet.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from robotaxi.dispatch import client, process
    from robotaxi.dispatch.bridge import Bridge, BridgeConfig
    from robotaxi.dispatch.clock import trusted_clock
    from robotaxi.dispatch.fleet_car import FleetCar
    from robotaxi.dispatch.outbox import Outbox
    from robotaxi.dispatch.pki import make_test_pki
    from robotaxi.dispatch.reachable import reachable_on
    from robotaxi.dispatch.signing import FolderVerifier
    from robotaxi.dispatch.transport import MqttConfig, MqttLink
    from robotaxi.hdmap import load_map
    from robotaxi.hdmap.lane_map import MapError
    from robotaxi.types import Pose2

    if not 1 <= args.cars <= 50 or args.orders < 0 or not 0.1 <= args.rate <= 20.0:
        return _fail("--cars is from 1 to 50, --orders from 0, --rate from 0.1 to 20")
    try:
        lane_map = load_map(args.map)
    except MapError as error:
        return _fail(str(error))
    places = sorted(lane_map.stopping_places.values(), key=lambda place: place.id)
    if not places:
        return _fail(f"map {args.map} has no stopping places for the cars to begin at")
    rng = random.Random(f"fleet/{args.seed}")
    folder = args.folder or Path("runs") / time.strftime("fleet-%Y%m%d-%H%M%S")
    names = [f"car{number}" for number in range(1, args.cars + 1)]
    stop = process.StopRequest()
    children: list[process.Child] = []
    bridges: list[Bridge] = []
    try:
        pki = make_test_pki(folder / "pki", OPERATOR, names)
        children.append(process.start_broker(pki.folder, folder / "broker.log", operator=OPERATOR))
        port = int(children[0].ready["port"])
        children.append(
            process.start_desk(
                pki.folder, port, folder / "book.sqlite", folder / "desk.log", port=args.port, lane_map=args.map
            )
        )
        url = str(children[1].ready["url"])
        cars = []
        for number, name in enumerate(names):
            place = places[(number * max(len(places) // args.cars, 1)) % len(places)]
            cars.append(FleetCar(lane_map, Pose2(*place.pose)))
            bridges.append(
                Bridge(
                    BridgeConfig(vehicle=name, operator=OPERATOR),
                    lane_map.origin,
                    MqttLink(MqttConfig(port=port), pki.vehicle(name), name),
                    Outbox(folder / "outbox" / name),
                    reachable_on(lane_map),
                    FolderVerifier(pki.signers, pki.ca, pki.crl, OPERATOR),
                    clock=trusted_clock,
                )
            )
        print(f"fleet: {args.cars} cars on {url}/ ; Ctrl-C ends it. Everything lies in {folder}.", flush=True)
        for number in range(args.orders):
            start, end = rng.sample(places, 2)
            client.place_order(url, _place(lane_map, start), _place(lane_map, end), order_id=f"fleet-{number + 1}")
        _drive(args, cars, bridges, stop)
        orders = client.list_orders(url)
    except (process.StartError, client.OrderError, ValueError) as error:
        return _fail(str(error))
    finally:
        for bridge in bridges:
            bridge.close(1.0)
        for child in reversed(children):
            child.stop()
    done = sum(order["state"] == "COMPLETED" for order in orders)
    if args.json is not None:
        import json

        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({"orders": orders}, indent=2) + "\n", encoding="utf-8")
    print(f"fleet: {done} of {len(orders)} rides completed")
    return 0


def _drive(args: argparse.Namespace, cars: list[Any], bridges: list[Any], stop: Any) -> None:
    from robotaxi.types import TripState

    begun = due = time.monotonic()
    stamp_ns = 0
    wanted: list[Any] = [(None, TripState.IDLE)] * len(cars)
    while not stop.wait_for(max(due - time.monotonic(), 0.0)):
        if args.duration and time.monotonic() - begun > args.duration:
            return
        for number, (car, bridge) in enumerate(zip(cars, bridges, strict=True)):
            car.step(PERIOD_S, *wanted[number])
            output = bridge.step(car.inputs(stamp_ns))
            wanted[number] = (output.goal, output.trip_state)
        stamp_ns += round(PERIOD_S * 1e9)
        due = max(due + PERIOD_S / args.rate, time.monotonic() - 1.0)


def _place(lane_map: Any, place: Any) -> dict[str, Any]:
    import math

    from robotaxi.geometry.geodesy import LocalFrame

    x, y, yaw = place.pose
    lat, lon, _ = LocalFrame(*lane_map.origin).to_geodetic(x, y, 0.0)
    return {"lat": lat, "lon": lon, "heading_deg": (90.0 - math.degrees(yaw)) % 360.0, "name": place.name}


def _fail(message: str) -> int:
    print(f"robotaxi: {message}", file=sys.stderr)
    return 2

"""The desk of the torture: the real one on a link that duplicates, delays and reorders."""

from __future__ import annotations

import argparse
import logging
import random
import threading
import time
from pathlib import Path

from robotaxi.dispatch import process
from robotaxi.dispatch.book import OrderBook
from robotaxi.dispatch.desk import Desk, DeskConfig
from robotaxi.dispatch.desk_http import DeskServer
from robotaxi.dispatch.pki import TestPki
from robotaxi.dispatch.signing import Signer
from robotaxi.dispatch.torture.car import OPERATOR
from robotaxi.dispatch.torture.chaos import Chaos, ChaosLink
from robotaxi.dispatch.transport import MqttConfig, MqttLink


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pki", required=True)
    parser.add_argument("--broker-port", type=int, required=True)
    parser.add_argument("--book", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seed", required=True)
    parser.add_argument("--calm", action="store_true")
    parser.add_argument("--announce", action="store_true")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    pki = TestPki(Path(args.pki), OPERATOR)
    mqtt = MqttConfig(port=args.broker_port, retry_min=0.1, retry_max=1.0, keep_alive=4)
    inner = MqttLink(mqtt, pki.dispatcher, "dispatcher:desk")
    rng = random.Random(f"{args.seed}/desk/{time.monotonic_ns()}")
    link = ChaosLink(inner, Chaos(0.0, 0.0) if args.calm else Chaos(), rng)
    config = DeskConfig(accept_within=20.0, offer_again=0.7, offer_again_max=5.0, stale_after=10.0, patience=86400.0)
    desk = Desk(config, link, OrderBook(args.book), Signer.load(pki.signer, pki.signers))
    server = DeskServer(desk, "127.0.0.1", args.port)
    stop = process.StopRequest()
    desk.start()
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    process.announce({"url": server.url, "port": server.server_address[1]})
    process.when_parent_ends(stop.ask)
    stop.wait()
    server.shutdown()
    desk.close()


if __name__ == "__main__":
    main()

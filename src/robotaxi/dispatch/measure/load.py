"""A thousand vehicles in one process: each a TLS connection with its own certificate, one state a second."""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
import sys
import time
from pathlib import Path

from robotaxi.dispatch import protocol
from robotaxi.dispatch.messages import DATUM, Connection, Position, State, TripReport
from robotaxi.dispatch.mqtt import packets
from robotaxi.dispatch.pki import TestPki
from robotaxi.dispatch.protocol import Sender
from robotaxi.dispatch.tls import client_context

OPERATOR = "demo"
CONNECTING = 10  # at one time
ATTEMPTS = 3  # a machine under load may let a handshake time out
KEEP_ALIVE_S = 60


class LoadVehicle(asyncio.Protocol):
    """Connects, subscribes to its own commands, and sends states."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready = asyncio.get_running_loop().create_future()
        self.lost = False
        self._sender = Sender(name, secrets.token_hex(8), lambda: secrets.token_hex(16), time.time_ns)
        self._topic = protocol.topic(OPERATOR, name, "up", "state")
        self._reader = packets.Reader(1 << 20)
        self._transport: asyncio.Transport | None = None
        self._stamp = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(packets.connect_packet(self.name, KEEP_ALIVE_S))

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        for first, rest in self._reader.feed(data):
            if first >> 4 == packets.CONNACK and rest[1] == 0:
                down = protocol.topic(OPERATOR, self.name, "down", "+")
                self._transport.write(packets.subscribe_packet(1, down, 1))
                self._send(self._sender.wrap(Connection(state="online"))[1], "connection")
            elif first >> 4 == packets.SUBACK and not self.ready.done():
                self.ready.set_result(None)
            elif first >> 4 == packets.PUBLISH and (first >> 1) & 3:
                message = packets.read_publish(first, rest, packets.V311)
                self._transport.write(packets.puback(packets.V311, message.packet_id))

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(f"{self.name} was not let in"))

    def send_state(self) -> None:
        self._stamp += 1_000_000_000
        self._send(self._sender.wrap(_state(self._stamp))[1], "state")

    def _send(self, payload: bytes, name: str) -> None:
        assert self._transport is not None
        topic = protocol.topic(OPERATOR, self.name, "up", name)
        message = packets.Publish(topic, payload, 0, False)
        self._transport.write(packets.publish_packet(message, packets.V311, 0, 0, False))


def _state(stamp_ns: int) -> State:
    """As long as a state of a car under way."""
    place = Position(datum=DATUM, lat=48.137154321, lon=11.575382123, alt=519.123)
    trip = TripReport(
        order_id="order-0123456789ab", state="EN_ROUTE", distance_to_go=1234.5, eta_s=205.7, pickup=place, dropoff=place
    )
    return State(
        stamp_ns=stamp_ns,
        mode="AUTONOMOUS",
        sentence="Following a car at 8.3 m/s, 21 m ahead.",
        position=place,
        position_sigma=0.05,
        speed=8.3,
        trip=trip,
        trajectory=tuple((48.137154 + i * 1e-5, 11.575382) for i in range(12)),
    )


async def run(pki: TestPki, port: int, count: int) -> None:
    """Connect ``count`` vehicles, say so in one line, send until standard input ends, report the lost."""
    loop = asyncio.get_running_loop()
    gate = asyncio.Semaphore(CONNECTING)

    async def connect(number: int) -> LoadVehicle:
        identity = pki.vehicle(f"load{number}")
        context: ssl.SSLContext = client_context(identity.ca, identity.cert, identity.key)
        async with gate:
            for attempt in range(ATTEMPTS):
                try:
                    _, vehicle = await loop.create_connection(
                        lambda: LoadVehicle(identity.name), "127.0.0.1", port, ssl=context, server_hostname="localhost"
                    )
                    await vehicle.ready
                    return vehicle
                except OSError:
                    if attempt == ATTEMPTS - 1:
                        raise
        raise ConnectionError(f"{identity.name} was not let in")

    begun = time.monotonic()
    vehicles = await asyncio.gather(*(connect(number) for number in range(count)))
    print(json.dumps({"connected": count, "seconds": round(time.monotonic() - begun, 2)}), flush=True)
    end = loop.run_in_executor(None, sys.stdin.buffer.read)
    start, sent = loop.time(), 0
    while not end.done():
        due = start + sent / count
        if due > loop.time():
            await asyncio.sleep(due - loop.time())
        vehicles[sent % count].send_state()
        sent += 1
        if sent % 20 == 0:
            await asyncio.sleep(0)
    print(json.dumps({"sent": sent, "lost_connections": sum(vehicle.lost for vehicle in vehicles)}), flush=True)


if __name__ == "__main__":
    asyncio.run(run(TestPki(Path(sys.argv[1]), OPERATOR), int(sys.argv[2]), int(sys.argv[3])))

"""MQTT over mutual TLS with paho: a `Link` that keeps trying and reports instead of raising.

MQTT 5 first; a broker that speaks only 3.1.1 is spoken to in 3.1.1. Certificate files that change are taken up
with the next connection, so rotation needs no restart.
"""

from __future__ import annotations

import logging
import ssl
import sys
import threading
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from robotaxi.dispatch.link import LinkStatus, Outgoing, Session
from robotaxi.dispatch.pki import Identity
from robotaxi.dispatch.protocol import JSON, MSGPACK
from robotaxi.dispatch.tls import TlsError, client_context, reload_context
from robotaxi.params import param

log = logging.getLogger(__name__)

TAKEN_OVER_PAUSE_S = 30.0  # two with one identity: the one that was thrown off lets the other be for so long
MAX_QUEUED = 1000  # messages that paho may hold; the outbox holds the rest


@dataclass(frozen=True)
class MqttConfig:
    """Where the broker is and how patient the link is."""

    host: str = param("localhost", doc="broker's host name, as in its certificate")
    port: int = param(8883, lo=1, hi=65535, doc="broker's port")
    keep_alive: int = param(10, lo=2, hi=600, unit="s", doc="silence after which the peer counts as gone")
    connect_timeout: float = param(3.0, lo=0.5, hi=30.0, unit="s", doc="for one attempt to connect")
    retry_min: float = param(0.25, lo=0.05, hi=10.0, unit="s", doc="first pause between attempts; doubles")
    retry_max: float = param(2.0, lo=0.1, hi=300.0, unit="s", doc="longest pause between attempts")
    protocol: str = param("auto", doc="MQTT version: 5, 3.1.1, or auto (5, and 3.1.1 where that is refused)")


class MqttLink:
    """One connection. ``identity``: certificate, key and authority; ``client_id`` as the broker binds it."""

    def __init__(self, config: MqttConfig, identity: Identity, client_id: str) -> None:
        self._config = config
        self._identity = identity
        self._client_id = client_id
        self._lock = threading.Lock()
        self._status = LinkStatus(False, 0, "not started")
        self._session: Session | None = None
        self._client: mqtt.Client | None = None
        self._context: ssl.SSLContext | None = None
        self._version: mqtt.MQTTProtocolVersion = mqtt.MQTTv5
        self._files = self._stamps()
        self._as_json, self._as_msgpack = _content_type(JSON), _content_type(MSGPACK)

    # ------------------------------------------------------------------ Link

    def start(self, session: Session) -> None:
        self._session = session
        try:
            self._context = client_context(self._identity.ca, self._identity.cert, self._identity.key)
        except TlsError as error:
            self._set(connected=False, detail=f"cannot connect: {error}")
            return
        self._begin(mqtt.MQTTv311 if self._config.protocol == "3.1.1" else mqtt.MQTTv5)

    def _begin(self, version: mqtt.MQTTProtocolVersion) -> None:
        session = self._session
        assert session is not None
        client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=True if version == mqtt.MQTTv311 else None,
            protocol=version,
            reconnect_on_failure=True,
        )
        self._version = version
        client.tls_set_context(self._context)
        client.connect_timeout = self._config.connect_timeout
        client.max_queued_messages_set(MAX_QUEUED)
        # paho declares whole seconds; it only adds and compares them
        client.reconnect_delay_set(self._config.retry_min, self._config.retry_max)  # type: ignore[arg-type]
        client.on_pre_connect = self._on_pre_connect
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        if session.will is not None:
            client.will_set(session.will.topic, session.will.payload, session.will.qos, session.will.retain)
        self._client = client
        self._set(connected=False, detail=f"connecting to {self._address}")
        client.connect_async(self._config.host, self._config.port, self._config.keep_alive)
        client.loop_start()

    def _fall_back(self) -> None:
        """The broker does not speak MQTT 5. Called from paho's thread, which ends with this client."""
        old = self._client

        def again() -> None:
            if old is not None:
                old.disconnect()
                old.loop_stop()
            if self._client is old:  # not closed meanwhile
                self._begin(mqtt.MQTTv311)

        threading.Thread(target=again, name="mqtt-3.1.1", daemon=True).start()

    def publish(self, message: Outgoing) -> bool:
        client = self._client
        if client is None or not self._status.connected:
            return False
        info = client.publish(
            message.topic, message.payload, message.qos, message.retain, self._properties(message.payload)
        )
        return bool(info.rc == mqtt.MQTT_ERR_SUCCESS)

    def _properties(self, payload: bytes) -> Properties | None:
        if self._version != mqtt.MQTTv5:
            return None
        return self._as_json if payload[:1] == b"{" else self._as_msgpack

    def status(self) -> LinkStatus:
        return self._status

    def close(self, last: Outgoing | None = None, timeout_s: float = 1.0) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        if last is not None and self._status.connected:
            info = client.publish(last.topic, last.payload, last.qos, last.retain)
            try:
                info.wait_for_publish(timeout_s)
            except (RuntimeError, ValueError) as error:
                log.debug("goodbye was not sent: %s", error)
        client.disconnect()
        client.loop_stop()
        self._set(connected=False, detail="closed")

    # ------------------------------------------------------------------ paho's thread

    @property
    def _address(self) -> str:
        return f"{self._config.host}:{self._config.port}"

    def _set(self, *, connected: bool, detail: str, new_session: bool = False) -> None:
        with self._lock:
            before = self._status
            self._status = LinkStatus(connected, before.session + int(new_session), detail)
        if detail != before.detail:
            log.info("%s: %s", self._client_id, detail)

    def _stamps(self) -> tuple[int, ...]:
        try:
            files = (self._identity.ca, self._identity.cert, self._identity.key)
            return tuple(path.stat().st_mtime_ns for path in files)
        except OSError:
            return ()

    def _on_pre_connect(self, client: mqtt.Client, userdata: Any) -> None:
        """New certificate files are used from the next connection on."""
        stamps = self._stamps()
        if stamps == self._files or self._context is None:
            return
        try:
            reload_context(self._context, self._identity.ca, self._identity.cert, self._identity.key)
            self._files = stamps
        except TlsError as error:
            log.warning("%s: changed certificate files are not taken up: %s", self._client_id, error)

    def _on_connect(self, client: mqtt.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure and "version" in str(reason).lower() and self._may_fall_back():
            self._fall_back()
            return
        if reason.is_failure:
            self._set(connected=False, detail=f"broker {self._address} refused {self._client_id!r}: {reason}")
            return
        assert self._session is not None
        if self._session.subscribe:
            client.subscribe([(topic, 1) for topic in self._session.subscribe])
        else:
            self._go_online(client)

    def _on_subscribe(self, client: mqtt.Client, userdata: Any, mid: int, reasons: Any, properties: Any) -> None:
        failed = [reason for reason in reasons if reason.is_failure]
        if failed:
            self._set(connected=False, detail=f"broker {self._address} refused a subscription: {failed[0]}")
            return
        self._go_online(client)

    def _go_online(self, client: mqtt.Client) -> None:
        # Births leave before anything that `publish` lets through, so peers see them first.
        assert self._session is not None
        for message in self._session.birth():
            client.publish(
                message.topic, message.payload, message.qos, message.retain, self._properties(message.payload)
            )
        client.reconnect_delay_set(self._config.retry_min, self._config.retry_max)  # type: ignore[arg-type]
        self._set(connected=True, detail=f"connected to {self._address}", new_session=True)

    def _on_connect_fail(self, client: mqtt.Client, userdata: Any) -> None:
        self._set(connected=False, detail=f"broker {self._address}: {_plain(sys.exc_info()[1])}")

    def _may_fall_back(self) -> bool:
        return self._config.protocol == "auto" and self._version == mqtt.MQTTv5

    def _on_disconnect(self, client: mqtt.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        # With TLS 1.3 a refused certificate shows only now, and a CONNACK's refusal says more.
        if "refused" in self._status.detail:
            return
        was = self._status.connected
        if "taken over" in str(reason).lower():
            detail = f"somebody else connected to {self._address} as {self._client_id!r}: two with one identity?"
            client.reconnect_delay_set(TAKEN_OVER_PAUSE_S, TAKEN_OVER_PAUSE_S)  # type: ignore[arg-type]
            self._set(connected=False, detail=detail)
            return
        detail = (
            f"lost the broker {self._address}: {reason}"
            if was
            else (
                f"broker {self._address} ended the connection before accepting it; is the certificate of its authority?"
            )
        )
        self._set(connected=False, detail=detail)

    def _on_message(self, client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        assert self._session is not None
        try:
            self._session.on_message(message.topic, bytes(message.payload))
        except Exception:
            # paho's thread must live; a message that breaks its handler is a defect to be logged
            log.exception("%s: a message on %s could not be handled", self._client_id, message.topic)


def _content_type(name: str) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)
    properties.ContentType = name
    return properties


def _plain(error: BaseException | None) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, OSError):
        return f"unreachable: {error.strerror or error}"
    return "unreachable"

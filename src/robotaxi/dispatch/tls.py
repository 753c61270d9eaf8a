"""Mutual TLS contexts for both sides of the link, and who a certificate says its holder is."""

from __future__ import annotations

import math
import ssl
from dataclasses import dataclass
from pathlib import Path


class TlsError(ValueError):
    """A certificate or key file that cannot be used; the message names it."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Subject of a verified certificate: operator (O), role (OU) and name (CN), its serial number and end."""

    operator: str
    role: str
    name: str
    serial: int = 0
    valid_until_s: float = math.inf  # since 1970


def server_context(ca: Path, cert: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.3, client certificate required."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _load(context, ca, cert, key)


def client_context(ca: Path, cert: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.3, server certificate and its host name checked."""
    return _load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ca, cert, key)


def holder(tls: ssl.SSLObject | ssl.SSLSocket | None) -> Holder | None:
    """Who is at the other end; None without a verified certificate that names all three."""
    cert = tls.getpeercert() if tls is not None else None
    if not cert:
        return None
    fields: dict[str, str] = {}
    subject: tuple[tuple[tuple[str, str], ...], ...] = cert.get("subject", ())  # type: ignore[assignment]
    for rdn in subject:
        for key, value in rdn:
            fields.setdefault(key, value)
    try:
        return Holder(
            fields["organizationName"],
            fields["organizationalUnitName"],
            fields["commonName"],
            int(str(cert["serialNumber"]), 16),
            float(ssl.cert_time_to_seconds(str(cert["notAfter"]))),
        )
    except (KeyError, ValueError):
        return None


def reload_context(context: ssl.SSLContext, ca: Path, cert: Path, key: Path) -> None:
    """Take up changed files for the connections to come. An authority that was trusted stays so: when it is
    replaced, both are trusted until the process ends. Raises TlsError and changes nothing for bad files."""
    probe = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(probe, ca, cert, key)
    _load(context, ca, cert, key)


def _load(context: ssl.SSLContext, ca: Path, cert: Path, key: Path) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    for path in (ca, cert, key):
        try:
            with path.open("rb"):
                pass
        except OSError as error:
            raise TlsError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        context.load_verify_locations(cafile=str(ca))
    except (ssl.SSLError, ValueError) as error:
        raise TlsError(f"{ca}: not a certificate: {error}") from error
    try:
        context.load_cert_chain(str(cert), str(key))
    except (ssl.SSLError, ValueError) as error:
        raise TlsError(f"{cert} and {key}: not a certificate with its key: {error}") from error
    return context

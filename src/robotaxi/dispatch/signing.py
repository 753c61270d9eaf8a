"""Signatures of commands (Ed25519), independent of the broker: who may write to a topic does not thereby command.

The dispatcher has a key; its certificate, issued by the fleet's authority with OU = signer, lies in each
vehicle's ``signers`` folder. A new certificate there is obeyed from then on, one that is removed, revoked or has
expired no longer: no restart.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import logging
import time
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from robotaxi.dispatch.pki import ROLE_SIGNER
from robotaxi.dispatch.protocol import Envelope, ProtocolError, signed_bytes
from robotaxi.dispatch.revocation import RevocationList

log = logging.getLogger(__name__)

REFRESH_S = 1.0


class SigningError(ValueError):
    """A key file that cannot be used; the message names it."""


class Signer:
    """``kid`` names the key to those who check: the serial number of its certificate."""

    def __init__(self, key: Ed25519PrivateKey, kid: str) -> None:
        self._key = key
        self.kid = kid

    @classmethod
    def load(cls, key_path: Path, signers: Path) -> Signer:
        """The key and, of the certificates in ``signers``, the one that belongs to it."""
        try:
            key = load_pem_private_key(key_path.read_bytes(), None)
        except (OSError, ValueError, TypeError) as error:
            raise SigningError(f"{key_path}: not a private key: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise SigningError(f"{key_path}: not an Ed25519 key")
        for path in sorted(signers.glob("*.crt")):
            cert = _certificate(path)
            if cert is not None and cert.public_key() == key.public_key():
                return cls(key, kid_of(cert))
        raise SigningError(f"{key_path}: no certificate in {signers} belongs to it")

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)


class Verifier:
    """Checks signatures with fixed ``keys``: kid to public key."""

    def __init__(self, keys: Mapping[str, Ed25519PublicKey]) -> None:
        self._keys = dict(keys)

    def check(self, operator: str, envelope: Envelope) -> None:
        """ProtocolError of kind "unsigned" when the signature is missing or wrong."""
        signature = envelope.sig
        if signature is None:
            raise ProtocolError("not signed", "unsigned", envelope.id)
        key = self._key(signature.kid)
        if key is None:
            raise ProtocolError(f"key {signature.kid[:80]!r} is not trusted", "unsigned", envelope.id)
        try:
            key.verify(base64.b64decode(signature.value, validate=True), signed_bytes(operator, envelope))
        except (InvalidSignature, binascii.Error, ValueError) as error:
            raise ProtocolError("the signature is wrong", "unsigned", envelope.id) from error

    def _key(self, kid: str) -> Ed25519PublicKey | None:
        return self._keys.get(kid)


class FolderVerifier(Verifier):
    """Trusts the signers' certificates in a folder, as they stand now."""

    def __init__(self, signers: Path, ca: Path, crl: Path, operator: str) -> None:
        super().__init__({})
        self._folder, self._ca, self._operator = signers, ca, operator
        self._revoked = RevocationList(crl, ca)
        self._certificates: dict[str, tuple[Ed25519PublicKey, int, float]] = {}
        self._looked_s = -REFRESH_S
        self._names: tuple[tuple[str, int], ...] = ()
        self._refresh()

    def _key(self, kid: str) -> Ed25519PublicKey | None:
        self._refresh()
        found = self._certificates.get(kid)
        if found is None or self._revoked.has(found[1]) or time.time() > found[2]:
            return None
        return found[0]

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._looked_s < REFRESH_S:
            return
        self._looked_s = now
        self._revoked.refresh()
        try:
            paths = sorted(self._folder.glob("*.crt"))
            names = tuple((path.name, path.stat().st_mtime_ns) for path in paths)
        except OSError:
            return
        if names == self._names:
            return
        self._names = names
        authority = _certificate(self._ca)
        self._certificates = {}
        for path in paths:
            cert = _certificate(path)
            if cert is None or authority is None or not _is_signer(cert, authority, self._operator):
                log.warning("%s is not a signer's certificate of this authority", path)
                continue
            key = cert.public_key()
            assert isinstance(key, Ed25519PublicKey)
            self._certificates[kid_of(cert)] = (key, cert.serial_number, cert.not_valid_after_utc.timestamp())


def kid_of(cert: x509.Certificate) -> str:
    return f"{cert.serial_number:x}"


def _certificate(path: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return None


def _is_signer(cert: x509.Certificate, authority: x509.Certificate, operator: str) -> bool:
    try:
        cert.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    subject = {
        oid: [str(a.value) for a in cert.subject.get_attributes_for_oid(oid)]
        for oid in (NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME)
    }
    return (
        isinstance(cert.public_key(), Ed25519PublicKey)
        and subject[NameOID.ORGANIZATION_NAME] == [operator]
        and subject[NameOID.ORGANIZATIONAL_UNIT_NAME] == [ROLE_SIGNER]
        and cert.not_valid_before_utc <= datetime.datetime.now(datetime.timezone.utc)
    )

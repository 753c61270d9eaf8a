"""Revoked certificates: a list (X.509 CRL) signed by the authority, read again when its file changes."""

from __future__ import annotations

import logging
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec

log = logging.getLogger(__name__)


class RevocationList:
    """``path``: the list, PEM; a missing file revokes nobody. ``ca``: the authority that must have signed it.

    A list that cannot be read or is not of the authority changes nothing: the last good one stays.
    """

    def __init__(self, path: Path, ca: Path) -> None:
        self._path, self._ca = path, ca
        self._stamp = -1
        self._serials: frozenset[int] = frozenset()
        self.problem = ""
        self.refresh()

    def has(self, serial: int) -> bool:
        return serial in self._serials

    def refresh(self) -> None:
        """Look at the file; cheap when it has not changed."""
        try:
            stamp = self._path.stat().st_mtime_ns
        except OSError:
            return
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            crl = x509.load_pem_x509_crl(self._path.read_bytes())
            authority = x509.load_pem_x509_certificate(self._ca.read_bytes()).public_key()
            if not isinstance(authority, ec.EllipticCurvePublicKey) or not crl.is_signature_valid(authority):
                raise ValueError("it is not signed by the authority")
            self._serials = frozenset(entry.serial_number for entry in crl)
            self.problem = ""
        except (OSError, ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
            self.problem = f"revocation list {self._path} is not taken up: {error}"
            log.error(self.problem)

"""A test authority: certificates for one broker, one dispatcher and a few vehicles.

For development, tests and demonstrations. A fleet has its own authority; the roles are read from
the same fields there:

* subject O  = operator
* subject OU = role: ``broker``, ``dispatcher``, ``vehicle`` or ``signer`` (of commands)
* subject CN = name; for a vehicle its id, which is also its MQTT client id

Keys are EC P-256, the signer's Ed25519. Nothing here is imported by the driving path.
"""

from __future__ import annotations

import datetime
import fcntl
import ipaddress
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID_DAYS = 365
RENEW_BEFORE_DAYS = 7
BACKDATE_HOURS = 1  # tolerates a peer whose clock is a little behind
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

ROLE_BROKER = "broker"
ROLE_DISPATCHER = "dispatcher"
ROLE_VEHICLE = "vehicle"
ROLE_SIGNER = "signer"


class PkiError(ValueError):
    """A name, folder or file that cannot be used; the message says which."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Files of one party: its certificate, its private key and the authority that peers must have."""

    name: str
    ca: Path
    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class TestPki:
    """Where the files of one test authority are."""

    __test__ = False  # its name starts with Test: not a pytest class

    folder: Path
    operator: str
    root: Path | None = None  # folder of the authority, where this operator is not its first

    @property
    def ca(self) -> Path:
        return self._shared / "ca.crt"

    @property
    def crl(self) -> Path:
        """The list of revoked certificates; there once the first one is."""
        return self._shared / "ca.crl"

    @property
    def ca_key(self) -> Path:
        return self._shared / "ca.key"

    @property
    def lock(self) -> Path:
        return self._shared / ".lock"

    @property
    def _shared(self) -> Path:
        return self.root or self.folder

    @property
    def signer(self) -> Path:
        """The dispatcher's private key for commands (Ed25519)."""
        return self.folder / "signer.key"

    @property
    def signers(self) -> Path:
        """Certificates of the keys whose commands the vehicles obey."""
        return self.folder / "signers"

    @property
    def broker(self) -> Identity:
        return self._identity("broker", self._shared)

    @property
    def dispatcher(self) -> Identity:
        return self._identity("dispatcher", self.folder)

    def vehicle(self, vehicle: str) -> Identity:
        return self._identity(check_name(vehicle, "vehicle"), self.folder / "vehicles")

    def _identity(self, name: str, folder: Path) -> Identity:
        return Identity(name, self.ca, folder / f"{name}.crt", folder / f"{name}.key")


def check_name(name: str, what: str) -> str:
    """``name`` if it can stand in a topic, a file name and a certificate; else PkiError."""
    if not NAME.fullmatch(name):
        raise PkiError(f"{what} {name!r}: use 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit")
    return name


def make_test_pki(folder: str | Path, operator: str, vehicles: Sequence[str]) -> TestPki:
    """Make what is missing in ``folder``; keep what is there, valid and of this authority.

    An operator that the authority was not made for gets a folder of its own in ``folder``/operators: its own
    dispatcher, signer and vehicles under the same authority and broker.

    Safe to call again and from several processes at once. Keys are readable by their owner only.
    Raises PkiError for a bad name, a folder that cannot be written or files that cannot be read.
    """
    check_name(operator, "operator")
    names = [check_name(vehicle, "vehicle") for vehicle in vehicles]
    pki = _home_of(Path(folder), operator)
    try:
        (pki.folder / "vehicles").mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(pki.lock):
            authority = _authority(pki)
            if pki.root is None:
                _issue(pki.broker, operator, ROLE_BROKER, authority)
            _issue(pki.dispatcher, operator, ROLE_DISPATCHER, authority)
            for name in names:
                _issue(pki.vehicle(name), operator, ROLE_VEHICLE, authority)
            _issue_signer(pki, authority)
    except OSError as error:
        raise PkiError(f"{error.filename or folder}: {error.strerror or error}") from error
    return pki


def _home_of(folder: Path, operator: str) -> TestPki:
    try:
        subject = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes()).subject
    except (OSError, ValueError):
        return TestPki(folder, operator)  # no authority yet, or one that is made anew
    first = [str(item.value) for item in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    if first == [operator]:
        return TestPki(folder, operator)
    return TestPki(folder / "operators" / operator, operator, folder)


def revoke(pki: TestPki, certs: Sequence[Path]) -> None:
    """Add certificates to the revocation list; who looks at the list refuses them from then on.

    Raises PkiError when a certificate or the authority cannot be read.
    """
    with _locked(pki.lock):
        authority = _authority(pki)
        serials = {cert.serial_number: cert for cert in _revoked(pki)}
        for path in certs:
            try:
                serial = x509.load_pem_x509_certificate(path.read_bytes()).serial_number
            except (OSError, ValueError) as error:
                raise PkiError(f"{path}: not a certificate: {error}") from error
            date = datetime.datetime.now(datetime.timezone.utc)
            serials[serial] = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(date).build()
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(authority.cert.subject)
            .last_update(now)
            .next_update(now + datetime.timedelta(days=VALID_DAYS))
        )
        for revoked in serials.values():
            builder = builder.add_revoked_certificate(revoked)
        crl = builder.sign(authority.key, hashes.SHA256())
        _replace(pki.crl, crl.public_bytes(serialization.Encoding.PEM), 0o644)


def renew(pki: TestPki, name: str) -> Identity:
    """A new key and certificate for a vehicle, "broker", "dispatcher" or "signer"; the old one stays valid until
    it is revoked or ends. Raises PkiError for a bad name."""
    with _locked(pki.lock):
        authority = _authority(pki)
        if name == "signer":
            pki.signer.unlink(missing_ok=True)
            _issue_signer(pki, authority)
            return Identity(name, pki.ca, pki.signers, pki.signer)
        role = {"broker": ROLE_BROKER, "dispatcher": ROLE_DISPATCHER}.get(name, ROLE_VEHICLE)
        identity = pki.vehicle(name) if role == ROLE_VEHICLE else getattr(pki, name)
        identity.cert.unlink(missing_ok=True)
        _issue(identity, pki.operator, role, authority)
        return identity


def issue_until(pki: TestPki, vehicle: str, end: datetime.datetime) -> Identity:
    """A vehicle's certificate that ends at ``end``, to see what happens then."""
    with _locked(pki.lock):
        authority = _authority(pki)
        identity = pki.vehicle(vehicle)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject(pki.operator, ROLE_VEHICLE, vehicle)
        begin = end - datetime.timedelta(days=1)
        builder = _builder(subject, authority.cert.subject, key.public_key(), begin, end)
        _write(identity.cert, identity.key, builder.sign(authority.key, hashes.SHA256()), key)
        return identity


def _revoked(pki: TestPki) -> list[x509.RevokedCertificate]:
    try:
        return list(x509.load_pem_x509_crl(pki.crl.read_bytes()))
    except (OSError, ValueError):
        return []


def _issue_signer(pki: TestPki, authority: _Authority) -> None:
    """The dispatcher's key for commands, and its certificate among those that vehicles obey."""
    pki.signers.mkdir(exist_ok=True)
    try:
        known = serialization.load_pem_private_key(pki.signer.read_bytes(), None)
    except (OSError, ValueError, TypeError):
        known = None
    for path in sorted(pki.signers.glob("*.crt")) if known is not None else ():
        try:
            cert = x509.load_pem_x509_certificate(path.read_bytes())
            cert.verify_directly_issued_by(authority.cert)
        except (OSError, ValueError, InvalidSignature):
            continue
        if known is not None and cert.public_key() == known.public_key() and _valid(cert):
            return
    key = ed25519.Ed25519PrivateKey.generate()
    cert = (
        _builder(_subject(pki.operator, ROLE_SIGNER, "dispatcher"), authority.cert.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .sign(authority.key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _replace(pki.signers / f"{cert.serial_number:x}.crt", cert.public_bytes(serialization.Encoding.PEM), 0o644)
    _replace(pki.signer, pem, 0o600)


@dataclass(frozen=True, slots=True)
class _Authority:
    cert: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def _authority(pki: TestPki) -> _Authority:
    key_path = pki.ca_key
    existing = _load(pki.ca, key_path)
    if existing is not None and _valid(existing.cert):
        return existing
    key = ec.generate_private_key(ec.SECP256R1())
    name = _subject(pki.operator, "authority", "robotaxi test authority")
    cert = (
        _builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write(pki.ca, key_path, cert, key)
    return _Authority(cert, key)


def _issue(identity: Identity, operator: str, role: str, authority: _Authority) -> None:
    subject = _subject(operator, role, "localhost" if role == ROLE_BROKER else identity.name)
    existing = _load(identity.cert, identity.key)
    if existing is not None and _valid(existing.cert) and existing.cert.subject == subject:
        try:
            existing.cert.verify_directly_issued_by(authority.cert)
            return
        except (InvalidSignature, ValueError):
            pass  # of an older authority: issue it anew
    key = ec.generate_private_key(ec.SECP256R1())
    usage = ExtendedKeyUsageOID.SERVER_AUTH if role == ROLE_BROKER else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        _builder(subject, authority.cert.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    if role == ROLE_BROKER:
        loopback = [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")]
        names: list[x509.GeneralName] = [x509.DNSName("localhost"), *(x509.IPAddress(ip) for ip in loopback)]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    _write(identity.cert, identity.key, builder.sign(authority.key, hashes.SHA256()), key)


def _subject(operator: str, role: str, name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, operator),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey,
    begin: datetime.datetime | None = None,
    end: datetime.datetime | None = None,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin or now - datetime.timedelta(hours=BACKDATE_HOURS))
        .not_valid_after(end or now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _valid(cert: x509.Certificate) -> bool:
    now = datetime.datetime.now(datetime.timezone.utc)
    renew = cert.not_valid_after_utc - datetime.timedelta(days=RENEW_BEFORE_DAYS)
    return cert.not_valid_before_utc <= now < renew


def _load(cert_path: Path, key_path: Path) -> _Authority | None:
    """Certificate and its key, or None when they are missing, broken or do not belong together."""
    try:
        cert = x509.load_pem_x509_certificate(cert_path.read_bytes())
        key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
    except (FileNotFoundError, ValueError, TypeError):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != cert.public_key():
        return None
    return _Authority(cert, key)


def _write(cert_path: Path, key_path: Path, cert: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _replace(key_path, pem, 0o600)
    _replace(cert_path, cert.public_bytes(serialization.Encoding.PEM), 0o644)


def _replace(path: Path, data: bytes, mode: int) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
    os.replace(temporary, path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

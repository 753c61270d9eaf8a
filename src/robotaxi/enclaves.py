"""SROS 2 enclaves from the interface table: each node may write and read what the table says, and nothing else.

The layout is that of `ros2 security` (keystore/public, private, enclaves/<name>): identity and permissions
of one authority, governance and permissions signed as S/MIME (OMG DDS Security 1.1, clauses 9.3 and 9.4).
"""

from __future__ import annotations

import datetime
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from robotaxi.interfaces import INTERFACES, inputs_of, outputs_of

_VALID_DAYS = 3650
_ALL_SPEAK = ("system/ready", "diagnostics")  # every node writes these
_ALWAYS = ("rt/rosout", "rt/parameter_events", "ros_discovery_info")
_SERVICES = ("rq/*", "rr/*")
_XSD = "http://www.omg.org/spec/DDS-SECURITY/20170901/omg_shared_ca_{}.xsd"

GOVERNANCE = f"""<?xml version="1.0" encoding="UTF-8"?>
<dds xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" \
xsi:noNamespaceSchemaLocation="{_XSD.format("governance")}">
  <domain_access_rules>
    <domain_rule>
      <domains><id_range><min>0</min><max>232</max></id_range></domains>
      <allow_unauthenticated_participants>false</allow_unauthenticated_participants>
      <enable_join_access_control>true</enable_join_access_control>
      <discovery_protection_kind>SIGN</discovery_protection_kind>
      <liveliness_protection_kind>SIGN</liveliness_protection_kind>
      <rtps_protection_kind>SIGN</rtps_protection_kind>
      <topic_access_rules>
        <topic_rule>
          <topic_expression>*</topic_expression>
          <enable_discovery_protection>true</enable_discovery_protection>
          <enable_liveliness_protection>true</enable_liveliness_protection>
          <enable_read_access_control>true</enable_read_access_control>
          <enable_write_access_control>true</enable_write_access_control>
          <metadata_protection_kind>SIGN</metadata_protection_kind>
          <data_protection_kind>NONE</data_protection_kind>
        </topic_rule>
      </topic_access_rules>
    </domain_rule>
  </domain_access_rules>
</dds>
"""


def roles() -> list[str]:
    """Every node of the interface table."""
    return sorted({name for item in INTERFACES.values() for name in (item.producer, *item.consumers) if name})


def permissions_xml(role: str, namespace: str, begin: datetime.datetime, end: datetime.datetime) -> str:
    """The node's grants; deny by default."""
    lead = f"rt/{namespace.strip('/')}/" if namespace.strip("/") else "rt/"
    clock = ["rt/clock"]
    write = [lead + item.topic for item in outputs_of(role)] + [lead + topic for topic in _ALL_SPEAK] + clock
    read = [lead + item.topic for item in inputs_of(role)] + [lead + "system/ready"] + clock
    blocks = []
    for kind, topics in (("publish", write), ("subscribe", read)):
        rows = "".join(f"<topic>{name}</topic>" for name in (*dict.fromkeys(topics), *_ALWAYS, *_SERVICES))
        blocks.append(f"        <{kind}><topics>{rows}</topics></{kind}>")
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<dds xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
            f'xsi:noNamespaceSchemaLocation="{_XSD.format("permissions")}">',
            "  <permissions>",
            f'    <grant name="/{role}">',
            f"      <subject_name>CN=/{role}</subject_name>",
            f"      <validity><not_before>{begin:%Y-%m-%dT%H:%M:%S}</not_before>"
            f"<not_after>{end:%Y-%m-%dT%H:%M:%S}</not_after></validity>",
            "      <allow_rule>",
            "        <domains><id_range><min>0</min><max>232</max></id_range></domains>",
            *blocks,
            "      </allow_rule>",
            "      <default>DENY</default>",
            "    </grant>",
            "  </permissions>",
            "</dds>",
            "",
        ]
    )


def create_keystore(folder: Path, namespace: str = "") -> list[str]:
    """Write a keystore with one enclave a node; returns their names. FileExistsError if there is one already."""
    if (folder / "private" / "ca.key.pem").exists():
        raise FileExistsError(f"{folder} holds a keystore already; remove it, or name another folder")
    begin = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
    end = begin + datetime.timedelta(days=_VALID_DAYS)
    key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("robotaxi on-board CA", key, None, begin, end)
    ca_pem = authority.public_bytes(serialization.Encoding.PEM)
    _write(folder / "private" / "ca.key.pem", _key_pem(key), secret=True)
    for name in ("ca", "identity_ca", "permissions_ca"):
        _write(folder / "public" / f"{name}.cert.pem", ca_pem)
    governance = _signed(GOVERNANCE, authority, key)
    _write(folder / "enclaves" / "governance.p7s", governance)
    for role in roles():
        enclave = folder / "enclaves" / role
        own = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(f"/{role}", own, (authority, key), begin, end)
        text = permissions_xml(role, namespace, begin, end)
        _write(enclave / "key.pem", _key_pem(own), secret=True)
        _write(enclave / "cert.pem", certificate.public_bytes(serialization.Encoding.PEM))
        _write(enclave / "permissions.xml", text.encode())
        _write(enclave / "permissions.p7s", _signed(text, authority, key))
        _write(enclave / "governance.p7s", governance)
        for name in ("identity_ca", "permissions_ca"):
            _write(enclave / f"{name}.cert.pem", ca_pem)
    return roles()


def middleware_has_security() -> bool:
    """Whether the Fast DDS that this Python would load was built with its security plug-ins."""
    import sys

    folders = [Path(part) / "lib" for part in os.environ.get("AMENT_PREFIX_PATH", sys.prefix).split(os.pathsep) if part]
    folders += [Path(part) for part in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if part]
    libraries = (path for folder in folders for path in sorted(folder.glob("libfastdds.so*")))
    return any(b"builtin.PKI-DH" in path.read_bytes() for path in libraries)


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
    begin: datetime.datetime,
    end: datetime.datetime,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = key if issuer is None else issuer[1]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    return builder.sign(signer, hashes.SHA256())


def _signed(text: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bytes:
    """S/MIME with a detached signature, as DDS Security wants its documents."""
    builder = pkcs7.PKCS7SignatureBuilder().set_data(text.encode()).add_signer(certificate, key, hashes.SHA256())
    options = [pkcs7.PKCS7Options.Text, pkcs7.PKCS7Options.DetachedSignature]
    return builder.sign(serialization.Encoding.SMIME, options)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, *, secret: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if secret else 0o644), "wb") as file:
        file.write(content)

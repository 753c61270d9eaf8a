"""SROS 2 enclaves: signed, deny by default, and no node may write what is not its own."""

import subprocess
from xml.etree import ElementTree

import pytest

from robotaxi.enclaves import create_keystore, roles


@pytest.fixture(scope="module")
def keystore(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sros") / "keystore"
    assert create_keystore(folder) == roles()
    return folder


def granted(keystore, role, kind):
    tree = ElementTree.parse(keystore / "enclaves" / role / "permissions.xml")
    assert tree.findtext(".//default") == "DENY"
    return {topic.text for topic in tree.iterfind(f".//{kind}/topics/topic")}


def test_only_the_gate_may_write_to_the_actuators(keystore):
    writers = [role for role in roles() if "rt/vehicle/command" in granted(keystore, role, "publish")]
    assert writers == ["command_gate"]
    assert [r for r in roles() if "rt/control/command_raw" in granted(keystore, r, "publish")] == ["controller"]
    assert "rt/planning/trajectory" in granted(keystore, "controller", "subscribe")
    assert not any(topic.startswith("rt/sim/") for r in roles() if r != "vehicle_interface"
                   for topic in granted(keystore, r, "subscribe"))  # fmt: skip


def test_keys_are_private_and_certificates_come_from_the_authority(keystore):
    from cryptography import x509

    authority = x509.load_pem_x509_certificate((keystore / "public/ca.cert.pem").read_bytes())
    for role in roles():
        enclave = keystore / "enclaves" / role
        assert (enclave / "key.pem").stat().st_mode & 0o077 == 0
        certificate = x509.load_pem_x509_certificate((enclave / "cert.pem").read_bytes())
        certificate.verify_directly_issued_by(authority)


def test_openssl_verifies_the_signed_permissions(keystore):
    try:
        done = subprocess.run(
            ["openssl", "smime", "-verify", "-text", "-in", str(keystore / "enclaves/planner/permissions.p7s"),
             "-CAfile", str(keystore / "public/permissions_ca.cert.pem")],
            capture_output=True, text=True,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    assert done.returncode == 0, done.stderr
    assert '<grant name="/planner">' in done.stdout


def test_a_keystore_is_not_overwritten(keystore):
    with pytest.raises(FileExistsError, match="holds a keystore already"):
        create_keystore(keystore)

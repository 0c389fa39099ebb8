"""A certificate holds only as the node key made it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from reelmesh.node.rpc.certs import (
    BINDING_OID,
    MAX_LIFETIME_S,
    BadCertificate,
    make_certificate,
    server_name,
    verify_certificate,
)
from reelmesh.node.rpc.certstore import load_or_make
from reelmesh.node.wallet.keys import NodeKey

NOW = 1_800_000_000_000
DAY_MS = 86_400_000


def test_a_certificate_names_its_node() -> None:
    key = NodeKey.generate()
    certificate = make_certificate(key, NOW, 3600)
    assert verify_certificate(certificate.der, NOW) == key.address == certificate.address
    assert certificate.expires_at_ms == NOW + 3_600_000


def test_a_certificate_has_one_form_alone() -> None:
    """With zero bits at its end a signature may be said to have unused bits; it must not."""
    while True:
        der = make_certificate(NodeKey.generate(), NOW, 3600).der
        if der[-1] & 1 == 0:
            break
    length = len(x509.load_der_x509_certificate(der).signature)
    other = bytearray(der)
    other[-length - 1] = 1
    with pytest.raises(BadCertificate):
        verify_certificate(bytes(other), NOW)


def test_its_secret_is_never_printed() -> None:
    certificate = make_certificate(NodeKey.generate(), NOW, 3600)
    assert "PRIVATE" not in repr(certificate)


@pytest.mark.parametrize("at_ms", [NOW + 3_600_000, NOW + DAY_MS, NOW - DAY_MS])
def test_outside_its_life_it_is_refused(at_ms: int) -> None:
    certificate = make_certificate(NodeKey.generate(), NOW, 3600)
    with pytest.raises(BadCertificate):
        verify_certificate(certificate.der, at_ms)


@pytest.mark.parametrize("ttl_s", [0, -1, MAX_LIFETIME_S + 1])
def test_it_cannot_be_made_to_live_too_long(ttl_s: int) -> None:
    with pytest.raises(ValueError, match="60 days"):
        make_certificate(NodeKey.generate(), NOW, ttl_s)


@pytest.mark.parametrize("der", [b"", b"\x30", b"x" * 5000, b"\x30\x82" + b"\x00" * 100])
def test_junk_is_refused(der: bytes) -> None:
    with pytest.raises(BadCertificate):
        verify_certificate(der, NOW)


def forged(extension: bytes | None, secret: object = None, name: str = "x", days: int = 1) -> bytes:
    """A self-signed certificate as somebody without the node's key can make it."""
    key = secret or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    start = datetime.fromtimestamp(NOW / 1000, UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
    if extension is not None:
        binding = x509.UnrecognizedExtension(BINDING_OID, extension)
        builder = builder.add_extension(binding, critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.DER)


def test_another_nodes_binding_does_not_fit_a_forgers_key() -> None:
    victim = NodeKey.generate()
    genuine = x509.load_der_x509_certificate(make_certificate(victim, NOW, 3600).der)
    stolen = genuine.extensions.get_extension_for_oid(BINDING_OID).value.value
    der = forged(stolen, name=server_name(victim.address))
    with pytest.raises(BadCertificate):
        verify_certificate(der, NOW)


@pytest.mark.parametrize(
    "extension", [None, b"", b"\x04\x41" + bytes(65), b"\x04\x41" + b"\x1b" * 65]
)
def test_a_certificate_without_a_signature_is_refused(extension: bytes | None) -> None:
    with pytest.raises(BadCertificate):
        verify_certificate(forged(extension), NOW)


@pytest.mark.parametrize(
    "secret", [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP384R1())]
)
def test_other_kinds_of_key_are_refused(secret: object) -> None:
    with pytest.raises(BadCertificate, match="P-256"):
        verify_certificate(forged(b"\x04\x41" + bytes(65), secret), NOW)


def test_a_kept_certificate_is_used_until_its_mid_life(tmp_path: Path) -> None:
    key, file = NodeKey.generate(), tmp_path / "tls.pem"
    first = load_or_make(file, key, NOW, 1000)
    assert load_or_make(file, key, NOW + 499_000, 1000).der == first.der
    assert load_or_make(file, key, NOW + 501_000, 1000).der != first.der


@pytest.mark.parametrize("damage", [b"", b"not pem", None])
def test_a_damaged_or_foreign_file_is_replaced(tmp_path: Path, damage: bytes | None) -> None:
    key, file = NodeKey.generate(), tmp_path / "tls.pem"
    if damage is None:
        load_or_make(file, NodeKey.generate(), NOW)
    else:
        file.write_bytes(damage)
    made = load_or_make(file, key, NOW)
    assert verify_certificate(made.der, NOW) == key.address
    assert load_or_make(file, key, NOW).der == made.der

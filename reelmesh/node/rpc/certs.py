"""TLS certificates that a node key vouches for.

gRPC's TLS refuses secp256k1, so a node makes a short-lived, self-signed P-256 certificate and puts
into it an extension in which its secp256k1 node key signs that certificate's public key and
lifetime, in the manner of libp2p's TLS specification (OID 1.3.6.1.4.1.53594.1.1). Whoever pins the
certificate then knows the node's address, and a stolen P-256 key dies with its certificate.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from eth_utils.crypto import keccak

from reelmesh.errors import PeerError
from reelmesh.node.wallet.keys import BadSignature, recover_signer

BINDING_OID = x509.ObjectIdentifier("1.3.6.1.4.1.53594.1.1")
MAX_CERTIFICATE_BYTES = 2048
MAX_LIFETIME_S = 60 * 86_400
SKEW_S = 300
"""How far apart two nodes' clocks may be."""

_WHAT_BAD_BYTES_RAISE = (
    InvalidSignature,
    UnsupportedAlgorithm,
    ValueError,
    TypeError,
    x509.InvalidVersion,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_PREFIX = b"reelmesh/tls/1\n"
_OCTETS = b"\x04\x41"  # DER: OCTET STRING of the 65 bytes r||s||v


class BadCertificate(PeerError):
    """A certificate is malformed, expired, or not bound to the node key it should be."""


class CertificateSigner(Protocol):
    """A node key, as far as certificates need it."""

    @property
    def address(self) -> str:
        """EIP-55 address."""

    def sign_digest(self, digest: bytes) -> bytes:
        """65 bytes r || s || v over 32 bytes; v is 27 or 28, s is low."""


@dataclass(frozen=True)
class NodeCertificate:
    """A certificate with its private key.

    Attributes:
        address: The node whose key signed it, EIP-55.
        der: The certificate, to hand out.
        cert_pem: The same, as gRPC wants it.
        key_pem: The P-256 private key; never printed.
        expires_at_ms: Not valid from then on.
    """

    address: str
    der: bytes
    cert_pem: bytes = field(repr=False)
    key_pem: bytes = field(repr=False)
    expires_at_ms: int


def make_certificate(key: CertificateSigner, now_ms: int, ttl_s: int) -> NodeCertificate:
    """Make a certificate bound to `key`, valid from now for `ttl_s` seconds (<= 60 days)."""
    if not 0 < ttl_s <= MAX_LIFETIME_S:
        raise ValueError("a certificate lives between a second and 60 days")
    secret = ec.generate_private_key(ec.SECP256R1())
    start_s = now_ms // 1000 - SKEW_S
    end_s = now_ms // 1000 + ttl_s
    binding = _binding_digest(_spki(secret.public_key()), start_s, end_s)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, server_name(key.address))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(start_s, UTC))
        .not_valid_after(datetime.fromtimestamp(end_s, UTC))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(server_name(key.address))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.UnrecognizedExtension(BINDING_OID, _OCTETS + key.sign_digest(binding)),
            critical=False,
        )
        .sign(secret, hashes.SHA256())
    )
    return NodeCertificate(
        address=key.address,
        der=certificate.public_bytes(serialization.Encoding.DER),
        cert_pem=certificate.public_bytes(serialization.Encoding.PEM),
        key_pem=secret.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        expires_at_ms=end_s * 1000,
    )


def verify_certificate(der: bytes, now_ms: int) -> str:
    """The EIP-55 address of the node whose key vouches for this certificate.

    Raises BadCertificate when anything about it is not as `make_certificate` makes it.
    """
    if not 0 < len(der) <= MAX_CERTIFICATE_BYTES:
        raise BadCertificate("a certificate of an impossible size")
    try:
        certificate = x509.load_der_x509_certificate(der)
        public = certificate.public_key()
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise BadCertificate("a certificate without a P-256 key")
        if not isinstance(public.curve, ec.SECP256R1):
            raise BadCertificate("a certificate without a P-256 key")
        certificate.verify_directly_issued_by(certificate)
        if not der.endswith(b"\0" + certificate.signature):
            # DER lets a signature that ends in zero bits be written in several ways
            raise BadCertificate("a certificate whose signature is not in its one form")
        start_s, end_s = _lifetime(certificate, now_ms)
        binding = certificate.extensions.get_extension_for_oid(BINDING_OID).value
        assert isinstance(binding, x509.UnrecognizedExtension)
        address = _signer(_binding_digest(_spki(public), start_s, end_s), binding.value)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if names.get_values_for_type(x509.DNSName) != [server_name(address)]:
            raise BadCertificate("a certificate whose name is not its node's")
    except _WHAT_BAD_BYTES_RAISE as error:
        raise BadCertificate("a certificate that does not hold up") from error
    return address


def server_name(address: str) -> str:
    """The DNS name inside a node's certificate; what a client expects of its server."""
    return f"{address.lower().removeprefix('0x')}.node.reelmesh"


def der_to_pem(der: bytes) -> bytes:
    """The same certificate in PEM. Raises BadCertificate."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        return certificate.public_bytes(serialization.Encoding.PEM)
    except _WHAT_BAD_BYTES_RAISE as error:
        raise BadCertificate("not a certificate") from error


def pem_to_der(pem: bytes) -> bytes:
    """The same certificate in DER. Raises BadCertificate."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        return certificate.public_bytes(serialization.Encoding.DER)
    except _WHAT_BAD_BYTES_RAISE as error:
        raise BadCertificate("not a certificate") from error


def _lifetime(certificate: x509.Certificate, now_ms: int) -> tuple[int, int]:
    start_s = int(certificate.not_valid_before_utc.timestamp())
    end_s = int(certificate.not_valid_after_utc.timestamp())
    if end_s - start_s > MAX_LIFETIME_S + SKEW_S:
        raise BadCertificate("a certificate that lives too long")
    if not start_s - SKEW_S <= now_ms // 1000 < end_s:
        raise BadCertificate("a certificate that is expired or not yet valid")
    return start_s, end_s


def _binding_digest(spki: bytes, start_s: int, end_s: int) -> bytes:
    return keccak(_PREFIX + start_s.to_bytes(8, "big") + end_s.to_bytes(8, "big") + spki)


def _spki(public: ec.EllipticCurvePublicKey) -> bytes:
    return public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _signer(digest: bytes, extension: bytes) -> str:
    if not extension.startswith(_OCTETS):
        raise BadCertificate("a certificate without a node key's signature")
    try:
        return recover_signer(digest, extension.removeprefix(_OCTETS))
    except BadSignature as error:
        raise BadCertificate("a certificate without a node key's signature") from error

"""A node's certificate kept over restarts, because peers pinned it when work was awarded."""

from __future__ import annotations

import os
from pathlib import Path

from reelmesh.node.rpc.certs import (
    BadCertificate,
    CertificateSigner,
    NodeCertificate,
    make_certificate,
    pem_to_der,
    verify_certificate,
)

_CERTIFICATE_END = b"-----END CERTIFICATE-----\n"


def load_or_make(
    file: Path, key: CertificateSigner, now_ms: int, ttl_s: int = 30 * 86_400
) -> NodeCertificate:
    """The certificate kept in `file`, or a new one when it is missing, damaged or past mid-life.

    The file holds the certificate, then its P-256 key, in PEM, readable by its owner alone. It is
    not the node key: all it can do is speak TLS for this node until the certificate ends.
    """
    kept = _load(file, key, now_ms)
    if kept is not None and kept.expires_at_ms - now_ms > ttl_s * 500:
        return kept
    made = make_certificate(key, now_ms, ttl_s)
    file.parent.mkdir(parents=True, exist_ok=True)
    staging = file.with_name(f"{file.name}.new")
    staging.unlink(missing_ok=True)
    descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(made.cert_pem + made.key_pem)
    staging.replace(file)
    return made


def _load(file: Path, key: CertificateSigner, now_ms: int) -> NodeCertificate | None:
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return None
    head, end, key_pem = text.partition(_CERTIFICATE_END)
    cert_pem = head + end
    try:
        der = pem_to_der(cert_pem)
        if verify_certificate(der, now_ms) != key.address or not key_pem:
            return None
    except BadCertificate:
        return None
    return NodeCertificate(key.address, der, cert_pem, key_pem, _end_ms(der))


def _end_ms(der: bytes) -> int:
    from cryptography import x509

    end = x509.load_der_x509_certificate(der).not_valid_after_utc
    return int(end.timestamp()) * 1000

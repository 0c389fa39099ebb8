"""Who may speak to the work service: certificates trusted from award on, calls counted per peer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from reelmesh.node.rpc.certs import BadCertificate, der_to_pem, pem_to_der, verify_certificate
from reelmesh.node.rpc.errors import PermissionDenied, TooManyCalls
from reelmesh.node.rpc.limits import RpcLimits

_CERTIFICATES_KEPT = 2


class AllowedPeers:
    """The providers now trusted, by certificate.

    A provider that renewed its certificate between two bids is known by both, the newest two.
    Read from gRPC's handshake threads, so every change replaces `_by_der` as a whole.
    """

    def __init__(self, clock_ms: Callable[[], int], limits: RpcLimits) -> None:
        self._clock_ms = clock_ms
        self._limits = limits
        self._by_der: dict[bytes, str] = {}
        self._by_pem: dict[bytes, bytes] = {}
        self._open: Counter[str] = Counter()
        self.version = 0
        self.refused: Counter[tuple[str, str]] = Counter()
        """(provider, reason code) to how often a call of it was refused."""

    def allow(self, address: str, certificate_der: bytes) -> None:
        """Trust this certificate; raises BadCertificate unless `address`'s key vouches for it."""
        if verify_certificate(certificate_der, self._clock_ms()) != address:
            raise BadCertificate(f"a certificate that is not {address}'s")
        kept = {der: who for der, who in self._by_der.items() if der != certificate_der}
        for old in [der for der, who in kept.items() if who == address][: -_CERTIFICATES_KEPT + 1]:
            del kept[old]
        self._replace({**kept, certificate_der: address})

    def revoke(self, address: str) -> None:
        """Trust none of its certificates from the next call on."""
        self._replace({der: who for der, who in self._by_der.items() if who != address})

    def roots_pem(self) -> bytes:
        """Every trusted certificate, in PEM."""
        return b"".join(der_to_pem(der) for der in self._by_der)

    def identify(self, peer_pem: bytes | None) -> str:
        """The provider behind a connection's certificate; raises PermissionDenied.

        Asked at every call, since a connection outlives its handshake: a revoked or expired
        certificate ends here.
        """
        if not peer_pem:
            raise PermissionDenied("no certificate was shown", "no_certificate")
        if peer_pem not in self._by_pem:
            if len(self._by_pem) >= self._limits.calls_in_all:
                self._by_pem.clear()
            self._by_pem[peer_pem] = pem_to_der(peer_pem)
        der = self._by_pem[peer_pem]
        address = self._by_der.get(der)
        try:
            if address is not None and verify_certificate(der, self._clock_ms()) == address:
                return address
        except BadCertificate as error:
            raise PermissionDenied(error.message, "bad_certificate") from error
        raise PermissionDenied("this certificate belongs to no awarded provider", "not_awarded")

    @contextmanager
    def call_of(self, address: str) -> Iterator[None]:
        """Count a call while it is open; raises TooManyCalls."""
        if self._open[address] >= self._limits.calls_per_peer:
            raise TooManyCalls(f"more than {self._limits.calls_per_peer} calls open at once")
        self._open[address] += 1
        try:
            yield
        finally:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]

    def _replace(self, by_der: dict[bytes, str]) -> None:
        self._by_der = by_der
        self.version += 1

"""The coordinator's gRPC endpoint: mutual TLS, bounds and deadlines around a `WorkHandler`."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import grpc

from reelmesh.errors import UserError
from reelmesh.node.rpc.certs import CertificateSigner, NodeCertificate, make_certificate
from reelmesh.node.rpc.certstore import load_or_make
from reelmesh.node.rpc.frames import take_frames
from reelmesh.node.rpc.handler import WorkHandler
from reelmesh.node.rpc.limits import MAX_MESSAGE_BYTES, RpcLimits
from reelmesh.node.rpc.peers import AllowedPeers
from reelmesh.node.rpc.service import WorkService
from reelmesh.proto.work_pb2_grpc import add_WorkServicer_to_server

_TTL_S = 30 * 86_400
_STOP_GRACE_S = 2.0


class PortInUse(UserError):
    """The address to listen on is taken, or not this machine's."""


class WorkServer:
    """Serves Work to providers whose certificate was allowed.

    Args:
        key: The coordinator's node key.
        handler: What answers.
        host, port: Where to listen; port 0 takes a free one.
        certificate_file: Keeps the certificate over restarts, so that providers that pinned it can
            come back; None makes a new one each time.
        clock_ms: Milliseconds since the epoch.

    Attributes:
        target: "host:port" for awards, once started.
        certificate_der: For awards.
    """

    def __init__(
        self,
        key: CertificateSigner,
        handler: WorkHandler,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        certificate_file: Path | None = None,
        limits: RpcLimits | None = None,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._host = host
        self._port = port
        self._limits = limits or RpcLimits()
        self._certificate: NodeCertificate = (
            load_or_make(certificate_file, key, clock_ms(), _TTL_S)
            if certificate_file is not None
            else make_certificate(key, clock_ms(), _TTL_S)
        )
        self._peers = AllowedPeers(clock_ms, self._limits)
        self._service = WorkService(handler, self._peers, self._limits)
        self._server: grpc.aio.Server | None = None
        self._configured = -1
        self.target = ""

    @property
    def certificate_der(self) -> bytes:
        """The certificate that providers pin."""
        return self._certificate.der

    @property
    def refused(self) -> Counter[tuple[str, str]]:
        """(provider, reason code) to how often a call of it was refused."""
        return self._peers.refused

    def allow(self, address: str, certificate_der: bytes) -> None:
        """Trust a provider from now on; raises BadCertificate unless that key vouches for it."""
        self._peers.allow(address, certificate_der)

    def revoke(self, address: str) -> None:
        """Trust a provider no longer; its next call on an open connection is refused too."""
        self._peers.revoke(address)

    async def start(self) -> None:
        """Listen; raises PortInUse."""
        self._server = grpc.aio.server(
            maximum_concurrent_rpcs=self._limits.calls_in_all, options=_options()
        )
        add_WorkServicer_to_server(self._service, self._server)
        take_frames(self._server, self._service)
        credentials = grpc.dynamic_ssl_server_credentials(
            self._configuration(),
            self._changed_configuration,  # type: ignore[arg-type]  # None is allowed
            require_client_authentication=True,
        )
        address = f"[{self._host}]" if ":" in self._host else self._host
        try:
            # gRPC tells a taken port too, but writes a line of its own inside about it.
            await asyncio.to_thread(_try_port, self._host, self._port)
            port = self._server.add_secure_port(f"{address}:{self._port}", credentials)
        except (RuntimeError, OSError):
            port = 0
        if port == 0:
            raise PortInUse(
                f"cannot listen on {address}:{self._port}: it is in use or not this machine's",
                "choose another port, or 0 for any free one",
            )
        await self._server.start()
        self._port = port
        self.target = f"{address}:{port}"

    async def stop(self) -> None:
        """End open calls after a short grace and stop listening."""
        if self._server is not None:
            await self._server.stop(_STOP_GRACE_S)
            self._server = None

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        # Its own certificate is always among the roots: nobody else has that key, and a list of
        # roots must not be empty, for that would mean the system's.
        return grpc.ssl_server_certificate_configuration(
            [(self._certificate.key_pem, self._certificate.cert_pem)],
            root_certificates=self._certificate.cert_pem + self._peers.roots_pem(),
        )

    def _changed_configuration(self) -> grpc.ServerCertificateConfiguration | None:
        """Runs at every handshake, in a thread of gRPC's; None keeps the last configuration."""
        version = self._peers.version
        if version == self._configured:
            return None
        configuration = self._configuration()
        self._configured = version
        return configuration


def _try_port(host: str, port: int) -> None:
    """Raises OSError where nothing can listen there."""
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def _options() -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_metadata_size", 8 << 10),
        ("grpc.so_reuseport", 0),  # a port that is in use must fail, not be shared
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.max_ping_strikes", 4),
    ]

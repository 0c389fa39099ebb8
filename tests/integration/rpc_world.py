"""A coordinator's endpoint over loopback TLS with a small handler, for the rpc tests."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reelmesh.node.rpc.certs import NodeCertificate, make_certificate
from reelmesh.node.rpc.client import WorkClient
from reelmesh.node.rpc.delivery import DeliverySink, delivered_share
from reelmesh.node.rpc.errors import PermissionDenied, StaleLease
from reelmesh.node.rpc.handler import Delivery, InputReader
from reelmesh.node.rpc.limits import RpcLimits
from reelmesh.node.rpc.server import WorkServer
from reelmesh.node.storage.artifacts import ArtifactStore
from reelmesh.node.wallet.keys import NodeKey
from reelmesh.proto import work_pb2

JOB = bytes(range(32))
TOKEN = b"t" * 16
PRICE = 1_000_000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def header_for(*outputs: bytes, token: bytes = TOKEN) -> work_pb2.DeliverHeader:
    refs = [
        work_pb2.ArtifactRef(name=f"out-{i}", sha256=sha(data), size=len(data), kind="frames")
        for i, data in enumerate(outputs)
    ]
    return work_pb2.DeliverHeader(job_id=JOB, subtask="upscale-0", lease_token=token, outputs=refs)


@dataclass
class Handler:
    """Grants one lease to anybody allowed, and keeps what it was told."""

    store: ArtifactStore
    max_bytes: int = 64 << 20
    cancel: bool = False
    vouchers: list[int] = field(default_factory=list)
    completed: list[Sequence[work_pb2.ArtifactRef]] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    attested: set[bytes] = field(default_factory=set)
    failures: list[work_pb2.FailRequest] = field(default_factory=list)
    callers: list[str] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def lease(self, provider: str, request: work_pb2.LeaseRequest) -> work_pb2.LeaseReply:
        self.callers.append(provider)
        return work_pb2.LeaseReply(idle="inputs_not_ready")

    async def progress(
        self, provider: str, report: work_pb2.ProgressReport
    ) -> work_pb2.ProgressReply:
        if report.lease_token != TOKEN:
            raise StaleLease("this lease is over")
        return work_pb2.ProgressReply(cancel=self.cancel, lease_ms=1000)

    async def open_input(self, provider: str, job_id: bytes, sha256: str) -> InputReader:
        if job_id != JOB:
            raise PermissionDenied("not yours")
        return lambda offset: self.store.read(sha256, offset)

    async def begin_delivery(self, provider: str, header: work_pb2.DeliverHeader) -> Delivery:
        if header.lease_token != TOKEN:
            raise StaleLease("this lease is over")
        return DeliverySink(
            self.store,
            header,
            max_bytes=self.max_bytes,
            raise_voucher=self._raise,
            completed=self._complete,
            aborted=self._abort,
        )

    async def attest(self, provider: str, request: work_pb2.AttestRequest) -> work_pb2.AttestReply:
        if request.attestation.signature in self.attested:
            return work_pb2.AttestReply(accepted=False, reason="replayed")
        self.attested.add(request.attestation.signature)
        return work_pb2.AttestReply(accepted=True)

    async def fail(self, provider: str, request: work_pb2.FailRequest) -> None:
        self.failures.append(request)

    async def consent(
        self, provider: str, request: work_pb2.ConsentRequest
    ) -> work_pb2.ConsentReply:
        raise RuntimeError("a defect whose text must not reach the peer")

    async def _raise(self, accepted: int, total: int) -> work_pb2.SignedVoucher:
        self.vouchers.append(delivered_share(PRICE, accepted, total))
        return work_pb2.SignedVoucher(job_id=JOB, amount=str(self.vouchers[-1]))

    async def _complete(self, refs: Sequence[work_pb2.ArtifactRef]) -> None:
        self.completed.append(refs)
        self.ended.set()

    async def _abort(self, reason: str) -> None:
        self.aborted.append(reason)
        self.ended.set()


@dataclass
class World:
    handler: Handler
    server: WorkServer
    coordinator: NodeKey
    provider: NodeKey
    certificate: NodeCertificate
    folder: Path

    def client(
        self,
        *,
        certificate: NodeCertificate | None = None,
        limits: RpcLimits | None = None,
        coordinator: str | None = None,
        der: bytes | None = None,
    ) -> WorkClient:
        return WorkClient(
            self.server.target,
            der or self.server.certificate_der,
            certificate or self.certificate,
            coordinator=coordinator or self.coordinator.address,
            limits=limits or RpcLimits(retry_s=0.0),
        )

    def file(self, data: bytes) -> Path:
        path = self.folder / sha(data)
        path.write_bytes(data)
        return path


@contextlib.asynccontextmanager
async def open_world(folder: Path, limits: RpcLimits | None = None) -> AsyncIterator[World]:
    coordinator, provider = NodeKey.generate(), NodeKey.generate()
    handler = Handler(ArtifactStore(folder / "store"))
    server = WorkServer(coordinator, handler, limits=limits)
    certificate = make_certificate(provider, now_ms(), 3600)
    server.allow(provider.address, certificate.der)
    await server.start()
    try:
        yield World(handler, server, coordinator, provider, certificate, folder)
    finally:
        await server.stop()

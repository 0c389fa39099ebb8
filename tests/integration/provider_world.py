"""One awarded job over a real connection: a coordinator that pays, and a stand-in for the stage."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rpc_world import Handler, World, now_ms, open_world, sha

from reelmesh.contracts import eip712
from reelmesh.contracts.eip712 import Domain, Voucher
from reelmesh.node.provider.award import SentBid
from reelmesh.node.provider.lanes import Board, Lane
from reelmesh.node.provider.ledger import JobLedger
from reelmesh.node.provider.session import JobSession, Node
from reelmesh.node.provider.state import JobRecord, ProviderState
from reelmesh.node.provider.work import Kit, LeaseRun
from reelmesh.node.rpc.errors import StaleLease
from reelmesh.node.rpc.limits import RpcLimits
from reelmesh.node.storage.artifacts import ArtifactStore
from reelmesh.node.storage.db import sqlite_url
from reelmesh.node.wallet.keys import NodeKey
from reelmesh.node.worker import RunRequest, RunResult
from reelmesh.proto import market_pb2, work_pb2

JOB = bytes(range(32))
TOKEN = b"t" * 16
PRICE = 1_000_000
DOMAIN = Domain(31337, NodeKey.generate().address)
PARAMS = json.dumps({"fps": 24, "segments": 2})
SEGMENTS = [b"segment 0" * 100, b"segment 1" * 100]


@dataclass
class Paying(Handler):
    """A coordinator that pays as it should, or not, as the test asks."""

    key: NodeKey = field(default_factory=NodeKey.generate)
    provider: str = ""
    pays: Callable[[int], int] = lambda amount: amount
    base: int = 0
    script: list[work_pb2.LeaseReply] = field(default_factory=list)
    attestations: list[work_pb2.AttestRequest] = field(default_factory=list)
    consents: list[work_pb2.ConsentRequest] = field(default_factory=list)
    reports: list[work_pb2.ProgressReport] = field(default_factory=list)
    reported: asyncio.Event = field(default_factory=asyncio.Event)
    stale: bool = False

    async def lease(self, provider: str, request: work_pb2.LeaseRequest) -> work_pb2.LeaseReply:
        return self.script.pop(0) if self.script else work_pb2.LeaseReply(closed="done")

    async def progress(
        self, provider: str, report: work_pb2.ProgressReport
    ) -> work_pb2.ProgressReply:
        self.reports.append(report)
        self.reported.set()
        if self.stale:
            raise StaleLease("this lease is over")
        return work_pb2.ProgressReply(cancel=self.cancel, reason="told_so", lease_ms=1000)

    async def attest(self, provider: str, request: work_pb2.AttestRequest) -> work_pb2.AttestReply:
        self.attestations.append(request)
        self.base += PRICE
        return work_pb2.AttestReply(accepted=True, voucher=self._sign(self.base))

    async def consent(
        self, provider: str, request: work_pb2.ConsentRequest
    ) -> work_pb2.ConsentReply:
        self.consents.append(request)
        return work_pb2.ConsentReply(accepted=True)

    async def _raise(self, accepted: int, total: int) -> work_pb2.SignedVoucher:
        return self._sign(self.base + PRICE * 90 * accepted // (100 * total))

    def _sign(self, amount: int) -> work_pb2.SignedVoucher:
        amount = self.pays(amount)
        signature = eip712.sign(DOMAIN, Voucher(JOB, self.provider, amount), self.key)
        return work_pb2.SignedVoucher(job_id=JOB, amount=str(amount), signature=signature)


@dataclass
class StandIn:
    """Runs no stage: hands out bytes, or does what the test says."""

    scratch: Path
    output: bytes = os.urandom(200_000)
    behave: Callable[[], Awaitable[None]] | None = None
    runs: int = 0

    async def run(self, request: RunRequest, on_progress: object = None) -> RunResult:
        self.runs += 1
        assert [request.inputs[f"segment-{i}"].read_bytes() for i in range(2)] == SEGMENTS
        if self.behave is not None:
            await self.behave()
        folder = self.scratch / f"run-{self.runs}"
        folder.mkdir(parents=True)
        (folder / "video").write_bytes(self.output)
        return RunResult(
            {"video": folder / "video"}, [b"s" * 32], b"m" * 32, 1000, 2000, 10, folder
        )


@dataclass
class Scene:
    world: World
    handler: Paying
    node: Node
    job: JobSession
    worker: StandIn
    kit: Kit
    grant: work_pb2.Grant

    def run(self) -> LeaseRun:
        return LeaseRun(self.job, self.grant, self.kit)

    def lane(self, board: Board, stopped: asyncio.Event) -> Lane:
        async def on_stopped(_job: JobSession) -> None:
            stopped.set()

        return Lane(
            board,
            self.kit,
            self.node.state,
            now_ms,
            stopped=on_stopped,
            resident=list,
            failed=lambda _stage, _mb: None,
        )


def make_award(world: World, key: NodeKey, handler: Paying, cap: int) -> market_pb2.Award:
    terms = market_pb2.Terms(
        buyer=bytes(19) + b"\x01",
        coordinator=bytes.fromhex(world.coordinator.address[2:]),
        asset=bytes(20),
        budget=str(cap),
        deadline=int(time.time()) + 3600,
        claim_window=3600,
        spec_hash=bytes(32),
    )
    return market_pb2.Award(
        job_id=JOB,
        cap=str(cap),
        terms=terms,
        grpc_target=world.server.target,
        coordinator_certificate_der=world.server.certificate_der,
    )


@asynccontextmanager
async def open_scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_world(tmp_path) as world:
        handler = Paying(
            world.handler.store, key=world.coordinator, provider=world.provider.address
        )
        world.server._service._handler = handler
        inputs = []
        for number, data in enumerate(SEGMENTS):
            await handler.store.put_bytes(data)
            inputs.append(
                work_pb2.ArtifactRef(
                    name=f"segment-{number}", sha256=sha(data), size=len(data), kind="segment"
                )
            )
        grant = work_pb2.Grant(
            job_id=JOB,
            subtask="assemble",
            attempt=1,
            lease_token=TOKEN,
            lease_ms=10_000,
            run_limit_ms=60_000,
            stage="assemble",
            stage_version=1,
            params_json=PARAMS,
            inputs=inputs,
            price=str(PRICE),
        )
        state = await ProviderState.open(sqlite_url(tmp_path / "p.db"))
        node = Node(
            world.provider, world.certificate, DOMAIN, state, now_ms, RpcLimits(retry_s=0.5)
        )
        bid = SentBid(
            coordinator=world.coordinator.address,
            round=0,
            deadline_ms=now_ms() + 3_600_000,
            prices={"assemble": PRICE // 2, "again": PRICE // 2},
            work={"assemble": ("assemble", 2.0), "again": ("assemble", 2.0)},
            seconds_per_unit={"assemble": 1.0},
        )
        award = make_award(world, world.provider, handler, 2 * PRICE)
        record = JobRecord("0x" + JOB.hex(), award, bid, JobLedger(cap=2 * PRICE), now_ms())
        job = JobSession(record, node)
        worker = StandIn(tmp_path / "scratch")
        kit = Kit(worker, ArtifactStore(tmp_path / "mine"), "cpu-test", heartbeat_s=0.01)
        yield Scene(world, handler, node, job, worker, kit, grant)
        await job.close()
        await state.close()

"""One awarded job over a real connection: leases worked off, paid, cancelled, lost, resumed.

The stage's own work is stood in for; everything between the two nodes is real.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rpc_world import Handler, World, now_ms, open_world, sha

from reelmesh.contracts import eip712
from reelmesh.contracts.eip712 import Attestation, Consent, Domain, Voucher
from reelmesh.node.proof import artifacts_root, trajectory_root
from reelmesh.node.provider.award import SentBid
from reelmesh.node.provider.lanes import Attendant, Board, Lane
from reelmesh.node.provider.ledger import BadVoucher, JobLedger, Unpaid
from reelmesh.node.provider.session import BadTotal, JobSession, Node
from reelmesh.node.provider.state import JobRecord, ProviderState, Standing
from reelmesh.node.provider.work import Kit, LeaseRun
from reelmesh.node.rpc.errors import StaleLease
from reelmesh.node.rpc.limits import RpcLimits
from reelmesh.node.storage.artifacts import ArtifactStore
from reelmesh.node.storage.artifacts_writer import ArtifactWriter, StorageFull
from reelmesh.node.storage.db import sqlite_url
from reelmesh.node.wallet.keys import NodeKey
from reelmesh.node.worker import RunRequest, RunResult, WorkerCrashed, WorkerOutOfMemory
from reelmesh.proto import market_pb2, work_pb2
from reelmesh.scheduler.ids import JobId, SubtaskId, subtask_key

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


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
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


async def test_a_lease_is_fetched_run_delivered_attested_and_paid(scene: Scene) -> None:
    assert await scene.run().go() == "done"
    data = scene.worker.output
    assert (await scene.handler.store.path(sha(data))).read_bytes() == data
    (request,) = scene.handler.attestations
    signed = request.attestation
    expected = Attestation(
        job_id=JOB,
        subtask=subtask_key(JobId("0x" + JOB.hex()), SubtaskId("assemble")),
        attempt=1,
        inputs_root=artifacts_root({f"segment-{i}": sha(s) for i, s in enumerate(SEGMENTS)}),
        outputs_root=artifacts_root({"video": sha(data)}),
        trajectory_root=trajectory_root([b"s" * 32]),
        stage="assemble",
        stage_version=1,
        model_hash=b"m" * 32,
        device_class="cpu-test",
        started_at=1000,
        finished_at=2000,
    )
    assert eip712.recover(DOMAIN, expected, signed.signature) == scene.world.provider.address
    kept = await scene.node.state.job(scene.job.record.job_id)
    assert kept is not None
    assert (kept.ledger.promised, kept.ledger.done) == (PRICE, {"assemble": PRICE})
    assert not (scene.worker.scratch / "run-1").exists()


async def test_a_coordinator_that_stops_paying_gets_no_more(scene: Scene) -> None:
    scene.handler.pays = lambda amount: min(amount, PRICE // 10)
    with pytest.raises(Unpaid):
        await scene.run().go()
    assert not await scene.handler.store.has(sha(scene.worker.output))
    assert scene.job.ledger.promised == PRICE // 10
    assert scene.handler.attestations == []


async def test_a_voucher_for_the_last_part_must_come_too(scene: Scene) -> None:
    scene.handler.pays = lambda amount: min(amount, PRICE * 9 // 10)
    with pytest.raises(Unpaid):
        await scene.run().go()
    kept = await scene.node.state.job(scene.job.record.job_id)
    assert kept is not None
    assert kept.ledger.promised == PRICE * 9 // 10


async def test_false_vouchers_end_the_job(scene: Scene) -> None:
    scene.handler.key = NodeKey.generate()
    with pytest.raises(BadVoucher):
        await scene.run().go()


async def test_a_voucher_past_the_cap_is_not_taken_for_pay(scene: Scene) -> None:
    scene.handler.pays = lambda amount: amount + 2 * PRICE
    with pytest.raises(BadVoucher, match="more than"):
        await scene.run().go()


async def until_cancelled() -> None:
    await asyncio.Event().wait()


async def test_told_to_stop_it_stops_at_once(scene: Scene) -> None:
    scene.worker.behave = until_cancelled
    scene.handler.cancel = True
    assert await scene.run().go() == "told_so"
    assert [failure.reason for failure in scene.handler.failures] == ["told_so"]


async def test_a_lease_that_is_lost_is_not_worked_on(scene: Scene) -> None:
    scene.worker.behave = until_cancelled
    scene.handler.stale = True
    assert await scene.run().go() == "stale_lease"


async def test_shutting_down_gives_the_lease_back(scene: Scene) -> None:
    started = asyncio.Event()

    async def start() -> None:
        started.set()
        await until_cancelled()

    scene.worker.behave = start
    task = asyncio.create_task(scene.run().go())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (failure,) = scene.handler.failures
    assert (failure.reason, failure.lease_token) == ("shutting_down", TOKEN)


async def test_a_crash_of_the_stage_fails_the_lease_alone(scene: Scene) -> None:
    async def crash() -> None:
        raise WorkerCrashed("the worker process ended", "it is started again")

    scene.worker.behave = crash
    assert await scene.run().go() == "crashed"
    scene.worker.behave = None
    assert await scene.run().go() == "done"
    (failure,) = scene.handler.failures
    assert (failure.reason, failure.retryable_here) == ("crashed", True)


async def test_out_of_memory_is_told_with_what_was_needed(scene: Scene) -> None:
    async def run_out() -> None:
        raise WorkerOutOfMemory("assemble", 7000, 4000)

    scene.worker.behave = run_out
    run = scene.run()
    assert await run.go() == "out_of_memory"
    assert run.needed_mb == 7000
    assert not scene.handler.failures[0].retryable_here


async def test_a_damaged_input_is_fetched_again(scene: Scene) -> None:
    for ref in scene.grant.inputs:
        await scene.job.client.fetch(JOB, ref, scene.kit.store)
    name = scene.grant.inputs[0].sha256
    file = await scene.kit.store.path(name)
    file.write_bytes(b"damage")
    assert await scene.run().go() == "done"
    assert len(list((scene.kit.store.root / "quarantine").iterdir())) == 1


async def test_an_input_that_never_fits_its_hash_fails_the_lease(scene: Scene) -> None:
    wrong = scene.grant.inputs[0]
    file = await scene.handler.store.path(wrong.sha256)

    async def lie(_provider: str, _job: bytes, _sha256: str) -> Callable[[int], object]:
        async def read(_offset: int) -> AsyncIterator[bytes]:
            yield b"x" * file.stat().st_size

        return read

    scene.handler.open_input = lie  # type: ignore[method-assign,assignment]
    assert await scene.run().go() == "bad_input"
    assert scene.worker.runs == 0


def _three_segments(grant: work_pb2.Grant) -> None:
    """More units than the call said, at the price of what it said."""
    grant.params_json = json.dumps({"fps": 24, "segments": 3})
    grant.inputs.append(grant.inputs[0])
    grant.inputs[-1].name = "segment-2"


def _another_stage(grant: work_pb2.Grant) -> None:
    """A subtask of the call under whose name another stage is asked for."""
    grant.stage = "encode_text"
    grant.params_json = json.dumps({"prompt": "a red circle"})
    del grant.inputs[:]


def _enormous_input(grant: work_pb2.Grant) -> None:
    """Far more to fetch than the call said."""
    grant.inputs[0].size = 3 << 20


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda g: setattr(g, "price", str(PRICE - 1)), "bad_price"),
        (lambda g: setattr(g, "price", str(2 * PRICE + 1)), "bad_price"),
        (lambda g: setattr(g, "price", "much"), "bad_price"),
        (lambda g: setattr(g, "subtask", "assemble-1"), "bad_price"),
        (lambda g: setattr(g, "stage", "unheard_of"), "bad_params"),
        (lambda g: setattr(g, "stage_version", 99), "bad_params"),
        (lambda g: setattr(g, "params_json", "{}"), "bad_params"),
        (lambda g: g.inputs.pop(), "bad_params"),
        (_three_segments, "bad_params"),
        (_another_stage, "bad_params"),
        (_enormous_input, "bad_params"),
    ],
)
async def test_a_grant_that_is_not_as_agreed_is_given_back(
    scene: Scene, change: Callable[[work_pb2.Grant], None], reason: str
) -> None:
    change(scene.grant)
    assert await scene.run().go() == reason
    assert scene.worker.runs == 0


async def test_the_same_work_asked_for_again_is_sent_and_not_run_again(scene: Scene) -> None:
    scene.handler.stale = False
    assert await scene.run().go() == "done"
    scene.grant.lease_token = TOKEN
    scene.grant.attempt = 2
    assert await scene.run().go() == "done"
    assert scene.worker.runs == 1
    assert [one.attestation.attempt for one in scene.handler.attestations] == [1, 2]


async def test_consent_is_signed_only_over_what_is_owed(scene: Scene) -> None:
    await scene.run().go()
    with pytest.raises(BadTotal):
        await scene.job.agree(work_pb2.Settlement(job_id=JOB, total=str(PRICE - 1)))
    assert scene.handler.consents == []
    await scene.job.agree(work_pb2.Settlement(job_id=JOB, total=str(PRICE)))
    (consent,) = scene.handler.consents
    signer = eip712.recover(DOMAIN, Consent(JOB, PRICE), consent.signature)
    assert signer == scene.world.provider.address


async def test_no_work_is_done_after_a_total_was_agreed_to(scene: Scene) -> None:
    scene.handler.script = [
        work_pb2.LeaseReply(settlement=work_pb2.Settlement(job_id=JOB, total="0")),
        work_pb2.LeaseReply(grant=scene.grant),
    ]
    board, stopped = Board(60_000, now_ms), asyncio.Event()
    await board.add(scene.job)
    lane = asyncio.create_task(scene.lane(board, stopped).serve())
    await stopped.wait()
    lane.cancel()
    await asyncio.gather(lane, return_exceptions=True)
    assert len(scene.handler.consents) == 1
    assert scene.worker.runs == 0
    assert scene.job.record.reason == "unpaid"


async def test_a_result_is_not_sent_once_a_total_was_agreed_to(scene: Scene) -> None:
    async def agree_meanwhile() -> None:
        await scene.job.agree(work_pb2.Settlement(job_id=JOB, total="0"))

    scene.worker.behave = agree_meanwhile
    assert await scene.run().go() == "work_is_over"
    assert scene.handler.attestations == []
    assert not await scene.handler.store.has(sha(scene.worker.output))


async def test_a_remembered_result_that_was_trimmed_is_made_again(scene: Scene) -> None:
    assert await scene.run().go() == "done"
    await scene.kit.store.delete(sha(scene.worker.output))
    scene.grant.attempt = 2
    assert await scene.run().go() == "done"
    assert scene.worker.runs == 2


async def test_a_lane_works_agrees_and_closes(scene: Scene) -> None:
    scene.handler.script = [
        work_pb2.LeaseReply(idle="inputs_not_ready"),
        work_pb2.LeaseReply(grant=scene.grant),
        work_pb2.LeaseReply(settlement=work_pb2.Settlement(job_id=JOB, total=str(PRICE))),
        work_pb2.LeaseReply(closed="settled"),
    ]
    board, stopped = Board(60_000, now_ms), asyncio.Event()
    await board.add(scene.job)
    lane = asyncio.create_task(scene.lane(board, stopped).serve())
    await stopped.wait()
    lane.cancel()
    await asyncio.gather(lane, return_exceptions=True)
    kept = await scene.node.state.job(scene.job.record.job_id)
    assert kept is not None
    assert (kept.standing, kept.reason, kept.ledger.agreed) == (Standing.STOPPED, "settled", PRICE)
    assert (await scene.node.state.totals(now_ms())).done == 1


async def test_a_lane_runs_the_next_subtask_while_a_result_is_delivered(scene: Scene) -> None:
    gate, second, attested, paid = (asyncio.Event() for _ in range(4))

    async def run_on() -> None:
        if scene.worker.runs == 2:
            second.set()
            await attested.wait()

    async def held_up(accepted: int, total: int) -> work_pb2.SignedVoucher:
        await gate.wait()
        return await Paying._raise(scene.handler, accepted, total)

    async def attest(provider: str, request: work_pb2.AttestRequest) -> work_pb2.AttestReply:
        (paid if attested.is_set() else attested).set()
        return await Paying.attest(scene.handler, provider, request)

    scene.worker.behave = run_on
    scene.handler._raise = held_up  # type: ignore[method-assign]
    scene.handler.attest = attest  # type: ignore[method-assign]
    again = work_pb2.Grant()
    again.CopyFrom(scene.grant)
    again.subtask, again.params_json = "again", json.dumps({"segments": 2, "fps": 24})
    scene.handler.script = [
        work_pb2.LeaseReply(grant=scene.grant),
        work_pb2.LeaseReply(grant=again),
        *[work_pb2.LeaseReply(idle="all_leased")] * 20,
    ]
    board = Board(60_000, now_ms)
    await board.add(scene.job)
    lane = scene.lane(board, asyncio.Event())
    serving = asyncio.create_task(lane.serve())
    await second.wait()
    assert [run.grant.subtask for run in lane.delivering] == ["assemble"]
    assert scene.handler.attestations == []
    gate.set()
    await paid.wait()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    assert lane.delivering == []
    assert [one.subtask for one in scene.handler.attestations] == ["assemble", "again"]


async def test_a_job_is_attended_to_while_others_take_every_slot(scene: Scene) -> None:
    asked: list[work_pb2.LeaseRequest] = []
    script = [
        work_pb2.LeaseReply(idle="busy"),
        work_pb2.LeaseReply(grant=scene.grant),  # against the rules: it is given back
        work_pb2.LeaseReply(settlement=work_pb2.Settlement(job_id=JOB, total="0")),
    ]

    async def lease(_provider: str, request: work_pb2.LeaseRequest) -> work_pb2.LeaseReply:
        asked.append(request)
        return script.pop(0) if script else work_pb2.LeaseReply(closed="settled")

    scene.handler.lease = lease  # type: ignore[method-assign,assignment]
    board, stopped = Board(60_000, now_ms), asyncio.Event()
    await board.add(scene.job)
    lane = scene.lane(board, stopped)
    lane.run = scene.run()
    lane.run.grant = work_pb2.Grant(job_id=b"another job" * 2)
    attendant = asyncio.create_task(Attendant(board, [lane], every_s=0.01).serve())
    async with asyncio.timeout(30):
        await stopped.wait()
    attendant.cancel()
    await asyncio.gather(attendant, return_exceptions=True)
    assert {(one.busy, one.wait_ms) for one in asked} == {(True, 0)}
    assert len(scene.handler.consents) == 1
    assert [one.reason for one in scene.handler.failures] == ["cancelled"]
    assert scene.worker.runs == 0
    assert scene.job.record.reason == "settled"


async def test_a_coordinator_that_vanished_is_given_up_after_a_while(scene: Scene) -> None:
    await scene.world.server.stop()
    clock = [now_ms()]

    def ticking() -> int:
        clock[0] += 60_001
        return clock[0]

    board, stopped = Board(60_000, ticking), asyncio.Event()
    await board.add(scene.job)
    lane = asyncio.create_task(scene.lane(board, stopped).serve())
    await stopped.wait()
    lane.cancel()
    await asyncio.gather(lane, return_exceptions=True)
    assert scene.job.record.reason == "coordinator_vanished"


async def test_closing_the_connection_does_not_end_the_lane(scene: Scene) -> None:
    """gRPC cancels who waits on a closed channel; the lane must live on for other jobs."""
    asked = asyncio.Event()

    async def long_poll(_provider: str, _request: object) -> work_pb2.LeaseReply:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    scene.handler.lease = long_poll  # type: ignore[method-assign,assignment]
    board, stopped = Board(0, now_ms), asyncio.Event()
    await board.add(scene.job)
    lane = asyncio.create_task(scene.lane(board, stopped).serve())
    await asked.wait()
    await scene.job.close()
    await stopped.wait()
    assert not lane.done()
    lane.cancel()
    await asyncio.gather(lane, return_exceptions=True)


async def test_a_delivery_that_broke_off_is_sent_again_for_the_rest_of_its_price(
    scene: Scene,
) -> None:
    """A coordinator that pays each subtask once is not taken for one that does not pay."""
    best, broken = [0], [False]

    async def once(accepted: int, total: int) -> work_pb2.SignedVoucher:
        if best[0] and not broken[0]:
            broken[0] = True
            raise StaleLease("this lease is over")
        best[0] = max(best[0], PRICE * 90 * accepted // (100 * total))
        return scene.handler._sign(best[0])

    scene.handler._raise = once  # type: ignore[method-assign]
    scene.job._put(scene.job.ledger.model_copy(update={"cap": PRICE}))
    assert await scene.run().go() == "stale_lease"
    first = best[0]
    assert 0 < first < PRICE * 90 // 100
    assert scene.job.ledger.advances == {"assemble": first}
    scene.grant.attempt = 2
    assert await scene.run().go() == "done"
    ledger = scene.job.ledger
    assert (ledger.promised, ledger.required, ledger.advances) == (PRICE, PRICE, {})
    assert ledger.may_agree(PRICE)


class FullDisk:
    """The coordinator's disk takes so many writes less: the first in each delivery fits."""

    def __init__(self, scene: Scene, monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
        self.left = failures
        theirs, write = scene.handler.store.root, ArtifactWriter.write

        async def full(writer: ArtifactWriter, data: bytes) -> None:
            if self.left and writer.size and writer._staging.is_relative_to(theirs):
                self.left -= 1
                raise StorageFull("the disk is full")
            await write(writer, data)

        monkeypatch.setattr(ArtifactWriter, "write", full)


async def test_a_coordinator_whose_disk_is_full_is_waited_for_and_pays_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(scene, monkeypatch, failures=3)
    assert await scene.run().go() == "done"
    assert disk.left == 0
    assert (scene.worker.runs, len(scene.handler.attestations)) == (1, 1)
    assert scene.handler.failures == []
    assert (scene.job.ledger.promised, scene.job.ledger.required) == (PRICE, PRICE)


async def test_a_disk_that_stays_full_is_named_when_the_lease_is_given_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    FullDisk(scene, monkeypatch, failures=1_000_000)
    scene.kit.vanish_s = 0.3
    assert await scene.run().go() == "coordinator_storage"
    (failure,) = scene.handler.failures
    assert (failure.reason, failure.retryable_here) == ("coordinator_storage", True)
    assert scene.job.ledger.promised > 0  # what was taken stays paid for


async def test_a_session_goes_on_with_what_an_earlier_process_kept(scene: Scene) -> None:
    data = scene.worker.output
    price_kept = scene.job.ledger.started("assemble", PRICE, len(data))
    ledger = price_kept.accepted("assemble", len(data) // 2).promise(PRICE // 2, b"\x01" * 65)
    await scene.node.state.save_job(
        JobRecord(
            scene.job.record.job_id,
            scene.job.record.award,
            scene.job.record.bid,
            ledger,
            scene.job.record.awarded_ms,
        )
    )
    (kept,) = await scene.node.state.unfinished()
    again = JobSession(kept, scene.node)
    assert again.ledger.sending == {}
    assert again.ledger.promised == PRICE // 2
    assert again.ledger.advances == {"assemble": PRICE * 45 // 100}
    await again.close()

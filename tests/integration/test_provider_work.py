"""One awarded job over a real connection: leases worked off, paid, cancelled, lost, resumed.

The stage's own work is stood in for; everything between the two nodes is real.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from provider_world import (
    DOMAIN,
    JOB,
    PRICE,
    SEGMENTS,
    TOKEN,
    Scene,
    open_scene,
)
from rpc_world import now_ms, sha

from reelmesh.contracts import eip712
from reelmesh.contracts.eip712 import Attestation, Consent
from reelmesh.node.proof import artifacts_root, trajectory_root
from reelmesh.node.provider.lanes import Board
from reelmesh.node.provider.ledger import BadVoucher, Unpaid
from reelmesh.node.provider.session import BadTotal, JobSession
from reelmesh.node.provider.state import JobRecord
from reelmesh.node.rpc.errors import StaleLease
from reelmesh.node.storage.artifacts_writer import ArtifactWriter, StorageFull
from reelmesh.node.wallet.keys import NodeKey
from reelmesh.node.worker import WorkerCrashed, WorkerOutOfMemory
from reelmesh.proto import work_pb2
from reelmesh.scheduler.ids import JobId, SubtaskId, subtask_key


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_scene(tmp_path) as made:
        yield made


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

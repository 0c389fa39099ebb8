"""A lane: leases asked for and worked off one after another, over a real connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from provider_world import (
    JOB,
    PRICE,
    SEGMENTS,
    Paying,
    Scene,
    open_scene,
)
from rpc_world import now_ms

from reelmesh.node.provider.lanes import Attendant, Board
from reelmesh.node.provider.session import JobSession
from reelmesh.node.provider.state import Standing
from reelmesh.proto import market_pb2, work_pb2


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_scene(tmp_path) as made:
        yield made


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


async def test_a_total_is_agreed_to_while_another_job_runs(scene: Scene) -> None:
    began, gate = asyncio.Event(), asyncio.Event()

    async def run_on() -> None:
        began.set()
        await gate.wait()

    for data in SEGMENTS:  # the other job's inputs are here already
        await scene.kit.store.put_bytes(data)
    scene.worker.behave = run_on
    award = market_pb2.Award()
    award.CopyFrom(scene.job.record.award)
    award.job_id = scene.grant.job_id = b"another job".ljust(32)
    record = replace(scene.job.record, job_id="0x" + award.job_id.hex(), award=award)
    other = JobSession(record, scene.node)
    lane = scene.lane(Board(60_000, now_ms), asyncio.Event())
    working = asyncio.create_task(lane._work(other, scene.grant))
    await began.wait()
    total = work_pb2.Settlement(job_id=JOB, total=str(PRICE))
    scene.handler.script = [work_pb2.LeaseReply(settlement=total)]
    async with asyncio.timeout(30):
        await lane.attend(scene.job)
    assert len(scene.handler.consents) == 1
    assert not working.done()
    gate.set()
    await working
    await other.close()


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

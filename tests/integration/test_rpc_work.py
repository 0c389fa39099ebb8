"""The work service over real TLS on loopback, with honest and hostile providers."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from rpc_world import JOB, PRICE, TOKEN, World, header_for, open_world, sha

from reelmesh.node.rpc import client as client_module
from reelmesh.node.rpc.errors import Refused
from reelmesh.node.rpc.frames import Chunk
from reelmesh.node.rpc.limits import MAX_CHUNK_BYTES, RpcLimits
from reelmesh.node.storage.artifacts import ArtifactStore
from reelmesh.node.storage.artifacts_writer import (
    ArtifactWriter,
    StorageFull,
    TooManyBytes,
    WrongHash,
)
from reelmesh.proto import work_pb2


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as made:
        yield made


async def send_raw(world: World, messages: Sequence[work_pb2.DeliverRequest]) -> Refused:
    """Send these messages as a provider of ill will might; the refusal that comes back."""

    async def ignore(_reply: work_pb2.DeliverReply) -> None:
        return None

    async with world.client() as client:
        call = client._stub.Deliver(timeout=10)
        with pytest.raises(Refused) as caught:
            for message in messages:
                await client._send(call, message)
            await call.done_writing()
            while not await client._answer(call, ignore):
                pass
    return caught.value


def chunk(offset: int, data: bytes, output: int = 0) -> work_pb2.DeliverRequest:
    inner = work_pb2.OutputChunk(output=output, offset=offset, data=data)
    return work_pb2.DeliverRequest(chunk=inner)


def begin(*outputs: bytes, token: bytes = TOKEN) -> work_pb2.DeliverRequest:
    return work_pb2.DeliverRequest(header=header_for(*outputs, token=token))


async def test_a_delivery_is_stored_and_paid_chunk_by_chunk(world: World) -> None:
    outputs = [os.urandom(300_000), os.urandom(5)]
    seen: list[work_pb2.DeliverReply] = []

    async def on_reply(reply: work_pb2.DeliverReply) -> None:
        seen.append(reply)

    async with world.client() as client:
        files = [world.file(data) for data in outputs]
        await client.deliver(header_for(*outputs), files, on_reply, chunk_bytes=100_000)
    assert [reply.accepted_bytes for reply in seen] == [100_000, 200_000, 300_000, 300_005, 300_005]
    assert [reply.complete for reply in seen] == [False] * 4 + [True]
    assert world.handler.vouchers == sorted(world.handler.vouchers)
    assert world.handler.vouchers[-1] == PRICE * 9 // 10
    for data in outputs:
        assert (await world.handler.store.path(sha(data))).read_bytes() == data


async def test_a_sender_never_runs_further_ahead_than_its_window(world: World) -> None:
    data = os.urandom(1_000_000)
    ahead: list[int] = []

    async with world.client(limits=RpcLimits(window=3, retry_s=0.0)) as client:
        sent = 0
        real_send = client._send

        async def counting_send(call: object, message: work_pb2.DeliverRequest | Chunk) -> None:
            nonlocal sent
            sent += len(message.data) if isinstance(message, Chunk) else 0
            await real_send(call, message)  # type: ignore[arg-type]

        async def on_reply(reply: work_pb2.DeliverReply) -> None:
            ahead.append(sent - reply.accepted_bytes)

        client._send = counting_send  # type: ignore[method-assign]
        await client.deliver(header_for(data), [world.file(data)], on_reply, chunk_bytes=50_000)
    assert max(ahead) <= 2 * 50_000  # when the oldest of three is answered two are still out


async def test_what_on_reply_raises_stops_the_sending(world: World) -> None:
    data = os.urandom(1_000_000)

    class Unpaid(Exception):
        pass

    async def on_reply(reply: work_pb2.DeliverReply) -> None:
        raise Unpaid

    async with world.client() as client:
        with pytest.raises(Unpaid):
            await client.deliver(header_for(data), [world.file(data)], on_reply, chunk_bytes=20_000)
        await world.handler.ended.wait()
    # gRPC shows a cancelled stream as one that ended, or as cancelled, whichever it sees first
    assert world.handler.aborted in (["cancelled"], ["incomplete"])
    assert not await world.handler.store.has(sha(data))


async def test_an_oversize_chunk_is_refused(world: World) -> None:
    data = os.urandom(MAX_CHUNK_BYTES + 1)
    refusal = await send_raw(world, [begin(data), chunk(0, data)])
    assert refusal.reason == "too_much"


async def test_a_message_beyond_the_bound_is_refused_by_the_transport(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "MAX_MESSAGE_BYTES", 16 << 20)
    data = os.urandom(2 * MAX_CHUNK_BYTES)
    refusal = await send_raw(world, [begin(data), chunk(0, data)])
    assert refusal.reason == "resource_exhausted", refusal
    await world.handler.ended.wait()
    assert not await world.handler.store.has(sha(data))


@pytest.mark.parametrize("offset", [1, 7, 2**63])
async def test_an_offset_out_of_order_is_refused(world: World, offset: int) -> None:
    refusal = await send_raw(world, [begin(b"x" * 100), chunk(offset, b"x" * 10)])
    assert refusal.reason == "out_of_order"


async def test_a_repeated_chunk_is_refused(world: World) -> None:
    repeated = chunk(0, b"x" * 50)
    refusal = await send_raw(world, [begin(b"x" * 100), repeated, repeated])
    assert refusal.reason == "out_of_order"


async def test_wrong_bytes_are_refused_counted_and_not_kept(world: World) -> None:
    honest, wrong = b"a" * 1000, b"b" * 1000
    refusal = await send_raw(world, [begin(honest), chunk(0, wrong)])
    assert refusal.reason == "wrong_bytes"
    assert world.handler.aborted == ["wrong_bytes"]
    assert world.handler.vouchers == []
    assert world.server.refused[world.provider.address, "wrong_bytes"] == 1
    assert not await world.handler.store.has(sha(honest))
    assert list((world.handler.store.root / "incoming").iterdir()) == []


async def test_more_than_announced_is_refused(world: World) -> None:
    refusal = await send_raw(world, [begin(b"x" * 10), chunk(0, b"x" * 11)])
    assert refusal.reason == "too_much"
    refusal = await send_raw(world, [begin(b"x" * 10), chunk(0, b"x" * 10), chunk(10, b"x")])
    assert refusal.reason == "too_much"


async def test_announcing_more_than_the_stage_can_make_is_refused(world: World) -> None:
    world.handler.max_bytes = 99
    refusal = await send_raw(world, [begin(b"x" * 100)])
    assert refusal.reason == "too_much"


async def test_stopping_early_is_refused(world: World) -> None:
    refusal = await send_raw(world, [begin(b"x" * 100), chunk(0, b"x" * 10)])
    assert refusal.reason == "incomplete"
    assert world.handler.aborted == ["incomplete"]


async def test_a_delivery_without_a_header_is_refused(world: World) -> None:
    refusal = await send_raw(world, [chunk(0, b"x")])
    assert refusal.reason == "malformed"


async def test_a_second_header_is_refused(world: World) -> None:
    refusal = await send_raw(world, [begin(b"x" * 10), begin(b"x" * 10)])
    assert refusal.reason == "malformed"


async def test_a_stale_lease_token_is_refused(world: World) -> None:
    refusal = await send_raw(world, [begin(b"x", token=b"o" * 16)])
    assert refusal.reason == "stale_lease"
    report = work_pb2.ProgressReport(job_id=JOB, subtask="upscale-0", lease_token=b"o" * 16)
    async with world.client() as client, client.progress() as stream:
        with pytest.raises(Refused) as caught:
            await stream.report(report)
    assert caught.value.reason == "stale_lease"


async def test_a_sender_that_goes_quiet_is_cut_off(tmp_path: Path) -> None:
    async with open_world(tmp_path, RpcLimits(chunk_s=0.05)) as world:
        async with world.client() as client:
            call = client._stub.Deliver(timeout=10)
            await client._send(call, begin(b"x" * 100))
            await client._send(call, chunk(0, b"x" * 10))
            await client._read(call)
            with pytest.raises(Refused) as caught:
                await client._read(call)
        assert caught.value.reason == "too_slow"
        assert world.handler.aborted == ["too_slow"]
        assert world.server.refused[world.provider.address, "too_slow"] == 1


async def test_a_sender_below_the_least_rate_is_cut_off(tmp_path: Path) -> None:
    limits = RpcLimits(grace_s=0.0, min_bytes_per_s=1e12)
    async with open_world(tmp_path, limits) as world:
        refusal = await send_raw(world, [begin(b"x" * 100), chunk(0, b"x" * 10)])
        assert refusal.reason == "too_slow"


async def test_too_many_calls_of_one_provider_are_refused(tmp_path: Path) -> None:
    async with open_world(tmp_path, RpcLimits(calls_per_peer=1)) as world:
        report = work_pb2.ProgressReport(job_id=JOB, lease_token=TOKEN)
        async with world.client() as client, client.progress() as stream:
            await stream.report(report)
            with pytest.raises(Refused) as caught:
                await client.lease(work_pb2.LeaseRequest(job_id=JOB))
        assert caught.value.reason == "too_many_calls"


async def test_cancellation_comes_back_with_a_report(world: World) -> None:
    report = work_pb2.ProgressReport(job_id=JOB, lease_token=TOKEN, fraction=0.5)
    async with world.client() as client, client.progress() as stream:
        assert not (await stream.report(report)).cancel
        world.handler.cancel = True
        assert (await stream.report(report)).cancel


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan"), float("inf")])
async def test_a_fraction_out_of_range_is_refused(world: World, fraction: float) -> None:
    report = work_pb2.ProgressReport(job_id=JOB, lease_token=TOKEN, fraction=fraction)
    async with world.client() as client, client.progress() as stream:
        with pytest.raises(Refused) as caught:
            await stream.report(report)
    assert caught.value.reason == "malformed"


async def test_a_replayed_attestation_is_answered_with_its_reason(world: World) -> None:
    attestation = work_pb2.SignedAttestation(job_id=JOB, signature=b"s" * 65)
    request = work_pb2.AttestRequest(
        lease_token=TOKEN, subtask="upscale-0", attestation=attestation
    )
    async with world.client() as client:
        assert (await client.attest(request)).accepted
        again = await client.attest(request)
    assert (again.accepted, again.reason) == (False, "replayed")


async def test_a_defect_of_the_handler_says_nothing_about_itself(world: World) -> None:
    async with world.client() as client:
        with pytest.raises(Refused) as caught:
            await client.consent(work_pb2.ConsentRequest(job_id=JOB))
    assert caught.value.reason == "internal"
    assert "defect" not in caught.value.message


async def test_a_full_disk_of_the_coordinator_is_said_to_be_its_own(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_self: ArtifactWriter, _data: bytes) -> None:
        raise StorageFull("the disk is full")

    monkeypatch.setattr(ArtifactWriter, "write", full)
    error = await send_raw(world, [begin(b"abcd"), chunk(0, b"abcd")])
    assert error.reason == "coordinator_storage"
    assert (world.handler.aborted, world.handler.vouchers) == (["coordinator_storage"], [])


async def test_inputs_are_fetched_and_verified(world: World, tmp_path: Path) -> None:
    data = os.urandom(3 * MAX_CHUNK_BYTES + 5)
    name = await world.handler.store.put_bytes(data)
    mine = ArtifactStore(tmp_path / "mine")
    ref = work_pb2.ArtifactRef(name="frames", sha256=name, size=len(data))
    async with world.client() as client:
        await client.fetch(JOB, ref, mine)
    assert (await mine.path(name)).read_bytes() == data


async def test_inputs_of_another_job_are_refused(world: World, tmp_path: Path) -> None:
    name = await world.handler.store.put_bytes(b"secret")
    ref = work_pb2.ArtifactRef(name="frames", sha256=name, size=6)
    async with world.client() as client:
        with pytest.raises(Refused) as caught:
            await client.fetch(bytes(32), ref, ArtifactStore(tmp_path / "mine"))
    assert caught.value.reason == "permission_denied"


async def test_a_coordinator_that_sends_wrong_or_too_many_bytes(
    world: World, tmp_path: Path
) -> None:
    mine = ArtifactStore(tmp_path / "mine")

    async def lie(_offset: int) -> AsyncIterator[bytes]:
        yield b"lies"

    async def open_lie(*_args: object) -> object:
        return lie

    world.handler.open_input = open_lie  # type: ignore[method-assign,assignment]
    async with world.client() as client:
        with pytest.raises(WrongHash):
            await client.fetch(
                JOB, work_pb2.ArtifactRef(name="a", sha256=sha(b"true"), size=4), mine
            )
        with pytest.raises(TooManyBytes):
            await client.fetch(
                JOB, work_pb2.ArtifactRef(name="a", sha256=sha(b"tru"), size=3), mine
            )
    assert list((mine.root / "incoming").iterdir()) == []

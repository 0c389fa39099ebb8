"""Only a node whose key vouches for its certificate, and that was awarded, gets through."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from rpc_world import JOB, World, now_ms, open_world

from reelmesh.node.rpc.certs import BadCertificate, der_to_pem, make_certificate, server_name
from reelmesh.node.rpc.errors import Refused, Unreachable
from reelmesh.node.rpc.server import PortInUse, WorkServer
from reelmesh.node.wallet.keys import NodeKey
from reelmesh.proto import work_pb2
from reelmesh.proto.work_pb2_grpc import WorkStub

LEASE = work_pb2.LeaseRequest(job_id=JOB)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as made:
        yield made


async def test_an_awarded_provider_is_known_by_its_node_address(world: World) -> None:
    async with world.client() as client:
        reply = await client.lease(LEASE)
    assert reply.idle == "inputs_not_ready"
    assert world.handler.callers == [world.provider.address]


async def test_a_provider_that_was_not_awarded_is_refused(world: World) -> None:
    stranger = make_certificate(NodeKey.generate(), now_ms(), 3600)
    async with world.client(certificate=stranger) as client:
        with pytest.raises(Unreachable):
            await client.lease(LEASE)
    assert world.handler.callers == []


async def test_another_certificate_of_an_awarded_node_is_refused(world: World) -> None:
    other = make_certificate(world.provider, now_ms(), 3600)
    async with world.client(certificate=other) as client:
        with pytest.raises(Unreachable):
            await client.lease(LEASE)


async def test_no_certificate_is_refused(world: World) -> None:
    credentials = grpc.ssl_channel_credentials(
        root_certificates=der_to_pem(world.server.certificate_der)
    )
    name = server_name(world.coordinator.address)
    options = [("grpc.ssl_target_name_override", name)]
    async with grpc.aio.secure_channel(world.server.target, credentials, options) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await WorkStub(channel).Lease(LEASE, timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert world.handler.callers == []


async def test_plain_text_is_refused(world: World) -> None:
    async with grpc.aio.insecure_channel(world.server.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await WorkStub(channel).Lease(LEASE, timeout=5)
    assert world.handler.callers == []


async def test_a_provider_allowed_while_the_server_runs_gets_in(world: World) -> None:
    key = NodeKey.generate()
    certificate = make_certificate(key, now_ms(), 3600)
    world.server.allow(key.address, certificate.der)
    async with world.client(certificate=certificate) as client:
        await client.lease(LEASE)
    assert world.handler.callers == [key.address]


async def test_revoked_on_an_open_connection(world: World) -> None:
    async with world.client() as client:
        await client.lease(LEASE)
        world.server.revoke(world.provider.address)
        with pytest.raises(Refused) as caught:
            await client.lease(LEASE)
    assert caught.value.reason == "not_awarded"
    assert world.server.refused["unknown", "not_awarded"] == 1


async def test_a_certificate_is_allowed_only_for_its_own_node(world: World) -> None:
    with pytest.raises(BadCertificate):
        world.server.allow(NodeKey.generate().address, world.certificate.der)


async def test_a_client_refuses_a_server_that_is_not_the_coordinator(
    world: World, tmp_path: Path
) -> None:
    impostor = NodeKey.generate()
    with pytest.raises(BadCertificate):
        world.client(coordinator=impostor.address)
    # the right certificate pinned, but somebody else answers at the address
    server = WorkServer(impostor, world.handler)
    await server.start()
    try:
        client = world.client()
        await client.close()
        world.server.target = server.target
        async with world.client() as misled:
            with pytest.raises(Unreachable):
                await misled.lease(LEASE)
    finally:
        await server.stop()


async def test_a_port_in_use_is_said_plainly(world: World) -> None:
    port = int(world.server.target.rpartition(":")[2])
    with pytest.raises(PortInUse, match="in use"):
        await WorkServer(world.coordinator, world.handler, port=port).start()


async def test_a_restarted_server_keeps_its_certificate(tmp_path: Path, world: World) -> None:
    file = tmp_path / "tls.pem"
    first = WorkServer(world.coordinator, world.handler, certificate_file=file)
    second = WorkServer(world.coordinator, world.handler, certificate_file=file)
    assert first.certificate_der == second.certificate_der
    assert file.stat().st_mode & 0o777 == 0o600

"""Measures what hashing, storing and vouchers cost a result's way over gRPC.

Sends the same file twice over loopback with the same mutual TLS and chunk size: once through a
bare gRPC stream whose receiver throws them away and answers each chunk, and once as a real delivery
(hashed and stored by the receiver, each chunk answered by a newly signed voucher, which the sender
verifies). Both receivers are in one process and both senders in another, as two nodes are. Runs
alternate so that both see the same machine; the ratio is the median of the pairs'.

Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc

from reelmesh.contracts import eip712
from reelmesh.contracts.eip712 import Domain, Voucher
from reelmesh.node.provider.ledger import JobLedger
from reelmesh.node.provider.vouchers import Parties, take_voucher
from reelmesh.node.rpc.certs import NodeCertificate, der_to_pem, make_certificate, server_name
from reelmesh.node.rpc.client import WorkClient
from reelmesh.node.rpc.delivery import DeliverySink, delivered_share
from reelmesh.node.rpc.limits import MAX_CHUNK_BYTES, MAX_MESSAGE_BYTES
from reelmesh.node.rpc.server import WorkServer
from reelmesh.node.storage.artifacts import ArtifactStore
from reelmesh.node.wallet.keys import NodeKey
from reelmesh.proto import work_pb2
from reelmesh.proto.work_pb2_grpc import WorkServicer, WorkStub, add_WorkServicer_to_server

JOB = bytes(32)
PRICE = 10**15
TARGET = 0.5


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Bare(WorkServicer):
    """Counts bytes and answers each chunk; no hash, no store, no voucher."""

    async def Deliver(self, requests: AsyncIterator[Any], _context: Any) -> AsyncIterator[Any]:  # noqa: N802
        accepted = 0
        async for request in requests:
            accepted += len(request.chunk.data)
            yield work_pb2.DeliverReply(accepted_bytes=accepted)


class Paying:
    """A coordinator's handler with nothing but deliveries."""

    def __init__(self, store: ArtifactStore, key: NodeKey, domain: Domain, provider: str) -> None:
        self._store, self._key, self._domain, self._provider = store, key, domain, provider
        self.paid_before = 0

    async def begin_delivery(self, _provider: str, header: Any) -> DeliverySink:
        return DeliverySink(
            self._store,
            header,
            max_bytes=1 << 40,
            raise_voucher=self._raise,
            completed=self._completed,
            aborted=self._aborted,
        )

    async def _raise(self, accepted: int, total: int) -> work_pb2.SignedVoucher:
        amount = self.paid_before + delivered_share(PRICE, accepted, total)
        signature = eip712.sign(self._domain, Voucher(JOB, self._provider, amount), self._key)
        return work_pb2.SignedVoucher(job_id=JOB, amount=str(amount), signature=signature)

    async def _completed(self, _refs: Sequence[Any]) -> None:
        self.paid_before += PRICE

    async def _aborted(self, reason: str) -> None:
        raise RuntimeError(f"the delivery was aborted: {reason}")


async def bare_server(coordinator: NodeCertificate, provider_der: bytes) -> tuple[Any, str]:
    options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
    server = grpc.aio.server(options=options)
    add_WorkServicer_to_server(Bare(), server)
    credentials = grpc.ssl_server_credentials(
        [(coordinator.key_pem, coordinator.cert_pem)],
        root_certificates=der_to_pem(provider_der),
        require_client_auth=True,
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    return server, f"127.0.0.1:{port}"


async def send_bare(stub: Any, path: Path, chunk: int) -> float:
    """Seconds for a bare stream of a file: written as fast as it goes, answers read meanwhile."""
    began = time.perf_counter()
    call = stub.Deliver(timeout=600)

    async def write() -> None:
        offset = 0
        with path.open("rb") as file:
            while data := file.read(chunk):
                request = work_pb2.DeliverRequest()
                request.chunk.offset, request.chunk.data = offset, data
                await call.write(request)
                offset += len(data)
        await call.done_writing()

    writing = asyncio.create_task(write())
    accepted = 0
    async for reply in call:
        accepted = reply.accepted_bytes
    await writing
    took = time.perf_counter() - began
    assert accepted == path.stat().st_size
    return took


async def send_ours(
    client: WorkClient, file: Path, header: Any, parties: Parties, chunk: int
) -> float:
    """Seconds for a delivery of `file`, with every voucher verified."""
    ledger = JobLedger(cap=2**127)

    async def on_reply(reply: Any) -> None:
        nonlocal ledger
        if reply.HasField("voucher"):
            ledger = take_voucher(ledger, reply.voucher, parties)

    began = time.perf_counter()
    await client.deliver(header, [file], on_reply, chunk_bytes=chunk)
    took = time.perf_counter() - began
    assert ledger.promised > 0
    return took


async def serve(folder: Path, provider_der: bytes, provider: str, market: str) -> None:
    """The receiving process: both servers, until standard input ends."""
    coordinator = NodeKey.generate()
    handler: Any = Paying(ArtifactStore(folder), coordinator, Domain(31337, market), provider)
    server = WorkServer(coordinator, handler)
    server.allow(provider, provider_der)
    await server.start()
    certificate = make_certificate(coordinator, now_ms(), 3600)
    bare, bare_target = await bare_server(certificate, provider_der)
    told = {
        "address": coordinator.address,
        "target": server.target,
        "der": server.certificate_der.hex(),
        "bare_target": bare_target,
        "bare_der": certificate.der.hex(),
    }
    print(json.dumps(told), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()
    await bare.stop(None)


async def start_receiver(folder: Path, mine: NodeCertificate, market: str) -> tuple[Any, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        "--serve",
        str(folder),
        mine.der.hex(),
        mine.address,
        market,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    return process, json.loads(await process.stdout.readline())


async def measure(size: int, pairs: int, chunk: int) -> dict[str, Any]:
    provider, market = NodeKey.generate(), NodeKey.generate().address
    mine = make_certificate(provider, now_ms(), 3600)
    plain: list[float] = []
    ours: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        receiver, told = await start_receiver(Path(folder) / "store", mine, market)
        parties = Parties(Domain(31337, market), JOB, told["address"], provider.address)
        credentials = grpc.ssl_channel_credentials(
            der_to_pem(bytes.fromhex(told["bare_der"])), mine.key_pem, mine.cert_pem
        )
        options = [("grpc.ssl_target_name_override", server_name(told["address"]))]
        channel = grpc.aio.secure_channel(told["bare_target"], credentials, options)
        der = bytes.fromhex(told["der"])
        client = WorkClient(told["target"], der, mine, coordinator=told["address"])
        try:
            for number in range(pairs + 1):
                data = os.urandom(size)
                file = Path(folder) / "result"
                file.write_bytes(data)
                digest = hashlib.sha256(data).hexdigest()
                ref = work_pb2.ArtifactRef(name="result", sha256=digest, size=size)
                header = work_pb2.DeliverHeader(
                    job_id=JOB, subtask="x", lease_token=bytes(16), outputs=[ref]
                )
                # Or the machine would pay for ever more page cache, on one side only.
                discard_objects(Path(folder) / "store")
                one = await send_bare(WorkStub(channel), file, chunk)
                other = await send_ours(client, file, header, parties, chunk)
                if number:  # the first pair opens connections and files
                    plain.append(one)
                    ours.append(other)
        finally:
            await client.close()
            await channel.close()
            receiver.stdin.close()
            await receiver.wait()
    return {"stream_ratio": report(plain, ours, size, chunk)}


def discard_objects(store: Path) -> None:
    for kept in (store / "objects").rglob("*"):
        if kept.is_file():
            kept.unlink()


def report(plain: list[float], ours: list[float], size: int, chunk: int) -> dict[str, Any]:
    ratio = statistics.median(b / o for b, o in zip(plain, ours, strict=True))
    rates = [size / statistics.median(times) / 1e6 for times in (ours, plain)]
    return {
        "value": round(ratio, 3),
        "unit": "x",
        "baseline": round(rates[1], 1),
        "ratio": round(ratio, 3),
        "target": f">= {TARGET}",
        "how": (
            f"{len(ours)} alternating pairs of {size >> 20} MiB in chunks of {chunk >> 10} KiB, "
            "process to process over loopback TLS; hashed, stored and synced to disk, a voucher "
            "signed and verified for each chunk; baseline in MB/s"
        ),
        "ours_mb_s": round(rates[0], 1),
        "bare_mb_s": round(rates[1], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=64, help="size of the result")
    parser.add_argument("--pairs", type=int, default=11)
    parser.add_argument("--chunk-kib", type=int, default=MAX_CHUNK_BYTES >> 10)
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        folder, der, provider, market = args.serve
        asyncio.run(serve(Path(folder), bytes.fromhex(der), provider, market))
        return
    found = asyncio.run(measure(args.mib << 20, args.pairs, args.chunk_kib << 10))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()

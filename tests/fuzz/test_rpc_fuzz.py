"""Whatever a provider sends, only announced bytes are kept, and no more is promised than earned."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from reelmesh.errors import PeerError
from reelmesh.node.rpc.certs import BadCertificate, make_certificate, verify_certificate
from reelmesh.node.rpc.delivery import DeliverySink, delivered_share
from reelmesh.node.rpc.frames import Chunk
from reelmesh.node.storage.artifacts import ArtifactStore
from reelmesh.node.wallet.keys import NodeKey
from reelmesh.proto import work_pb2

NOW = 1_800_000_000_000
KEY = NodeKey.generate()
CERTIFICATE = make_certificate(KEY, NOW, 3600).der
PRICE = 1000

chunks = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 60), st.binary(max_size=30)), max_size=12
)
outputs = st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=3)


class Told:
    """What the sink told the coordinator."""

    def __init__(self) -> None:
        self.promised: list[int] = []
        self.completed = 0

    async def raise_voucher(self, accepted: int, total: int) -> work_pb2.SignedVoucher:
        self.promised.append(delivered_share(PRICE, accepted, total))
        return work_pb2.SignedVoucher(amount=str(self.promised[-1]))

    async def done(self, _refs: Sequence[work_pb2.ArtifactRef]) -> None:
        self.completed += 1

    async def aborted(self, _reason: str) -> None:
        return None


def header_of(datas: list[bytes]) -> work_pb2.DeliverHeader:
    return work_pb2.DeliverHeader(
        outputs=[
            work_pb2.ArtifactRef(
                name=f"o-{i}", sha256=hashlib.sha256(data).hexdigest(), size=len(data)
            )
            for i, data in enumerate(datas)
        ]
    )


async def deliver(folder: Path, datas: list[bytes], sent: list[tuple[int, int, bytes]]) -> Told:
    store, told = ArtifactStore(folder), Told()
    sink = DeliverySink(
        store,
        header_of(datas),
        max_bytes=1000,
        raise_voucher=told.raise_voucher,
        completed=told.done,
        aborted=told.aborted,
    )
    try:
        for output, offset, data in sent:
            await sink.accept(Chunk(output, offset, data))
        await sink.finish()
    except PeerError:
        await sink.abort("refused")
    kept = {file.name for file in (folder / "objects").glob("??/*")}
    assert kept <= {hashlib.sha256(data).hexdigest() for data in datas}
    for name in kept:
        await store.verify(name)
    assert list((folder / "incoming").iterdir()) == []
    return told


def run(datas: list[bytes], sent: list[tuple[int, int, bytes]]) -> Told:
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(deliver(Path(folder), datas, sent))


@settings(deadline=None, max_examples=150)
@given(outputs, chunks)
def test_any_chunks(datas: list[bytes], sent: list[tuple[int, int, bytes]]) -> None:
    told = run(datas, sent)
    assert told.promised == sorted(told.promised)
    assert max(told.promised, default=0) <= PRICE * 9 // 10


@settings(deadline=None, max_examples=100)
@given(outputs, st.integers(1, 20), st.data())
def test_honest_chunks_with_at_most_one_bit_turned(
    datas: list[bytes], size: int, data: st.DataObject
) -> None:
    honest = [
        (index, at, whole[at : at + size])
        for index, whole in enumerate(datas)
        for at in range(0, len(whole), size)
    ]
    assert run(datas, honest).completed == 1
    victim = data.draw(st.integers(0, len(honest) - 1))
    index, at, piece = honest[victim]
    bit = data.draw(st.integers(0, len(piece) * 8 - 1))
    turned = bytearray(piece)
    turned[bit // 8] ^= 1 << (bit % 8)
    honest[victim] = (index, at, bytes(turned))
    assert run(datas, honest).completed == 0


@settings(deadline=None, max_examples=400)
@given(st.integers(0, len(CERTIFICATE) * 8 - 1))
@example(96)  # the version
@example(1752)  # the kind of key
def test_a_certificate_with_a_bit_turned_is_nobodys(bit: int) -> None:
    turned = bytearray(CERTIFICATE)
    turned[bit // 8] ^= 1 << (bit % 8)
    try:
        address = verify_certificate(bytes(turned), NOW)
    except BadCertificate:
        return
    raise AssertionError(f"taken as {address}'s")


@given(st.binary(max_size=300))
def test_bytes_are_no_certificate(junk: bytes) -> None:
    try:
        verify_certificate(junk, NOW)
    except BadCertificate:
        return
    raise AssertionError("taken")

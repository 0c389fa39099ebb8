"""Chunks on the wire: the same bytes as protobuf's, read without copies."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from reelmesh.node.rpc.frames import Chunk, read_request, write_request
from reelmesh.proto import work_pb2

NUMBERS = st.integers(0, 2**64 - 1) | st.sampled_from([0, 127, 128, 2**32 - 1, 2**64 - 1])


def by_protobuf(output: int, offset: int, data: bytes) -> bytes:
    inner = work_pb2.OutputChunk(output=output, offset=offset, data=data)
    return work_pb2.DeliverRequest(chunk=inner).SerializeToString()


@given(st.integers(0, 2**32 - 1), NUMBERS, st.binary(max_size=400))
@example(0, 0, b"")
@example(3, 1 << 20, b"x" * (1 << 20))
def test_a_chunk_is_written_as_protobuf_writes_it(output: int, offset: int, data: bytes) -> None:
    wire = write_request(Chunk(output, offset, data))
    assert wire == by_protobuf(output, offset, data)
    read = read_request(wire)
    assert isinstance(read, Chunk)
    assert (read.output, read.offset, bytes(read.data)) == (output, offset, data)


def test_the_bytes_of_a_chunk_are_not_copied() -> None:
    wire = write_request(Chunk(0, 7, b"y" * 1000))
    read = read_request(wire)
    assert isinstance(read, Chunk)
    assert isinstance(read.data, memoryview)
    assert read.data.obj is wire


def test_a_header_goes_through_whole() -> None:
    header = work_pb2.DeliverHeader(job_id=bytes(32), subtask="x", lease_token=bytes(16))
    wire = write_request(work_pb2.DeliverRequest(header=header))
    assert read_request(wire) == work_pb2.DeliverRequest(header=header)


def _like_protobuf(wire: bytes) -> None:
    try:
        expected = work_pb2.DeliverRequest.FromString(wire)
    except DecodeError:
        with pytest.raises(DecodeError):
            read_request(wire)
        return
    read = read_request(wire)
    if expected.WhichOneof("what") == "chunk":
        assert isinstance(read, Chunk)
        inner = expected.chunk
        assert (read.output, read.offset, read.data) == (inner.output, inner.offset, inner.data)
    else:
        assert read == expected


@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda rest: b"\x12" + rest))
@example(b"\x12\x04\x1a\x02xy")
@example(b"\x12\x84\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x1a\x02xy")
@example(b"\x12\x06\x08\xff\xff\xff\xff\xff")
@example(b"\x12\x0a\x08\xff\xff\xff\xff\xff\x01\x1a\x01x")  # an index of more than 32 bits
@example(b"\x12\x08\x1a\x01x\x10\x05\x1a\x01y")  # a field twice: the last one counts
def test_any_bytes_are_read_as_protobuf_reads_them(wire: bytes) -> None:
    _like_protobuf(wire)


@given(st.binary(min_size=1, max_size=50), st.data())
def test_a_damaged_chunk_is_read_as_protobuf_reads_it(data: bytes, draw: st.DataObject) -> None:
    wire = bytearray(by_protobuf(5, 300, data))
    at = draw.draw(st.integers(0, min(len(wire) - 1, 12)))
    wire[at] = draw.draw(st.integers(0, 255))
    _like_protobuf(bytes(wire))

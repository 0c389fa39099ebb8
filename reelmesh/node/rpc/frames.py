"""A delivery's chunks on the wire, with one copy of their bytes instead of four.

The bytes are those that protobuf writes for a `DeliverRequest` with a chunk (field order and
defaults as its canonical writers have them); either end may use protobuf instead. What does not
look so is given to protobuf. See the Protocol Buffers encoding reference.
"""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from reelmesh.proto import work_pb2
from reelmesh.proto.work_pb2_grpc import WorkServicer

DELIVER = "/reelmesh.v1.Work/Deliver"
_CHUNK, _OUTPUT, _OFFSET, _DATA = 0x12, 0x08, 0x10, 0x1A
_MAX_VARINT_BYTES = 10


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a result: output index, offset in it, and its bytes (a view of the message)."""

    output: int
    offset: int
    data: bytes | memoryview


def write_request(message: work_pb2.DeliverRequest | Chunk) -> bytes:
    """The wire form of a delivery's header or chunk."""
    if not isinstance(message, Chunk):
        return message.SerializeToString()
    fields = bytearray()
    for tag, value in ((_OUTPUT, message.output), (_OFFSET, message.offset)):
        if value:
            fields.append(tag)
            fields += _varint(value)
    size = len(message.data)
    if size:
        fields.append(_DATA)
        fields += _varint(size)
    return b"".join((bytes((_CHUNK,)), _varint(len(fields) + size), fields, message.data))


def read_request(message: bytes) -> work_pb2.DeliverRequest | Chunk:
    """A message's chunk, or the whole request where it is none.

    Raises `google.protobuf.message.DecodeError`, as protobuf does.
    """
    chunk = _read_chunk(message)
    if chunk is not None:
        return chunk
    request = work_pb2.DeliverRequest.FromString(message)
    if request.WhichOneof("what") != "chunk":
        return request
    return Chunk(request.chunk.output, request.chunk.offset, request.chunk.data)


def take_frames(server: grpc.aio.Server, servicer: WorkServicer) -> None:
    """Let Deliver read its messages here; the generated registration must have come before."""
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.Deliver,
        request_deserializer=read_request,
        response_serializer=work_pb2.DeliverReply.SerializeToString,
    )
    server.add_registered_method_handlers("reelmesh.v1.Work", {"Deliver": handler})


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """The number and where it ends. Raises IndexError past the end, ValueError when too long."""
    value = 0
    for place in range(_MAX_VARINT_BYTES):
        byte = message[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError("a number of more than ten bytes")


def _read_chunk(message: bytes) -> Chunk | None:
    """The chunk, where the message is written just as `write_request` writes one with data."""
    try:
        if message[0] != _CHUNK:
            return None
        size, at = _read_varint(message, 1)
        if at + size != len(message):
            return None
        output = offset = 0
        if message[at] == _OUTPUT:
            output, at = _read_varint(message, at + 1)
        if message[at] == _OFFSET:
            offset, at = _read_varint(message, at + 1)
        if message[at] != _DATA:
            return None
        size, at = _read_varint(message, at + 1)
    except (IndexError, ValueError):
        return None
    if at + size != len(message) or output >> 32 or offset >> 64:
        return None
    return Chunk(output, offset, memoryview(message)[at:])

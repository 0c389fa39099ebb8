"""Messages between a node and its worker process: JSON objects after a 4-byte length."""

from __future__ import annotations

import asyncio
import json
from typing import Any, BinaryIO

MAX_MESSAGE = 4 << 20

Message = dict[str, Any]


class BadMessage(ValueError):
    """The other end did not speak the protocol."""


def pack(message: Message) -> bytes:
    """A message as bytes. Raises BadMessage when it is too long."""
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) > MAX_MESSAGE:
        raise BadMessage(f"a message of {len(body)} bytes is too long")
    return len(body).to_bytes(4, "big") + body


def read_blocking(stream: BinaryIO) -> Message | None:
    """The next message, or None at the end of the stream. Raises BadMessage."""
    head = stream.read(4)
    if not head:
        return None
    body = stream.read(_length(head))
    return _parse(body, len(body) == int.from_bytes(head, "big"))


async def read(stream: asyncio.StreamReader) -> Message | None:
    """The next message, or None where the stream ends, also in the middle of one."""
    try:
        head = await stream.readexactly(4)
        return _parse(await stream.readexactly(_length(head)), whole=True)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def _length(head: bytes) -> int:
    size = int.from_bytes(head, "big")
    if len(head) != 4 or size > MAX_MESSAGE:
        raise BadMessage("a message's length is not valid")
    return size


def _parse(body: bytes, whole: bool) -> Message:
    try:
        message = json.loads(body) if whole else None
    except ValueError as error:
        raise BadMessage("a message is not JSON") from error
    if not isinstance(message, dict):
        raise BadMessage("a message is cut off or not an object")
    return message

"""Files cut into the chunks of a delivery."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reelmesh.errors import StorageError
from reelmesh.proto import work_pb2


@dataclass(frozen=True)
class Output:
    """One output to send: its index in the header, its file, its size in bytes."""

    index: int
    path: Path
    size: int


async def read_chunks(
    outputs: Sequence[Output], chunk_bytes: int
) -> AsyncGenerator[work_pb2.OutputChunk, None]:
    """Every output's bytes in order; raises StorageError when a file is not of its size."""
    for output in outputs:
        offset = 0
        with output.path.open("rb") as file:
            # the next piece is read while this one is sent
            reading = asyncio.ensure_future(asyncio.to_thread(file.read, chunk_bytes))
            try:
                while data := await reading:
                    reading = asyncio.ensure_future(asyncio.to_thread(file.read, chunk_bytes))
                    yield work_pb2.OutputChunk(output=output.index, offset=offset, data=data)
                    offset += len(data)
            finally:
                await asyncio.gather(reading, return_exceptions=True)
        if offset != output.size:
            raise StorageError(f"{output.path.name} changed while it was sent")


def chunk_size(total_bytes: int, most: int, least: int = 16 << 10, pieces: int = 64) -> int:
    """Chunk bytes such that a result comes in about `pieces` parts, within [least, most].

    A small result is cut finely so that what is sent ahead of its pay stays a small share of it.
    """
    return max(least, min(most, -(-total_bytes // pieces)))

"""Files cut into the chunks of a delivery."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reelmesh.errors import StorageError
from reelmesh.node.rpc.frames import Chunk


@dataclass(frozen=True)
class Output:
    """One output to send: its index in the header, its file, its size in bytes."""

    index: int
    path: Path
    size: int


def read_chunks(outputs: Sequence[Output], chunk_bytes: int) -> Iterator[Chunk]:
    """Every output's chunks in order; raises StorageError when a file is not of its size."""
    for output in outputs:
        offset = 0
        with output.path.open("rb") as file:
            # Not in a thread: these bytes were hashed a moment ago and are still in memory.
            while data := file.read(chunk_bytes):
                yield Chunk(output.index, offset, data)
                offset += len(data)
        if offset != output.size:
            raise StorageError(f"{output.path.name} changed while it was sent")


def chunk_size(total_bytes: int, most: int, least: int = 32 << 10, pieces: int = 32) -> int:
    """Chunk bytes such that a result comes in about `pieces` parts, within [least, most].

    A small result is cut finely so that what is sent ahead of its pay stays a small share of it.
    """
    return max(least, min(most, -(-total_bytes // pieces)))

"""Every bound of the work service in one place, so that both ends agree."""

from __future__ import annotations

from dataclasses import dataclass

MAX_CHUNK_BYTES = 1 << 20
"""Most data bytes in one Chunk or OutputChunk."""

MAX_MESSAGE_BYTES = MAX_CHUNK_BYTES + (64 << 10)
"""Most bytes of one gRPC message: a chunk and its framing."""

MAX_OUTPUTS = 64
"""Most outputs of one subtask."""

MAX_LEASE_WAIT_MS = 30_000
"""Longest that a Lease call is held open."""


@dataclass(frozen=True)
class RpcLimits:
    """What one side grants the other. Seconds, bytes, and counts; all > 0.

    Attributes:
        call_s: Deadline of an ordinary call.
        stream_s: Longest life of one Progress, Fetch or Deliver stream.
        chunk_s: Longest wait for the next message on a Deliver stream, and for an answer to one.
        quiet_s: Longest silence on a Progress stream.
        min_bytes_per_s: A delivery slower than this, after `grace_s`, is aborted.
        grace_s: See `min_bytes_per_s`.
        calls_per_peer: Calls and streams that one provider may have open at once.
        calls_in_all: Calls and streams open at once, over all providers.
        window: Chunks that a sender may have unacknowledged.
        retry_s: How long a client keeps trying a coordinator that does not answer.
    """

    call_s: float = 15.0
    stream_s: float = 3600.0
    chunk_s: float = 20.0
    quiet_s: float = 60.0
    min_bytes_per_s: float = 4096.0
    grace_s: float = 20.0
    calls_per_peer: int = 64
    calls_in_all: int = 1024
    window: int = 2
    retry_s: float = 30.0

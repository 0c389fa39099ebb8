"""Counters of a libp2p host: what was refused, and why. Plain ints, read from any thread."""

from __future__ import annotations

from collections import Counter
from typing import Final

NAMES: Final = frozenset(
    {
        "handler_errors",  # a stream handler of ours or of libp2p's raised
        "bad_rpc",  # a pubsub frame did not parse, or was too large or too full
        "bad_gossip",  # a pubsub message had a junk key, was badly signed, or raised
        "invalid_gossip",  # a topic's validator refused it, or raised
        "gossip_dropped",  # over the peer's rate, or a slow reader's queue was full
        "flooders_banned",  # a peer sent so much that it was cut off
        "requests_refused",  # over the peer's rate or slots, too large, too slow, or cut short
        "requests_served",
        "streams_refused",  # more at once than one peer may have
        "connections_refused",
        "buffers_overrun",  # a peer ignored flow control and was cut off
        "background_errors",  # a task of libp2p's raised and was contained
        "restarts",  # the host crashed and was started again
    }
)


class Metrics:
    """Counts by name; `snapshot()` is what is shown."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter(dict.fromkeys(NAMES, 0))

    def add(self, name: str, by: int = 1) -> None:
        """Raise one counter; the name must be one of NAMES."""
        if name not in NAMES:
            raise KeyError(name)
        self._counts[name] += by

    def __getitem__(self, name: str) -> int:
        return self._counts[name]

    def snapshot(self) -> dict[str, int]:
        """All counters, by name, zeros included."""
        return dict(sorted(self._counts.items()))

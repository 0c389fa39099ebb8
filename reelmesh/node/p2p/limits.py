"""Rates per remote peer, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable


class TokenBucket:
    """`rate` tokens a second up to `burst`; time comes in from outside, in seconds."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = burst, now

    def take(self, now: float, cost: float = 1.0) -> bool:
        """Whether `cost` tokens were there, and are now taken; nothing is taken if not."""
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now
        if self._tokens < cost:
            return False
        self._tokens -= cost
        return True


class PeerRates:
    """A token bucket for each remote peer; the peers heard of longest ago are forgotten first.

    Forgetting a peer gives it a fresh bucket, so `max_peers` must exceed the connections allowed.
    """

    def __init__(
        self, rate: float, burst: float, clock: Callable[[], float], max_peers: int = 4096
    ) -> None:
        self._rate, self._burst, self._clock, self._max = rate, burst, clock, max_peers
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, peer: str, cost: float = 1.0) -> bool:
        """Whether `peer` may do one more thing now."""
        now = self._clock()
        bucket = self._buckets.get(peer)
        if bucket is None:
            bucket = self._buckets[peer] = TokenBucket(self._rate, self._burst, now)
            if len(self._buckets) > self._max:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(peer)
        return bucket.take(now, cost)


class Slots:
    """How many things are under way, in all and for each key; both bounded."""

    def __init__(self, per_key: int, in_all: int) -> None:
        self._per_key, self._in_all = per_key, in_all
        self._taken: dict[str, int] = {}
        self._total = 0

    def acquire(self, key: str) -> bool:
        """Whether a slot was free for `key`, and is now taken."""
        if self._total >= self._in_all or self._taken.get(key, 0) >= self._per_key:
            return False
        self._total += 1
        self._taken[key] = self._taken.get(key, 0) + 1
        return True

    def release(self, key: str) -> None:
        """Give back one slot of `key`."""
        left = self._taken[key] - 1
        self._total -= 1
        if left:
            self._taken[key] = left
        else:
            del self._taken[key]


class Bans:
    """Peers that are refused for a while; bounded, the oldest ban is lifted first."""

    def __init__(self, seconds: float, clock: Callable[[], float], max_peers: int = 4096) -> None:
        self._seconds, self._clock, self._max = seconds, clock, max_peers
        self._until: OrderedDict[str, float] = OrderedDict()

    def add(self, peer: str) -> None:
        """Refuse `peer` from now on, for the configured time."""
        self._until.pop(peer, None)
        self._until[peer] = self._clock() + self._seconds
        if len(self._until) > self._max:
            self._until.popitem(last=False)

    def __contains__(self, peer: str) -> bool:
        until = self._until.get(peer)
        if until is None:
            return False
        if until <= self._clock():
            del self._until[peer]
            return False
        return True

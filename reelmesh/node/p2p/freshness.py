"""When a signed message counts: not before it was issued, not after it expired, and once."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from reelmesh.errors import PeerError

MAX_SKEW_MS: Final = 30_000
"""How far two honest clocks may differ."""


class Expired(PeerError):
    """The message's time is over."""


class FromTheFuture(PeerError):
    """The message says it was issued later than now and the skew allow: a clock is wrong."""


class LivesTooLong(PeerError):
    """The message asks to be remembered for longer than its type may, or expires before issue."""


class Replayed(PeerError):
    """The message was seen before."""


class TooManyLive(PeerError):
    """One sender has more live messages of a type than are kept."""


def check_window(issued_at_ms: int, expires_at_ms: int, now_ms: int, max_life_ms: int) -> None:
    """Raise FromTheFuture, LivesTooLong or Expired unless now is within the message's time.

    Both ends are taken with MAX_SKEW_MS of grace, since the sender's clock is not ours.
    """
    if issued_at_ms > now_ms + MAX_SKEW_MS:
        ahead = (issued_at_ms - now_ms) // 1000
        raise FromTheFuture(f"issued {ahead} s ahead of this machine's clock", "check both clocks")
    if not issued_at_ms <= expires_at_ms <= issued_at_ms + max_life_ms:
        raise LivesTooLong(f"lives {(expires_at_ms - issued_at_ms) / 1000:g} s")
    if now_ms > expires_at_ms + MAX_SKEW_MS:
        raise Expired(f"expired {(now_ms - expires_at_ms) // 1000} s ago")


class ReplayCache:
    """Which messages were seen, for as long as they could be replayed; in bounded memory.

    A key is remembered until its message has expired, skew included, since after that the message
    is refused for its age. One sender has room for `per_sender` live keys, so that none can push
    out what others sent. Past `max_senders`, those with nothing live go first, then those not heard
    of for longest.
    """

    def __init__(self, max_senders: int = 4096, per_sender: int = 256) -> None:
        self._max_senders, self._per_sender = max_senders, per_sender
        self._seen: OrderedDict[str, dict[bytes, int]] = OrderedDict()

    def admit(self, sender: str, key: bytes, expires_at_ms: int, now_ms: int) -> None:
        """Remember `key`; raises Replayed when it is known, TooManyLive when there is no room."""
        known = self._seen.get(sender)
        if known is None:
            known = self._seen[sender] = {}
            self._make_room(now_ms)
        else:
            self._seen.move_to_end(sender)
        if key in known:
            raise Replayed("seen before")
        if len(known) >= self._per_sender:
            _drop_expired(known, now_ms)
            if len(known) >= self._per_sender:
                raise TooManyLive(f"more than {self._per_sender} live messages of one sender")
        known[key] = expires_at_ms + MAX_SKEW_MS

    def forget(self, sender: str, key: bytes) -> None:
        """Let `key` be admitted again, because handling it failed."""
        self._seen.get(sender, {}).pop(key, None)

    def __len__(self) -> int:
        return sum(len(keys) for keys in self._seen.values())

    def _make_room(self, now_ms: int) -> None:
        if len(self._seen) <= self._max_senders:
            return
        for sender, keys in list(self._seen.items()):
            _drop_expired(keys, now_ms)
            if not keys and sender != next(reversed(self._seen)):
                del self._seen[sender]
        while len(self._seen) > self._max_senders:
            self._seen.popitem(last=False)


def _drop_expired(keys: dict[bytes, int], now_ms: int) -> None:
    for key in [k for k, until in keys.items() if until < now_ms]:
        del keys[key]

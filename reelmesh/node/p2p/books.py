"""What a node has heard and still counts: capacity ads and open calls, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reelmesh.proto import market_pb2 as pb

if TYPE_CHECKING:
    from reelmesh.scheduler.ids import NodeAddress


class AdBook:
    """The newest unexpired capacity ad of each provider."""

    def __init__(self, now_ms: Callable[[], int], max_ads: int = 4096) -> None:
        self._now_ms, self._max = now_ms, max_ads
        self._ads: dict[NodeAddress, pb.CapacityAd] = {}

    def put(self, provider: NodeAddress, ad: pb.CapacityAd) -> bool:
        """Keep an ad if it is newer than the one known; whether it was.

        When the book is full, the ad that expires first makes room.
        """
        known = self._ads.get(provider)
        if known is not None and known.issued_at_ms >= ad.issued_at_ms:
            return False
        self._ads[provider] = ad
        if len(self._ads) > self._max:
            self._prune()
        if len(self._ads) > self._max:
            del self._ads[min(self._ads, key=lambda a: self._ads[a].expires_at_ms)]
        return provider in self._ads

    def get(self, provider: NodeAddress) -> pb.CapacityAd | None:
        """The live ad of one provider."""
        ad = self._ads.get(provider)
        return ad if ad is not None and ad.expires_at_ms > self._now_ms() else None

    def items(self) -> Iterator[tuple[NodeAddress, pb.CapacityAd]]:
        """All live ads."""
        self._prune()
        return iter(list(self._ads.items()))

    def __len__(self) -> int:
        self._prune()
        return len(self._ads)

    def _prune(self) -> None:
        now = self._now_ms()
        self._ads = {p: ad for p, ad in self._ads.items() if ad.expires_at_ms > now}


@dataclass(frozen=True)
class OpenCall:
    """A call still open for bids, as it was signed."""

    sender: NodeAddress
    call: pb.Call
    envelope: pb.Envelope


class CallBook:
    """Calls that are open for bids, own and heard, to hand on to nodes that missed the gossip."""

    def __init__(
        self, now_ms: Callable[[], int], max_calls: int = 256, per_sender: int = 32
    ) -> None:
        self._now_ms, self._max, self._per_sender = now_ms, max_calls, per_sender
        self._calls: dict[tuple[str, bytes, int], OpenCall] = {}

    def put(self, entry: OpenCall) -> None:
        """Keep a call until it closes; the newest issue of each job's round counts."""
        key = (entry.sender, entry.call.job_id, entry.call.round)
        known = self._calls.get(key)
        if known is not None and known.call.issued_at_ms >= entry.call.issued_at_ms:
            return
        self._calls[key] = entry
        self._prune()
        mine = [k for k in self._calls if k[0] == entry.sender]
        if len(mine) > self._per_sender:
            self._drop_first_closing(mine)
        elif len(self._calls) > self._max:
            self._drop_first_closing(list(self._calls))

    def withdraw(self, sender: str, job_id: bytes, round_: int | None = None) -> None:
        """Forget a job's calls (of one round, or all)."""
        self._calls = {
            k: c
            for k, c in self._calls.items()
            if not (k[0] == sender and k[1] == job_id and round_ in (None, k[2]))
        }

    def entries(self) -> list[OpenCall]:
        """The calls open now, the ones that close last first."""
        self._prune()
        return sorted(self._calls.values(), key=lambda c: -c.call.closes_at_ms)

    def _drop_first_closing(self, keys: list[tuple[str, bytes, int]]) -> None:
        del self._calls[min(keys, key=lambda k: self._calls[k].call.closes_at_ms)]

    def _prune(self) -> None:
        now = self._now_ms()
        self._calls = {k: c for k, c in self._calls.items() if c.call.closes_at_ms > now}

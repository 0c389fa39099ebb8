"""Selling n equal subtasks to lanes whose finish times grow, and each winner's critical values.

A lane offers positions 1, 2, 3, …: its next run after the ones before. A position's score is the
ask plus the time value of its finish; a lane's scores grow with the position, since the ask is the
same and the finish is later. The n lowest scores win, which is the least total score. A provider
wins its k-th subtask exactly as long as the score of its k-th best position is below the
(n-k+1)-th best of everyone else's, so that this is the k-th subtask's critical value (a multi-unit
Vickrey auction: W. Vickrey, 1961; critical values: R. Myerson, 1981).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import NamedTuple


class Position(NamedTuple):
    """A lane's `rank`-th run, from 1. Sorts by score; ties go to the earlier, then to the lane."""

    score: int
    finish_ms: int
    lane: int
    rank: int


@dataclass(frozen=True)
class Sold:
    """The winning positions, best first, and for each the rival score that it had to beat.

    A rival is None where nobody else could have taken the subtask.
    """

    winners: list[Position]
    rivals: list[int | None]


@dataclass(frozen=True)
class Market:
    """What positions are made of.

    first: each lane's first position. provider: each lane's provider. step_ms(lane, rank): how much
    later the lane's rank-th position ends than the one before. time_value: score a millisecond.
    latest_ms: no position ends after this.
    """

    first: Sequence[Position]
    provider: Sequence[int]
    step_ms: Callable[[int, int], int]
    time_value: int
    latest_ms: int


def sell(market: Market, count: int) -> Sold:
    """Give `count` equal subtasks to the best positions; fewer where there are not so many."""
    heap = list(market.first)
    heapify(heap)
    winners: list[Position] = []
    while heap and len(winners) < count:
        winners.append(_pop(heap, market, count))
    won = Counter(market.provider[position.lane] for position in winners)
    losers = _losers(heap, market, count, won)
    return Sold(winners, _rivals(winners, market, won, losers))


def _pop(heap: list[Position], market: Market, count: int) -> Position:
    """The best position; its lane's next one takes its place."""
    best = heappop(heap)
    rank = best.rank + 1
    # Nobody's (count+1)-th position can win, nor be the best that another had to beat.
    if rank <= count:
        step = market.step_ms(best.lane, rank)
        finish = best.finish_ms + step
        if finish <= market.latest_ms:
            score = best.score + step * market.time_value
            heappush(heap, Position(score, finish, best.lane, rank))
    return best


def _losers(
    heap: list[Position], market: Market, count: int, won: Counter[int]
) -> list[tuple[int, int]]:
    """The best losing (score, provider)s: for each winner as many of others' as it won."""
    losers: list[tuple[int, int]] = []
    own: Counter[int] = Counter()
    wanted = max(won.values(), default=0)
    while heap and len(losers) < wanted:
        position = _pop(heap, market, count)
        provider = market.provider[position.lane]
        losers.append((position.score, provider))
        if provider in won:
            own[provider] += 1
            wanted = max(wanted, won[provider] + own[provider])
    return losers


def _rivals(
    winners: list[Position], market: Market, won: Counter[int], losers: list[tuple[int, int]]
) -> list[int | None]:
    """A provider's k-th of m wins had to beat the (m-k+1)-th best loser of the others."""
    rivals: dict[int, list[int | None]] = {}
    for provider, wins in won.items():
        others = [score for score, loser in losers if loser != provider][:wins]
        rivals[provider] = [*others, *[None] * (wins - len(others))]
    return [rivals[market.provider[position.lane]].pop() for position in winners]

"""The sealed-bid batch auction: who runs which subtask, when, and at what price.

Subtasks that are alike and stand at one depth of the DAG are sold together, group after group. In
a group, a place in a provider's queue costs its ask plus the time value of the moment at which
that run would be delivered; the cheapest places win, and each is paid its critical value, at most
the reserve. docs/auction.md proves what follows from this, and says what does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple

import numpy as np

from reelmesh.scheduler.clearing import (
    CODE_OF,
    EXPLAIN,
    Assignment,
    Clearing,
    Loss,
    LossReason,
)
from reelmesh.scheduler.groups import Group, make_groups, parents_of
from reelmesh.scheduler.ids import NodeAddress, SubtaskId, Wei
from reelmesh.scheduler.lanes import COMPETES, FAR, MAX_TIME_MS, Codes, Ints, Lanes, Work
from reelmesh.scheduler.offers import ProviderOffer, StageOffer, ask_wei
from reelmesh.scheduler.plan import Subtask
from reelmesh.scheduler.positions import Market, Position, Sold, sell

__all__ = [
    "EXPLAIN",
    "Assignment",
    "Clearing",
    "Loss",
    "LossReason",
    "ProviderOffer",
    "StageOffer",
    "ask_wei",
    "clear",
]

_HOPE = (
    LossReason.LATE,
    LossReason.OVER_RESERVE,
    LossReason.NO_MEMORY,
    LossReason.NO_SLOT,
    LossReason.EXCLUDED,
)


def clear(
    subtasks: Sequence[Subtask],
    offers: Sequence[ProviderOffer],
    reserves: Mapping[SubtaskId, Wei],
    *,
    time_value_wei_per_s: int,
    deadline_s: float,
    exclude: Mapping[SubtaskId, AbstractSet[NodeAddress]] | None = None,
    held_by: Mapping[SubtaskId, NodeAddress] | None = None,
    ready_s: Mapping[SubtaskId, float] | None = None,
) -> Clearing:
    """Place subtasks with providers and set the prices.

    Args:
        subtasks: a plan's, or those of them that are open again, in topological order.
        offers: one a provider; their order does not matter.
        reserves: the most that is paid for each subtask, in wei.
        time_value_wei_per_s: what one second's earlier delivery of a subtask is worth, in wei;
            taken to the nearest 1000.
        deadline_s: seconds from now by which everything must be delivered.
        exclude: providers that must not have a subtask, as they failed it before.
        held_by: who still holds the output of a subtask that is done, and so need not fetch it.
        ready_s: seconds from now until the output of a subtask that is not up for sale is there;
            0 where absent.

    Returns:
        A `Clearing`; the same for the same arguments, whatever the order of the offers.

    Raises:
        ValueError: two offers of one provider, a subtask without a reserve, a negative time value.
    """
    if time_value_wei_per_s < 0:
        raise ValueError("the value of time cannot be negative")
    if missing := [task.id for task in subtasks if task.id not in reserves]:
        raise ValueError(f"no reserve for {missing[0]}")
    if not offers:
        return Clearing({}, {task.id: LossReason.NO_BIDS for task in subtasks}, (), {})
    deadline_ms = max(0, min(MAX_TIME_MS, int(deadline_s * 1000)))
    quantum = _quantum(reserves, time_value_wei_per_s, deadline_ms)
    lanes = Lanes(offers, quantum)
    index = {offer.provider: i for i, offer in enumerate(lanes.offers)}
    sale = _Sale(
        lanes=lanes,
        index=index,
        deadline_ms=deadline_ms,
        time_value=round(time_value_wei_per_s / 1000 / quantum),
        made={task.id: task for task in subtasks},
        ready_ms={task: int(at * 1000) for task, at in (ready_s or {}).items()},
        holder={task: index[who] for task, who in (held_by or {}).items() if who in index},
    )
    least = {task.id: _least_ms(lanes, task) for task in subtasks}
    for group in make_groups(subtasks, reserves, exclude or {}, least):
        sale.sell(group)
    bidders = tuple(offer.provider for offer in lanes.offers)
    return Clearing(sale.assignments, sale.unplaced, bidders, sale.reasons)


def _quantum(reserves: Mapping[SubtaskId, Wei], time_value: int, deadline_ms: int) -> int:
    """The least power of two of wei in which every score that can win fits 61 bits."""
    largest = max(reserves.values(), default=0) + time_value * deadline_ms // 1000
    return 1 << max(0, largest.bit_length() - 61)


def _work(lanes: Lanes, task: Subtask) -> Work:
    return lanes.work(task.offering, task.units, task.memory_mb, task.bytes_out)


def _least_ms(lanes: Lanes, task: Subtask) -> int:
    """The shortest run of a subtask on any lane that can do it; 0 where there is none."""
    return _work(lanes, task).least_ms


@dataclass(frozen=True)
class _Lot:
    """A group when its turn has come.

    ready_ms: when each member's inputs are all there. held: for each member, provider → bytes of
    its inputs that this one need not fetch. near: provider → those bytes, most first.
    """

    group: Group
    work: Work
    ready_ms: dict[SubtaskId, int]
    held: dict[SubtaskId, dict[int, int]]
    near: dict[int, list[int]]


class _Place(NamedTuple):
    """A won place, and what it pays."""

    position: Position
    price: Wei


_Placed = list[tuple[Subtask, _Place]]


@dataclass
class _Sale:
    """The state of one clearing, from group to group."""

    lanes: Lanes
    index: Mapping[NodeAddress, int]
    deadline_ms: int
    time_value: int
    made: Mapping[SubtaskId, Subtask]
    ready_ms: dict[SubtaskId, int]
    holder: dict[SubtaskId, int]
    assignments: dict[SubtaskId, Assignment] = field(default_factory=dict)
    unplaced: dict[SubtaskId, LossReason] = field(default_factory=dict)
    reasons: dict[SubtaskId, bytes] = field(default_factory=dict)

    def sell(self, group: Group) -> None:
        """Sell one group: places, prices, reasons; then the lanes are busy for that long."""
        lot = self._lot(group)
        finish = self._first_finish(lot)
        codes = self._codes(lot, finish)
        placed = self._match(lot, self._positions(lot, finish, codes))
        self._record(lot, codes, placed)
        self._run(lot, placed)

    def _lot(self, group: Group) -> _Lot:
        ready, held = {}, {}
        near: dict[int, list[int]] = {}
        for task in group.members:
            parents = parents_of(task)
            ready[task.id] = max((self.ready_ms.get(parent, 0) for parent in parents), default=0)
            held[task.id] = self._held(task, parents)
            for provider, local in held[task.id].items():
                near.setdefault(provider, []).append(local)
        for sizes in near.values():
            sizes.sort(reverse=True)
        return _Lot(group, _work(self.lanes, group.like), ready, held, near)

    def _held(self, task: Subtask, parents: Sequence[SubtaskId]) -> dict[int, int]:
        found: dict[int, int] = {}
        for parent in parents:
            provider = self.holder.get(parent)
            if provider is not None:
                made = self.made.get(parent)
                size = made.bytes_out if made else task.bytes_in // len(parents)
                found[provider] = found.get(provider, 0) + size
        return found

    def _first_finish(self, lot: _Lot) -> Ints:
        """When each lane would deliver its first run of this work, in ms."""
        lanes, size = self.lanes, lot.group.like.bytes_in
        fetch = lanes.ms_per_byte * size
        for provider, held in lot.near.items():
            rows = lanes.lanes_of(provider)
            fetch[rows] = lanes.ms_per_byte[rows] * max(0, size - held[0])
        finish = np.maximum(lanes.free_ms, min(lot.ready_ms.values())) + lot.work.run_ms
        finish += np.minimum(np.ceil(fetch), MAX_TIME_MS).astype(np.int64)
        if lot.work.load_ms:
            finish += lanes.cold(lot.group.like.offering) * lot.work.load_ms
        return finish

    def _codes(self, lot: _Lot, finish: Ints) -> Codes:
        """For each lane `COMPETES`, or why it does not."""
        codes = lot.work.blocked.copy()
        open_ = codes == COMPETES
        late = finish > self.deadline_ms - lot.group.tail_ms
        codes[open_ & late] = CODE_OF[LossReason.LATE]
        dear = lot.work.ask > lot.group.reserve // self.lanes.quantum
        codes[open_ & dear] = CODE_OF[LossReason.OVER_RESERVE]
        for provider in lot.group.exclude:
            if provider in self.index:
                codes[self.lanes.lanes_of(self.index[provider])] = CODE_OF[LossReason.EXCLUDED]
        return codes

    def _positions(self, lot: _Lot, finish: Ints, codes: Codes) -> Sold:
        lanes, size = self.lanes, lot.group.like.bytes_in
        provider_of = lanes.provider_of
        score = np.where(codes == COMPETES, lot.work.ask + finish * self.time_value, FAR)

        def step_ms(lane: int, rank: int) -> int:
            held = lot.near.get(provider_of[lane], ())
            local = held[rank - 1] if rank <= len(held) else 0
            fetch = ceil(float(lanes.ms_per_byte[lane]) * max(0, size - local))
            return int(lot.work.run_ms[lane]) + min(MAX_TIME_MS, fetch)

        # The n best lanes of others hold all of others' n best positions; a winner's own lanes
        # may stand among them, so as many more as a provider can have are looked at.
        most = len(lot.group.members) + lanes.most_slots
        cut = np.partition(score, most - 1)[most - 1] if most < len(score) else FAR
        first = [
            Position(int(score[lane]), int(finish[lane]), lane, 1)
            for lane in np.flatnonzero((score <= cut) & (score < FAR)).tolist()
        ]
        latest = self.deadline_ms - lot.group.tail_ms
        market = Market(first, provider_of, step_ms, self.time_value, latest)
        return sell(market, len(lot.group.members))

    def _match(self, lot: _Lot, sold: Sold) -> _Placed:
        """Which member goes to which winning place: first to where its inputs are.

        The members are alike, so this changes no price; it saves transfers.
        """
        places: dict[int, list[_Place]] = {}
        for position, rival in zip(sold.winners, sold.rivals, strict=True):
            provider = int(self.lanes.provider[position.lane])
            place = _Place(position, self._price(lot.group, position, rival))
            places.setdefault(provider, []).append(place)
        for queue in places.values():
            queue.sort(reverse=True)
        placed, rest = [], []
        for task in lot.group.members:
            held = lot.held[task.id]
            near = min(held, key=lambda who: (-held[who], who), default=-1)
            if places.get(near):
                placed.append((task, places[near].pop()))
            else:
                rest.append(task)
        left = sorted(
            (place for queue in places.values() for place in queue),
            key=lambda place: (place.position.finish_ms, place.position.lane),
        )
        placed.extend(zip(rest, left, strict=False))
        return placed

    def _price(self, group: Group, position: Position, rival: int | None) -> Wei:
        """The highest ask, in wei, with which this place would still have won."""
        if rival is None:
            return group.reserve
        critical = (rival - position.finish_ms * self.time_value) * self.lanes.quantum
        return Wei(min(group.reserve, critical))

    def _record(self, lot: _Lot, codes: Codes, placed: _Placed) -> None:
        """Reasons for everyone who did not win, and for subtasks that nobody won."""
        lanes = self.lanes
        firsts = codes[lanes.first]
        competes = np.maximum.reduceat(codes, lanes.first) == COMPETES
        took = [int(lanes.provider[place.position.lane]) for _, place in placed]
        asks = lot.work.ask[lanes.first]
        rows: dict[int, bytes] = {}
        for task, place in placed:
            ask = int(lot.work.ask[place.position.lane])
            if ask not in rows:
                row = firsts.copy()
                row[competes] = CODE_OF[LossReason.TOO_SLOW]
                row[competes & (asks > ask)] = CODE_OF[LossReason.OUTBID]
                row[took] = CODE_OF[LossReason.NO_SLOT]
                rows[ask] = row.tobytes()
            self.reasons[task.id] = rows[ask]
        if len(placed) < len(lot.group.members):
            firsts[competes] = CODE_OF[LossReason.LATE]
            for task in lot.group.members:
                if task.id not in self.reasons:
                    self.reasons[task.id] = firsts.tobytes()
                    self.unplaced[task.id] = _most_hopeful(firsts)
                    self.ready_ms[task.id] = lot.ready_ms[task.id]

    def _run(self, lot: _Lot, placed: _Placed) -> None:
        """Let the winners' lanes run what they won, in order, with the real inputs' times."""
        lanes, work, stage = self.lanes, lot.work, lot.group.like.offering
        cold = lanes.cold(stage) if work.load_ms else None
        for task, (position, price) in sorted(placed, key=lambda item: item[1].position.rank):
            lane = position.lane
            provider = int(lanes.provider[lane])
            start = max(int(lanes.free_ms[lane]), lot.ready_ms[task.id])
            remote = max(0, task.bytes_in - lot.held[task.id].get(provider, 0))
            took = int(work.run_ms[lane]) + ceil(float(lanes.ms_per_byte[lane]) * remote)
            if cold is not None and cold[lane]:
                took += work.load_ms
                cold[lane] = False
                lanes.warm(stage, provider)
            end = min(MAX_TIME_MS, start + took)
            lanes.free_ms[lane] = self.ready_ms[task.id] = end
            self.holder[task.id] = provider
            self.assignments[task.id] = Assignment(
                provider=lanes.offers[provider].provider,
                price=price,
                start_s=start / 1000,
                finish_s=end / 1000,
            )


def _most_hopeful(row: Codes) -> LossReason:
    """Of all bidders' reasons the one that is closest to a win."""
    found = set(row.tolist())
    for reason in _HOPE:
        if CODE_OF[reason] in found:
            return reason
    if CODE_OF[LossReason.MODEL_NOT_OFFERED] in found:
        return LossReason.MODEL_NOT_OFFERED
    return LossReason.STAGE_NOT_OFFERED

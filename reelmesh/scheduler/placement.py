"""Placement by heterogeneous earliest finish time, with memory, residency and transfers.

After H. Topcuoglu, S. Hariri, M.-Y. Wu, "Performance-effective and low-complexity task scheduling
for heterogeneous computing", IEEE TPDS 13(3), 2002; without insertion into earlier gaps. Subtasks
are taken by upward rank, and each goes to the lane on which it is delivered first. Prices play no
part: this bounds how fast a job can be, and is what the auction's plan is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reelmesh.scheduler.groups import parents_of
from reelmesh.scheduler.ids import NodeAddress, SubtaskId
from reelmesh.scheduler.lanes import COMPETES, Bools, Ints, Lanes, Reals, model_of
from reelmesh.scheduler.offers import ProviderOffer
from reelmesh.scheduler.plan import Subtask

_NEVER = np.inf


@dataclass(frozen=True)
class Problem:
    """n subtasks on m lanes of p providers; seconds and bytes.

    Attributes:
        run_s: n x m float64; infinite where the lane cannot run it (stage, memory, slots).
        load_s: n float64, spent where the subtask's model is not loaded.
        model: n int64, which row of `resident` says where it is loaded.
        resident: k x m bool at the start.
        parents: for each subtask the rows of those before it.
        bytes_in, bytes_out: n float64; every output goes by way of the coordinator.
        s_per_byte, free_s: m float64: each lane's line, and when it is first free.
        provider: m int64; lanes of one provider share models and files.
    """

    ids: tuple[SubtaskId, ...]
    providers: tuple[NodeAddress, ...]
    run_s: Reals
    load_s: Reals
    model: Ints
    resident: Bools
    parents: tuple[tuple[int, ...], ...]
    bytes_in: Reals
    bytes_out: Reals
    s_per_byte: Reals
    free_s: Reals
    provider: Ints


@dataclass(frozen=True)
class Placement:
    """For each subtask its lane (-1: none can run it), and its planned seconds."""

    lane: Ints
    start_s: Reals
    finish_s: Reals

    @property
    def makespan_s(self) -> float:
        """When the last subtask is delivered; infinite where one cannot be placed."""
        return float(self.finish_s.max(initial=0.0))


def problem(subtasks: Sequence[Subtask], offers: Sequence[ProviderOffer]) -> Problem:
    """Arrays from a plan's subtasks, in topological order, and the bids on them."""
    lanes = Lanes(offers, 1)
    row = {task.id: i for i, task in enumerate(subtasks)}
    works = [lanes.work(t.offering, t.units, t.memory_mb, t.bytes_out) for t in subtasks]
    stages = {task.offering: i for i, task in enumerate({t.offering: t for t in subtasks}.values())}
    models = {stage: model_of(stage) for stage in stages}
    kept = {model: i for i, model in enumerate(dict.fromkeys(models.values()))}
    resident = np.zeros((len(kept), len(lanes)), dtype=np.bool_)
    for stage, model in models.items():
        resident[kept[model]] = ~lanes.cold(stage)
    # A work's lines are shared by all subtasks that are alike.
    run = {
        id(work): np.where(work.blocked == COMPETES, work.run_ms / 1000, _NEVER) for work in works
    }
    return Problem(
        ids=tuple(row),
        providers=tuple(offer.provider for offer in lanes.offers),
        run_s=np.stack([run[id(work)] for work in works]) if works else np.zeros((0, len(lanes))),
        load_s=np.array([work.load_ms / 1000 for work in works]),
        model=np.array([kept[models[task.offering]] for task in subtasks], dtype=np.int64),
        resident=resident,
        parents=tuple(tuple(row[p] for p in parents_of(t) if p in row) for t in subtasks),
        bytes_in=np.array([float(task.bytes_in) for task in subtasks]),
        bytes_out=np.array([float(task.bytes_out) for task in subtasks]),
        s_per_byte=lanes.ms_per_byte / 1000,
        free_s=lanes.free_ms / 1000,
        provider=lanes.provider,
    )


def upward_rank(given: Problem) -> Reals:
    """n float64: seconds from the start of a subtask to the end of the job, on average lanes."""
    able = np.isfinite(given.run_s)
    mean = np.where(able, given.run_s, 0.0).sum(axis=1) / np.maximum(1, able.sum(axis=1))
    fetch = given.bytes_in * (given.s_per_byte.mean() if len(given.s_per_byte) else 0.0)
    rank: Reals = mean + fetch
    for task in range(len(rank) - 1, -1, -1):
        for parent in given.parents[task]:
            rank[parent] = max(rank[parent], mean[parent] + fetch[parent] + rank[task])
    return rank


def place(given: Problem) -> Placement:
    """Place every subtask that some lane can run. Deterministic: ties go to the first lane."""
    count = len(given.ids)
    lane_of = np.full(count, -1, dtype=np.int64)
    start, finish = np.zeros(count), np.full(count, _NEVER)
    free, resident = given.free_s.copy(), given.resident.copy()
    for task in _order(given):
        parents = given.parents[task]
        ready = max((finish[parent] for parent in parents if lane_of[parent] >= 0), default=0.0)
        begin = np.maximum(free, ready)
        end = begin + given.run_s[task] + given.s_per_byte * given.bytes_in[task]
        for parent in parents:
            if lane_of[parent] >= 0:
                near = given.provider == given.provider[lane_of[parent]]
                end[near] -= given.s_per_byte[near] * given.bytes_out[parent]
        if given.load_s[task]:
            end += np.where(resident[given.model[task]], 0.0, given.load_s[task])
        best = int(end.argmin())
        if end[best] == _NEVER:
            continue
        lane_of[task], start[task], finish[task] = best, begin[best], end[best]
        free[best] = end[best]
        resident[given.model[task]] |= given.provider == given.provider[best]
    return Placement(lane_of, start, finish)


def _order(given: Problem) -> list[int]:
    """Highest rank first; a parent's rank is above its children's, so it comes before them."""
    return [int(task) for task in np.argsort(-upward_rank(given), kind="stable")]

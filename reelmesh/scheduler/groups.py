"""Subtasks that are alike, and so are sold together; in the order in which groups are sold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from reelmesh.scheduler.ids import NodeAddress, SubtaskId, Wei
from reelmesh.scheduler.plan import Subtask

_NOBODY: frozenset[NodeAddress] = frozenset()


@dataclass(frozen=True)
class Group:
    """Subtasks at one depth of the DAG that are the same work at the same reserve.

    tail_ms: the least time from the end of one of them to the end of the job.
    """

    level: int
    members: tuple[Subtask, ...]
    reserve: Wei
    exclude: frozenset[NodeAddress]
    tail_ms: int

    @property
    def like(self) -> Subtask:
        """Any member: they differ in name, parameters and inputs alone."""
        return self.members[0]


def parents_of(subtask: Subtask) -> tuple[SubtaskId, ...]:
    """Each subtask that this one takes something from, once."""
    return tuple(dict.fromkeys(ref.subtask for ref in subtask.inputs))


def levels(subtasks: Sequence[Subtask]) -> dict[SubtaskId, int]:
    """Depth of each subtask in the DAG of those given, which stand in topological order."""
    depth: dict[SubtaskId, int] = {}
    for subtask in subtasks:
        depth[subtask.id] = 1 + max((depth.get(p, -1) for p in parents_of(subtask)), default=-1)
    return depth


def tails(subtasks: Sequence[Subtask], least_ms: Mapping[SubtaskId, int]) -> dict[SubtaskId, int]:
    """For each subtask the longest path of least times that comes after it, in ms."""
    tail = dict.fromkeys((subtask.id for subtask in subtasks), 0)
    for subtask in reversed(subtasks):
        path = tail[subtask.id] + least_ms[subtask.id]
        for parent in parents_of(subtask):
            if parent in tail:
                tail[parent] = max(tail[parent], path)
    return tail


def make_groups(
    subtasks: Sequence[Subtask],
    reserves: Mapping[SubtaskId, Wei],
    exclude: Mapping[SubtaskId, AbstractSet[NodeAddress]],
    least_ms: Mapping[SubtaskId, int],
) -> list[Group]:
    """Groups in the order of sale: by depth, then the longest way to go first.

    Neither the grouping nor the order depends on any price, which is what makes payments exact.
    """
    depth, tail = levels(subtasks), tails(subtasks, least_ms)
    found: dict[tuple[object, ...], list[Subtask]] = {}
    for task in subtasks:
        out = frozenset(exclude.get(task.id, _NOBODY))
        key = (
            *(depth[task.id], reserves[task.id], out, tail[task.id], task.offering),
            *(task.stage_version, task.units, task.memory_mb, task.bytes_in, task.bytes_out),
        )
        found.setdefault(key, []).append(task)
    groups = [
        Group(
            level=depth[members[0].id],
            members=tuple(members),
            reserve=reserves[members[0].id],
            exclude=frozenset(exclude.get(members[0].id, _NOBODY)),
            tail_ms=tail[members[0].id],
        )
        for members in found.values()
    ]
    # Stable: groups that tie stay in the plan's order.
    return sorted(groups, key=lambda group: (group.level, -group.tail_ms))

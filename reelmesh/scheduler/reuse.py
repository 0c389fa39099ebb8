"""Paying once for work that was done before: a plan without the subtasks whose results are kept.

A subtask's *work key* names everything that decides its result. Two subtasks of one key are the
same work, in whatever jobs they stand, so that the result of one will do for the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reelmesh.scheduler.canonical import canonical, digest
from reelmesh.scheduler.ids import SubtaskId
from reelmesh.scheduler.plan import Plan, SourceRef, Subtask
from reelmesh.scheduler.sources import Given

_DECIDES_NOTHING = frozenset(
    {"id", "inputs", "sources", "units", "memory_mb", "bytes_in", "bytes_out"}
)
"""Fields of a subtask that follow from the others or only name it."""

Kept = Mapping[SubtaskId, Given]
"""Subtask → the result of the same work, done earlier."""


@dataclass(frozen=True)
class Pruned:
    """What is left of a plan.

    Attributes:
        plan: What has to be done; None where even the last subtask's result is kept.
        reused: The subtasks whose kept results are taken in, in the plan's order. Further ones,
            which only these needed, are simply left out.
    """

    plan: Plan | None
    reused: tuple[SubtaskId, ...]


def work_keys(plan: Plan) -> dict[SubtaskId, str]:
    """Each subtask's work key, 64 hex digits: over stage, version, parameters, and what goes in.

    An input that a subtask makes counts as that subtask's own key, so that a key can be told before
    anything is run; one that is there already counts as its hash.
    """
    keys: dict[SubtaskId, str] = {}
    for subtask in plan.subtasks:
        inputs = {ref.name: f"{keys[ref.subtask]}/{ref.output}" for ref in subtask.inputs}
        inputs |= {source.name: str(source.sha256) for source in subtask.sources}
        written = subtask.model_dump(mode="json")
        work = {name: value for name, value in written.items() if name not in _DECIDES_NOTHING}
        keys[subtask.id] = digest(canonical({**work, "inputs": inputs}))
    return keys


def prune(plan: Plan, kept: Kept) -> Pruned:
    """The plan without what `kept` already answers, and without what only that was needed for.

    A kept result is ignored where nothing needs it. Raises ValueError where one is not of the kind
    that its consumer takes.
    """
    final = plan.final().id
    if final in kept:
        return Pruned(None, (final,))
    needed = {final}
    for subtask in reversed(plan.subtasks):
        if subtask.id in needed and subtask.id not in kept:
            needed.update(ref.subtask for ref in subtask.inputs)
    left = [
        _with_kept(subtask, plan, kept)
        for subtask in plan.subtasks
        if subtask.id in needed and subtask.id not in kept
    ]
    reused = tuple(s.id for s in plan.subtasks if s.id in needed and s.id in kept)
    return Pruned(Plan(spec_hash=plan.spec_hash, subtasks=tuple(left)), reused)


def _with_kept(subtask: Subtask, plan: Plan, kept: Kept) -> Subtask:
    """The subtask with its kept inputs as sources; itself where it has none."""
    taken = [ref for ref in subtask.inputs if ref.subtask in kept]
    if not taken:
        return subtask
    made = tuple(ref for ref in subtask.inputs if ref.subtask not in kept)
    sources = subtask.sources + tuple(
        SourceRef(name=ref.name, **kept[ref.subtask].model_dump()) for ref in taken
    )
    bytes_in = sum(plan[parent].bytes_out for parent in {ref.subtask for ref in made})
    return subtask.model_copy(
        update={
            "inputs": made,
            "sources": sources,
            "bytes_in": bytes_in + sum(source.size for source in sources),
        }
    )

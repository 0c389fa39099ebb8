"""Paying once for work that was done before: a plan without the subtasks whose results are kept.

A subtask's *work key* names everything that decides its result. Two subtasks of one key are the
same work, in whatever jobs they stand, so that the result of one will do for the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

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


@dataclass(frozen=True)
class Clip:
    """Where a text→video plan's prompt becomes a picture: all that follows rests on one latent.

    Attributes:
        text, latent: The subtask that reads the prompt, and the one that finishes the latent.
        prompt: As the model reads it, without the lines that are said.
        seed: Of the noise that the latent begins with.
    """

    text: SubtaskId
    latent: SubtaskId
    prompt: str
    seed: int


def clip_of(plan: Plan) -> Clip | None:
    """A template's clip; None where nothing is denoised from a prompt alone."""
    made = [subtask for subtask in plan.subtasks if subtask.stage == "skeleton"]
    if not made or not made[-1].inputs:
        return None
    last = made[-1]
    (text,) = (plan[ref.subtask] for ref in last.inputs if ref.name == "features")
    return Clip(text.id, last.id, str(text.params["prompt"]), int(str(last.params["seed"])))


def latent_key(plan: Plan, clip: Clip, prompt: str, seed: int | None = None) -> str:
    """The work key that the finished latent would have, had the prompt been another.

    seed: another one, too; else the plan's.
    """
    first: list[Subtask] = []
    for subtask in plan.subtasks:
        other: dict[str, object] = {"prompt": prompt} if subtask.id == clip.text else {}
        if subtask.stage == "skeleton" and seed is not None:
            other["seed"] = seed
        first.append(subtask.model_copy(update={"params": {**subtask.params, **other}}))
        if subtask.id == clip.latent:
            break
    return _keys(first)[clip.latent]


def loop_key(plan: Plan, clip: Clip) -> str:
    """What decides the finished latent beside prompt and seed: steps, guidance, the stage."""
    return latent_key(plan, clip, "", 0)


def work_keys(plan: Plan, like: str | None = None) -> dict[SubtaskId, str]:
    """Each subtask's work key, 64 hex digits: over stage, version, parameters, and what goes in.

    An input that a subtask makes counts as that subtask's own key, so that a key can be told before
    anything is run; one that is there already counts as its hash.

    like: a prompt whose finished latent takes the place of this plan's. What follows from the
        latent then is the work that it would be in a job with that prompt.
    """
    clip = clip_of(plan) if like is not None else None
    if clip is None or like is None:
        return _keys(plan.subtasks)
    return _keys(plan.subtasks, {clip.latent: latent_key(plan, clip, like)})


def makes_clip(plan: Plan | None) -> bool:
    """Whether what is left of a plan still makes a latent of its own."""
    return plan is not None and any(subtask.stage == "skeleton" for subtask in plan.subtasks)


def _keys(
    subtasks: Iterable[Subtask], instead: Mapping[SubtaskId, str] = MappingProxyType({})
) -> dict[SubtaskId, str]:
    keys: dict[SubtaskId, str] = {}
    for subtask in subtasks:
        if subtask.id in instead:
            keys[subtask.id] = instead[subtask.id]
            continue
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

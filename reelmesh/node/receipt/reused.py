"""What was taken in from earlier jobs: whose work it was, and that the plan left out just that."""

from __future__ import annotations

from collections.abc import Iterator

from reelmesh.contracts.eip712 import Domain
from reelmesh.node.coordinator.records import Reused
from reelmesh.node.coordinator.reusing import signed_by_its_provider
from reelmesh.node.receipt.model import Receipt, ReusedWork
from reelmesh.node.receipt.report import Check, holds, same
from reelmesh.node.stages.tiny_t2v.likeness import WITHIN, ask_for_the_same
from reelmesh.scheduler.ids import SubtaskId
from reelmesh.scheduler.plan import Plan, parse_plan
from reelmesh.scheduler.reuse import clip_of, makes_clip, prune, work_keys
from reelmesh.scheduler.sources import Given


def left_of(template: Plan, receipt: Receipt) -> Plan:
    """The template's plan less what the receipt calls reused; as it is where nothing is left."""
    return prune(template, _kept(receipt)).plan or template


def check(receipt: Receipt, domain: Domain, template: Plan | None) -> Iterator[Check]:
    """Each reused result's attestation; with the spec's template also its key and place.

    `domain`: of this market, on which the earlier jobs were too.
    """
    if template is not None and receipt.reused:
        yield same(
            "reused.subtasks",
            [one.subtask for one in receipt.reused],
            list(prune(template, _kept(receipt)).reused),
            "each is one that the plan takes in",
        )
    others = {one.similar.prompt for one in receipt.reused if one.similar is not None}
    like = min(others, default=None)
    if others:
        yield from _check_similar(receipt, template, others)
    for one in receipt.reused:
        name = f"reused.{one.subtask[:50]}"
        if template is not None:
            own = work_keys(template)[SubtaskId(one.subtask)]
            key = work_keys(template, like)[SubtaskId(one.subtask)]
            what = "of this very work" if key == own else "of this work with the similar prompt"
            yield same(f"{name}.key", one.key, key, f"kept under the key {what}")
            if others:
                yield same(
                    f"{name}.similar",
                    one.similar is not None,
                    key != own,
                    "it says truly whether it was made for this prompt",
                )
        yield holds(
            f"{name}.attested",
            signed_by_its_provider(domain, Reused.model_validate(one.model_dump())),
            f"made in job {one.job_id}, and attested there by {one.provider}",
            "its provider did not attest to have made this",
        )


def _check_similar(receipt: Receipt, template: Plan | None, prompts: set[str]) -> Iterator[Check]:
    """One clip of another prompt, near enough, and nothing beside it of this prompt's own."""
    distances = {one.similar.distance for one in receipt.reused if one.similar is not None}
    yield holds(
        "reused.similar",
        len(prompts) == 1 and len(distances) == 1 and max(distances) <= WITHIN,
        f"taken from one similar prompt, at a distance of at most {WITHIN}",
        "what was taken is not of one prompt, or of one that is too far from this job's",
    )
    if template is None:
        return
    clip = clip_of(template)
    yield holds(
        "reused.similar.clip",
        clip is not None and not makes_clip(parse_plan(receipt.plan)),
        "all that shows a picture rests on that one clip",
        "beside the other prompt's clip, one of this job's own was made",
    )
    if clip is not None:
        reads = all(ask_for_the_same(clip.prompt, prompt) for prompt in prompts)
        yield Check(
            "reused.similar.words",
            True if reads else None,
            "both prompts, read word by word, ask for the same"
            if reads
            else "not checked: this release reads the two prompts otherwise",
        )


def _kept(receipt: Receipt) -> dict[SubtaskId, Given]:
    return {SubtaskId(one.subtask): _given(one) for one in receipt.reused}


def _given(one: ReusedWork) -> Given:
    (output,) = one.outputs.values()
    return Given.model_validate(output.model_dump())

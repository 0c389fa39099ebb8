"""The first layer of a job alone: what decides the content, and an MP4 that shows it.

It is the same work as in the whole job, subtask for subtask, so that whoever goes on after having
seen it pays for the rest only.
"""

from __future__ import annotations

from reelmesh.scheduler.plan import Plan, Subtask, build_subtask
from reelmesh.scheduler.spec import InvalidSpec, JobSpec
from reelmesh.scheduler.stages.preview import PreviewParams, preview_params

_SHOWS_CONTENT = ("anchor", "decode")
"""Stages whose frames are the small clip, if they span the whole video; the first shows best."""


def small_clip(plan: Plan) -> Subtask | None:
    """The subtask whose frames show what the video will be; None where a plan has none such."""
    for stage in _SHOWS_CONTENT:
        found = [subtask for subtask in plan.subtasks if subtask.stage == stage]
        whole = [subtask for subtask in found if stage == "anchor" and _spans_all(subtask)]
        if whole or len(found) == 1:
            return (whole or found)[0]
    return None


def _spans_all(subtask: Subtask) -> bool:
    start, stop, total = (subtask.params.get(name) for name in ("start", "stop", "total"))
    return start == 0 and stop == total


def shown_as(spec: JobSpec) -> PreviewParams:
    """How a spec's small clip is shown."""
    return preview_params(spec.seconds, spec.width, spec.height)


def first_layer(spec: JobSpec, whole: Plan) -> Plan:
    """What of a whole job's plan makes the small clip, and its preview. Raises InvalidSpec."""
    clip = small_clip(whole)
    if clip is None:
        raise InvalidSpec("This job has no small clip that could be shown first", "post it whole")
    needed = {clip.id}
    for subtask in reversed(whole.subtasks):
        if subtask.id in needed:
            needed.update(ref.subtask for ref in subtask.inputs)
    params = shown_as(spec).model_dump(mode="json")
    shown = build_subtask("preview", "preview", params, {"frames": clip})
    made = (subtask for subtask in whole.subtasks if subtask.id in needed)
    return Plan(spec_hash=spec.spec_hash(), subtasks=(*made, shown))

"""Rendering one part of a video anew: the plan of the video, with a second way to that part.

Everything up to the finished latent stays, and so does every segment outside the part: it is the
same work as in the job that is repaired, and costs nothing where that is kept. A `repair` subtask
makes another latent, and what follows from the latent is done again for the segments in the part:

… → skeleton-1 ─┬→ decode → interpolate → upscale-i → encode_video-i ──────────────┐ (outside)
                └→ repair → decode_again → … → upscale_again-j → encode_video_again-j ┴→ assemble_again
"""  # noqa: E501 (a picture)

from __future__ import annotations

from dataclasses import dataclass

from reelmesh.scheduler.ids import SubtaskId
from reelmesh.scheduler.plan import InputRef, Plan, Subtask, build_subtask
from reelmesh.scheduler.spec import InvalidSpec, Repair, TextToVideo
from reelmesh.scheduler.stages.decode import SKELETON_FRAMES
from reelmesh.scheduler.stages.repair import CHUNK_FRAMES, CHUNKS


@dataclass(frozen=True)
class Part:
    """Chunks [first, end) of the latent, and frames [start, stop) of the video that they decide."""

    first: int
    end: int
    start: int
    stop: int


def part_of(repair: Repair, frames: int, fps: int) -> Part:
    """The chunks that show any of the asked span, and all frames that change with them."""
    scale = (SKELETON_FRAMES - 1) / (frames - 1)  # the small clip's frames to one of the video
    first_asked = min(frames - 1, int(repair.start * fps))
    last_asked = min(frames - 1, max(first_asked, round(repair.stop * fps) - 1))
    first = min(CHUNKS - 1, int((first_asked * scale + 0.5) // CHUNK_FRAMES))
    end = min(CHUNKS, int((last_asked * scale + 0.5) // CHUNK_FRAMES) + 1)
    # a frame of the video is made of the two of the small clip between which it lies
    before, after = CHUNK_FRAMES * first - 1, CHUNK_FRAMES * end
    changed = [i for i in range(frames) if before < i * scale < after]
    return Part(first, end, changed[0], changed[-1] + 1)


def plan(spec: TextToVideo, whole: Plan) -> Plan:
    """The plan of `spec`, which asks for a repair of the job whose plan is `whole`.

    Raises InvalidSpec where the job is not of the built-in model.
    """
    assert spec.repair is not None
    part = part_of(spec.repair, spec.frames, spec.fps)
    denoised = [subtask for subtask in whole.subtasks if subtask.stage == "skeleton"]
    if not denoised:
        raise InvalidSpec("Only what the built-in model made can be repaired", "post it again")
    made = denoised[-1]
    new = _new_latent(spec, spec.repair, part, whole, made)
    outside = _segments_outside(whole, part)
    now: dict[SubtaskId, Subtask] = {made.id: new[-1]}
    for subtask in whole.subtasks:
        if subtask.id not in outside and any(ref.subtask in now for ref in subtask.inputs):
            now[subtask.id] = _again(subtask, now)
    again = [subtask for subtask in now.values() if subtask is not new[-1]]
    return _needed(spec, [*whole.subtasks, *new, *again])


def _new_latent(
    spec: TextToVideo, repair: Repair, part: Part, whole: Plan, made: Subtask
) -> list[Subtask]:
    (text,) = (whole[ref.subtask] for ref in made.inputs if ref.name == "features")
    extra = []
    if repair.prompt is not None:
        prompt = {"prompt": repair.prompt}
        text = build_subtask("encode_text_again", "encode_text", prompt, {})
        extra = [text]
    params = {
        "seed": repair.seed,
        "steps": made.params["steps"],
        "guidance": spec.guidance,
        "first": part.first,
        "end": part.end,
    }
    given = {"features": text, "latent": made}
    return [*extra, build_subtask("repair", "repair", params, given)]


def _segments_outside(whole: Plan, part: Part) -> set[SubtaskId]:
    """The subtasks of segments in which no frame changes."""
    outside: set[SubtaskId] = set()
    at = 0
    join = next(subtask for subtask in whole.subtasks if subtask.stage == "assemble")
    for ref in join.inputs:
        count = int(str(whole[ref.subtask].params["frames"]))
        if at + count <= part.start or at >= part.stop:
            outside.add(ref.subtask)
        at += count
    return outside


def _again(subtask: Subtask, now: dict[SubtaskId, Subtask]) -> Subtask:
    """The same stage with the same parameters, on what is made anew."""
    stem, dash, number = subtask.id.partition("-")
    inputs = tuple(
        InputRef(name=ref.name, subtask=now[ref.subtask].id, output=ref.output)
        if ref.subtask in now
        else ref
        for ref in subtask.inputs
    )
    return subtask.model_copy(
        update={"id": SubtaskId(f"{stem}_again{dash}{number}"), "inputs": inputs}
    )


def _needed(spec: TextToVideo, subtasks: list[Subtask]) -> Plan:
    """A plan of those that the last one needs."""
    needed = {subtasks[-1].id}
    for subtask in reversed(subtasks):
        if subtask.id in needed:
            needed.update(ref.subtask for ref in subtask.inputs)
    left = tuple(subtask for subtask in subtasks if subtask.id in needed)
    return Plan(spec_hash=spec.spec_hash(), subtasks=left)

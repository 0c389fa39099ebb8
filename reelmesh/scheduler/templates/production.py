"""A clip by a production model, then the timeline in parallel windows.

encode_prompt → denoise-0 → denoise-1 → decode_latent ─┬→ interpolate-0 → encode_video-0 ─┐
                                                       └→ interpolate-1 → encode_video-1 ─┴→ assemble

A picture is encoded beside the prompt, and both denoise ranges take what it gives.
The model makes the video's size itself, at its own frame rate; `interpolate` makes the buyer's.
"""  # noqa: E501 (a picture)

from __future__ import annotations

from itertools import pairwise

from reelmesh.scheduler.models import MODELS
from reelmesh.scheduler.plan import Plan, Subtask, build_subtask
from reelmesh.scheduler.spec import GeneratedSpec, ImageToVideo
from reelmesh.scheduler.templates.cutting import CHUNK_FRAMES, cuts
from reelmesh.scheduler.templates.text_to_video import CRF, join

WINDOW_FRAMES = 4 * CHUNK_FRAMES
"""Two seconds at 24 frames a second."""


def plan(spec: GeneratedSpec) -> Plan:
    """Cut a spec that names a production model into subtasks."""
    chain = _clip(spec)
    windows: list[Subtask] = []
    encoded: list[Subtask] = []
    size = {"width": spec.width, "height": spec.height}
    for i, (start, stop) in enumerate(pairwise(cuts(spec.frames, WINDOW_FRAMES))):
        part = {"start": start, "stop": stop, "total": spec.frames}
        side = {"side": max(spec.width, spec.height)}
        window = build_subtask(
            f"interpolate-{i}", "interpolate", {**part, **side}, {"frames": chain[-1]}
        )
        windows.append(window)
        encode = {**size, "fps": spec.fps, "crf": CRF, "frames": stop - start}
        encoded.append(
            build_subtask(f"encode_video-{i}", "encode_video", encode, {"frames": window})
        )
    video = join(spec, encoded)
    return Plan(spec_hash=spec.spec_hash(), subtasks=(*chain, *windows, *encoded, video))


def _clip(spec: GeneratedSpec) -> list[Subtask]:
    known = MODELS[spec.model]
    model = {"model": spec.model}
    negative = known.negative if spec.guidance > 1 else ""
    texts = {**model, "prompt": spec.prompt, "negative": negative}
    text = build_subtask("encode_prompt", "encode_prompt", texts, {})
    frames = known.frames_for(spec.seconds)
    clip = {**model, "width": spec.width, "height": spec.height, "frames": frames}
    numbers = {"seed": spec.seed, "steps": spec.steps, "guidance": spec.guidance}
    loop = {**clip, **numbers, "cache": spec.step_cache}
    given = {"features": text}
    before = [text]
    if isinstance(spec, ImageToVideo):
        name = "encode_first_frame"
        given["condition"] = build_subtask(name, name, clip, {}, {"image": spec.image})
        before.append(given["condition"])
    half = spec.steps // 2
    first = build_subtask("denoise-0", "denoise", {**loop, "start": 0, "stop": half}, given)
    rest = {**loop, "start": half, "stop": spec.steps}
    second = build_subtask("denoise-1", "denoise", rest, {**given, "latent": first})
    decoded = build_subtask("decode_latent", "decode_latent", clip, {"latent": second})
    return [*before, first, second, decoded]

"""A clip by a production model, then the timeline in parallel windows.

encode_prompt → denoise-0 → denoise-1 → decode_latent ─┬→ interpolate-0 → encode_video-0 ─┐
                                                       └→ interpolate-1 → encode_video-1 ─┴→ assemble

A picture is encoded beside the prompt, and both denoise ranges take what it gives.
The model makes the video's size itself, at its own frame rate; `interpolate` makes the buyer's.

A model that doubles its clip makes it at half the size, and one that makes sound makes it with it:

denoise-1 → upsample_latent → refine_latent ─┬→ decode_latent → …the same → assemble ─┬→ mux
                                             └→ decode_audio ─────────────────────────┘

One that makes none may have it made by another, for its frames: see `sound`.
"""  # noqa: E501 (a picture)

from __future__ import annotations

from itertools import pairwise
from typing import Any

from reelmesh.scheduler.models import MODELS
from reelmesh.scheduler.plan import Plan, Subtask, build_subtask
from reelmesh.scheduler.spec import GeneratedSpec, ImageToVideo
from reelmesh.scheduler.templates.cutting import CHUNK_FRAMES, cuts
from reelmesh.scheduler.templates.sound import Clip, shown_prompt, soundtrack
from reelmesh.scheduler.templates.text_to_video import CRF, join

WINDOW_FRAMES = 4 * CHUNK_FRAMES
"""Two seconds at 24 frames a second."""


def plan(spec: GeneratedSpec) -> Plan:
    """Cut a spec that names a production model into subtasks."""
    doubled = MODELS[spec.model].doubles
    chain = _doubled_clip(spec) if doubled else _clip(spec)
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
    subtasks = (*chain, *windows, *encoded, video, *_sound(spec, chain, video))
    return Plan(spec_hash=spec.spec_hash(), subtasks=subtasks)


def _clip(spec: GeneratedSpec) -> list[Subtask]:
    text, clip = _text(spec), _size(spec)
    given = {"features": text}
    before = [text]
    if isinstance(spec, ImageToVideo):
        name = "encode_first_frame"
        given["condition"] = build_subtask(name, name, clip, {}, {"image": spec.image})
        before.append(given["condition"])
    first, second = _loop(spec, clip, given)
    decoded = build_subtask("decode_latent", "decode_latent", clip, {"latent": second})
    return [*before, first, second, decoded]


def _doubled_clip(spec: GeneratedSpec) -> list[Subtask]:
    """Made at half the size, doubled as a latent, and refined at the whole size."""
    text, whole = _text(spec), _size(spec)
    small = {**whole, "width": spec.width // 2, "height": spec.height // 2}
    first, second = _loop(spec, small, {"features": text})
    name = "upsample_latent"
    large = build_subtask(name, name, small, {"latent": second})
    name = "refine_latent"
    given = {"features": text, "latent": large}
    refined = build_subtask(name, name, {**whole, "seed": spec.seed}, given)
    # Its last frames may lie beyond the end, since it makes so many at once and no others.
    keep = {"keep": round(spec.seconds * MODELS[spec.model].fps)}
    name = "decode_latent"
    decoded = build_subtask(name, name, {**whole, **keep}, {"latent": refined})
    return [text, first, second, large, refined, decoded]


def _sound(spec: GeneratedSpec, chain: list[Subtask], video: Subtask) -> list[Subtask]:
    """What puts the clip's own sound to the video, or another model's; nothing where none is asked
    for.
    """
    if not spec.audio:
        return []
    if not MODELS[spec.model].audio_rate:
        frames = MODELS[spec.model].frames_for(spec.seconds)
        return soundtrack(spec, Clip(chain[-1], frames, (spec.width, spec.height)), video)
    name, seconds = "decode_audio", spec.frames / spec.fps
    latent = next(one for one in chain if one.id == "refine_latent")
    sound = build_subtask(name, name, {**_size(spec), "seconds": seconds}, {"latent": latent})
    params = {"fps": spec.fps, "frames": spec.frames, "video_bytes": video.bytes_out}
    return [sound, build_subtask("mux", "mux", params, {"video": video, "sound": sound})]


def _text(spec: GeneratedSpec) -> Subtask:
    negative = MODELS[spec.model].negative if spec.guidance > 1 else ""
    prompt = spec.prompt if MODELS[spec.model].audio_rate else shown_prompt(spec)
    texts = {"model": spec.model, "prompt": prompt, "negative": negative}
    return build_subtask("encode_prompt", "encode_prompt", texts, {})


def _size(spec: GeneratedSpec) -> dict[str, Any]:
    frames = MODELS[spec.model].frames_for(spec.seconds)
    return {"model": spec.model, "width": spec.width, "height": spec.height, "frames": frames}


def _loop(
    spec: GeneratedSpec, clip: dict[str, Any], given: dict[str, Subtask]
) -> tuple[Subtask, Subtask]:
    """Both halves of the denoise loop."""
    numbers = {"seed": spec.seed, "steps": spec.steps, "guidance": spec.guidance}
    loop = {**clip, **numbers, "cache": spec.step_cache}
    half = spec.steps // 2
    first = build_subtask("denoise-0", "denoise", {**loop, "start": 0, "stop": half}, given)
    rest = {**loop, "start": half, "stop": spec.steps}
    second = build_subtask("denoise-1", "denoise", rest, {**given, "latent": first})
    return first, second

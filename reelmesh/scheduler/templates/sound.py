"""Sound for any generated kind, beside its picture and then under it.

clip's frames → find_events ─┬→ render_sound ─┬→ mux
speech (a quoted line) ──────┘                │
the silent video ─────────────────────────────┘

A production model (`audio_model`) takes their place: it looks at the clip and reads the whole prompt,
the quoted line too, which it says itself. A clip of few frames is made smooth for it first:

encode_prompt ────────────────────────────────┬→ denoise_audio-0 → denoise_audio-1 → decode_audio → mux
clip's frames (→ interpolate) → encode_frames ┘
"""  # noqa: E501 (a picture)

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from reelmesh.scheduler.models import EMBEDDED, MODELS, Model
from reelmesh.scheduler.plan import Subtask, build_subtask
from reelmesh.scheduler.quotes import picture_words, spoken_words
from reelmesh.scheduler.spec import GeneratedSpec

SPEECH_AT_S = 0.3
"""When a spoken line begins."""
SEEN_SIDE = 512
"""Longer side, in pixels, at which a model looks at a clip to make its sound."""
_SMOOTH_FPS = 16
"""With fewer frames a second motion jerks: the model was taught on films."""

_AMBIENCES: Mapping[str, str] = MappingProxyType(
    {
        "space": r"(?:outer )?space|galaxy|planets?|cosmos",
        "rain": r"rain(?:ing|y)?|storm|drizzle",
        "sea": r"sea|ocean|waves?|beach|shore|coast|under ?water|lake|river",
        "night": r"night|in the dark|midnight|crickets",
        "forest": r"forest(?! green)|woods?|trees?|meadow|grass|lawn|garden|birds?|park",
        "wind": r"windy?|sky(?! blue)|mountains?|desert|snow(?! white)|clouds?|hills?",
        "city": r"city|street|traffic|town|road",
    }
)


def shown_prompt(spec: GeneratedSpec) -> str:
    """The prompt as the picture's model reads it: with sound, without the lines that are said."""
    return picture_words(spec.prompt) if spec.audio else spec.prompt


@dataclass(frozen=True)
class Clip:
    """What the sound is made for.

    Attributes:
        made_by: has the frames that the video's timeline is made from, first to last.
        frames: how many those are.
        size: their width and height, in pixels.
        timeline: has all of the video's frames at that size, where one subtask has.
    """

    made_by: Subtask
    frames: int
    size: tuple[int, int]
    timeline: Subtask | None = None


def soundtrack(spec: GeneratedSpec, clip: Clip, video: Subtask) -> list[Subtask]:
    """The subtasks that put sound to `video`, the last one's output being the result; or none."""
    if not spec.audio:
        return []
    if spec.audio_model == EMBEDDED:
        track = _track(spec, clip.made_by, clip.frames)
    else:
        track = _model_track(spec, clip, MODELS[spec.audio_model])
    params = {"fps": spec.fps, "frames": spec.frames, "video_bytes": video.bytes_out}
    return [*track, build_subtask("mux", "mux", params, {"video": video, "sound": track[-1]})]


def ambience(prompt: str) -> str:
    """What is faintly heard all along, by the words of the prompt; "room" where none tells."""
    words = picture_words(prompt).lower()
    found = (name for name, said in _AMBIENCES.items() if re.search(rf"\b(?:{said})\b", words))
    return next(found, "room")


def _track(spec: GeneratedSpec, clip: Subtask, clip_frames: int) -> list[Subtask]:
    seconds = spec.frames / spec.fps
    span = {"fps": spec.fps, "frames": clip_frames, "total": spec.frames}
    events = build_subtask("find_events", "find_events", span, {"frames": clip})
    made, given = [events], {"events": events}
    line = spoken_words(spec.prompt)
    if line:
        said = {"text": line, "style": spec.audio_style, "seconds": seconds - SPEECH_AT_S}
        given["speech"] = build_subtask("speech", "speech", said, {})
        made.append(given["speech"])
    params = {
        "seconds": seconds,
        "style": spec.audio_style,
        "ambience": ambience(spec.prompt),
        "seed": spec.seed,
        "speech": bool(line),
    }
    return [*made, build_subtask("render_sound", "render_sound", params, given)]


def seen_size(size: tuple[int, int], model: Model) -> tuple[int, int]:
    """Width and height at which a model looks at a clip: of its shape, as near as the model can."""
    width, height = (
        max(1, round(SEEN_SIDE * side / max(size) / model.stride)) * model.stride for side in size
    )
    return width, height


def _model_track(spec: GeneratedSpec, clip: Clip, model: Model) -> list[Subtask]:
    """A sound by a production model, which is given the clip's pictures as they are."""
    seconds = spec.frames / spec.fps
    width, height = seen_size(clip.size, model)
    size = {"model": model.name, "width": width, "height": height}
    size |= {"frames": model.frames_for(seconds)}
    texts = {"model": model.name, "prompt": spec.prompt, "negative": model.negative}
    text = build_subtask("encode_prompt_sound", "encode_prompt", texts, {})
    smooth, frames, count = _smooth(spec, clip, model)
    seen = {**size, "count": count, "fps": spec.fps, "total": spec.frames}
    latent = build_subtask("encode_frames", "encode_frames", seen, {"frames": frames})
    loop = {**size, "seed": spec.seed, "steps": spec.steps, "guidance": model.guidance}
    given, half, name = {"features": text, "clip": latent}, spec.steps // 2, "denoise_audio"
    first = build_subtask(f"{name}-0", name, {**loop, "start": 0, "stop": half}, given)
    rest = {**loop, "start": half, "stop": spec.steps}
    second = build_subtask(f"{name}-1", name, rest, {**given, "latent": first})
    name = "decode_audio"
    sound = build_subtask(name, name, {**size, "seconds": seconds}, {"latent": second})
    return [text, *smooth, latent, first, second, sound]


def _smooth(spec: GeneratedSpec, clip: Clip, model: Model) -> tuple[list[Subtask], Subtask, int]:
    """(what is to be made first, what has the frames to look at, how many those are)."""
    if clip.timeline is not None:
        return [], clip.timeline, spec.frames
    if clip.frames * spec.fps >= _SMOOTH_FPS * spec.frames:
        return [], clip.made_by, clip.frames
    count = round(spec.frames * model.fps / spec.fps)
    params = {"start": 0, "stop": count, "total": count, "side": max(clip.size)}
    timeline = build_subtask("timeline", "interpolate", params, {"frames": clip.made_by})
    return [timeline], timeline, count

"""Sound for any generated kind, beside its picture and then under it.

clip's frames → find_events ─┬→ render_sound ─┬→ mux
speech (a quoted line) ──────┘                │
the silent video ─────────────────────────────┘

A model that makes sound from pictures takes the place of `find_events` and `render_sound`: a stage
with the clip's frames in and a `sound` out; `_track` is where it would be chosen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from reelmesh.scheduler.plan import Subtask, build_subtask
from reelmesh.scheduler.quotes import picture_words, spoken_words
from reelmesh.scheduler.spec import GeneratedSpec

SPEECH_AT_S = 0.3
"""When a spoken line begins."""

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


def soundtrack(
    spec: GeneratedSpec, clip: Subtask, clip_frames: int, video: Subtask
) -> list[Subtask]:
    """The subtasks that put sound to `video`, the last one's output being the result; or none.

    Args:
        clip: has the frames that the video's timeline is made from, first to last.
        clip_frames: how many those are.
    """
    if not spec.audio:
        return []
    track = _track(spec, clip, clip_frames)
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

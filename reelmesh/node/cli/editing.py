"""What a buyer asks of a video of theirs: slower or faster, longer, or in another look."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from reelmesh.node.cli.submitting import InvalidOption

if TYPE_CHECKING:
    from reelmesh.node.cli.media import FootageFacts
    from reelmesh.node.cli.options import JobOptions

EDIT_HINT = "say --extend 2, --retime 0.5, --restyle or --orbit -15:15"
EDITS = ("extend", "retime", "restyle")
MAX_S = 20.0
_FPS = 24

_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "sketch": r"sketch|pencil|drawing|drawn|charcoal|ink",
        "cartoon": r"cartoon|comic|anime|toon|animated|flat colou?rs",
        "watercolour": r"water ?colou?r|paint(?:ed|ing)?|aquarelle|oil",
        "noir": r"noir|black[ -]and[ -]white|monochrome|gr[ae]y",
        "sepia": r"sepia|old|vintage|antique|retro|nostalgi\w+",
        "night": r"night|moonlight|midnight|dark",
        "cold": r"cold|winter|icy?|frozen|blue|snow\w*",
        "warm": r"warm|sunset|golden|summer|autumn|cosy|cozy",
    }
)
_NO_SOUND = "the video's sound is left out: the result is silent"
_STANDS = "what comes after the end is carried on from the motion before it; nothing new appears"


def edit_of(options: JobOptions) -> str | None:
    """Which edit is asked for: extend, retime, restyle or none. Raises InvalidOption for two."""
    asked = [name for name in EDITS if getattr(options, name) is not None]
    if len(asked) > 1:
        raise InvalidOption(f"--{asked[0]} and --{asked[1]} are two jobs", "do one after the other")
    if asked and options.video is None:
        raise InvalidOption(f"--{asked[0]} needs a video", "give it with --video FILE")
    return asked[0] if asked else None


def edit_fields(options: JobOptions, edit: str, facts: FootageFacts) -> dict[str, Any]:
    """The spec's fields for an edit, beside the source. Raises InvalidOption."""
    start = options.start or 0.0
    left = facts.seconds - start
    if left <= 0.1:
        raise InvalidOption(f"the video ends at {facts.seconds:g} s", "take an earlier --start")
    if edit == "extend":
        more = float(options.extend or 0)
        own = _stretch(options, left)
        own = min(own, MAX_S - more)
        return {"more": more, "seconds": round(own + more, 3), "start": start}
    if edit == "retime":
        speed = float(options.retime or 0)
        if speed <= 0:
            raise InvalidOption("a speed is above 0", "0.5 is half as fast, 2 is twice as fast")
        own = min(_stretch(options, left), MAX_S * speed)
        # So many frames that they come from whole steps of the source.
        step = Fraction(speed).limit_denominator(4)
        fps = options.fps or _FPS
        frames = max(1, int(own * fps + 0.01) // step.numerator) * step.denominator
        return {"speed": speed, "seconds": min(frames / fps, MAX_S), "start": start}
    seconds = round(min(_stretch(options, left), MAX_S), 3)
    return {"style": style_in(options.prompt), "seconds": seconds, "start": start}


def edit_prompt(options: JobOptions, edit: str) -> str:
    """What stands for the prompt where none was given."""
    name = re.sub(r"\W+", " ", options.video.stem if options.video else "").strip() or "the video"
    said = {
        "extend": f"{options.extend} s longer",
        "retime": f"at {options.retime} times speed",
    }
    return options.prompt or f"{name[:200]} {said.get(edit, '')}".strip()


def edit_notes(edit: str, facts: FootageFacts) -> tuple[str, ...]:
    """What a buyer should know before paying."""
    sound = (_NO_SOUND,) if facts.audio else ()
    return (*facts.notes, *sound, *((_STANDS,) if edit == "extend" else ()))


def style_in(prompt: str) -> str:
    """The look that a prompt's words name. Raises InvalidOption for none."""
    for style, words in _WORDS.items():
        if re.search(rf"\b(?:{words})\b", prompt.lower()):
            return style
    raise InvalidOption(
        f"no look is known by {prompt[:40]!r}" if prompt else "--restyle needs a look",
        f"name one of: {', '.join(_WORDS)}, as in --restyle 'a pencil sketch'",
    )


def _stretch(options: JobOptions, left: float) -> float:
    """How much of the video is taken: all that is left, or --seconds of it."""
    return left if options.seconds is None else min(left, options.seconds)

"""What a buyer asks of a video of theirs: slower or faster, longer, or in another look."""

from __future__ import annotations

import math
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
_LEAST_S = 0.1

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
    around = [name for name in ("orbit", "camera") if getattr(options, name) is not None]
    if asked and len(asked + around) > 1:
        first, second, *_ = asked + around
        raise InvalidOption(f"--{first} and --{second} are two jobs", "do one after the other")
    if asked and options.video is None:
        raise InvalidOption(f"--{asked[0]} needs a video", "give it with --video FILE")
    return asked[0] if asked else None


def edit_fields(options: JobOptions, edit: str, facts: FootageFacts) -> dict[str, Any]:
    """The spec's fields for an edit, beside the source. Raises InvalidOption."""
    start, left = taken_from(options, facts)
    if edit == "extend":
        more = _within(options.extend, 0.5, 4, "--extend takes 0.5 to 4 seconds", "say --extend 2")
        own = min(_stretch(options, left), MAX_S - more)
        return {"more": more, "seconds": round(own + more, 3), "start": start}
    if edit == "retime":
        return {**_retimed(options, left), "start": start}
    style = style_in(options.prompt)
    seconds = _long_enough(min(_stretch(options, left), MAX_S))
    return {"style": style, "seconds": round(seconds, 3), "start": start}


def _retimed(options: JobOptions, left: float) -> dict[str, Any]:
    """Speed, and a length of so many frames that they come from whole steps of the source."""
    hint = "0.5 is half as fast, 2 is twice as fast"
    takes = "--retime takes 0.25 to 4, in steps of 0.25"
    speed = _within(options.retime, 0.25, 4, takes, hint)
    if speed % 0.25:
        raise InvalidOption(takes, hint)
    own = min(_stretch(options, left), MAX_S * speed)
    step = Fraction(speed).limit_denominator(4)
    fps = options.fps or _FPS
    frames = max(1, int(own * fps + 0.01) // step.numerator) * step.denominator
    return {"speed": speed, "seconds": min(_long_enough(frames / fps), MAX_S)}


def taken_from(options: JobOptions, facts: FootageFacts) -> tuple[float, float]:
    """(second of the video at which it is taken, seconds from there to its end).

    Raises InvalidOption where nothing is left, or where a number is none.
    """
    start = _within(options.start or 0.0, 0, math.inf, "--start is a second of the video", "say 0")
    if options.seconds is not None:
        _within(options.seconds, 0.1, MAX_S, "--seconds takes 1 to 20", "leave it out")
    left = facts.seconds - start
    if left <= _LEAST_S:
        raise InvalidOption(f"the video ends at {facts.seconds:g} s", "take an earlier --start")
    return start, left


def _within(said: float | None, least: float, most: float, what: str, hint: str) -> float:
    if said is None or not least <= said <= most:  # also refuses what is not a number
        raise InvalidOption(what, hint)
    return float(said)


def _long_enough(seconds: float) -> float:
    if seconds < 1:
        raise InvalidOption(
            f"the result would be {seconds:.2g} s long, and a video has at least 1 s",
            "take more of your video, or a slower --retime",
        )
    return seconds


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

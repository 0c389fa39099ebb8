"""What a buyer should know of a job's sound before paying."""

from __future__ import annotations

from reelmesh.scheduler.models import EMBEDDED
from reelmesh.scheduler.quotes import picture_words, spoken_words
from reelmesh.scheduler.templates.sound import SPEECH_AT_S

_CHARACTERS_A_SECOND = 15


def drawn_words(prompt: str, *, audio: bool) -> str:
    """What of a prompt the picture's model reads; with sound, what is said is no part of it."""
    return picture_words(prompt) if audio else prompt


def sound_notes(
    prompt: str, *, audio: bool, seconds: float, model: str = EMBEDDED
) -> tuple[str, ...]:
    """Plain lines on who makes the sound, and on a quoted line: that it stays silent, needs flite,
    or is too long.

    model: what makes the sound; a production model speaks with its own voice.
    """
    if model != EMBEDDED:
        return (f"the sound needs a provider with {model}; without one, the budget comes back",)
    line = spoken_words(prompt)
    if not line:
        return ()
    if not audio:
        return ("the line in quotes is spoken only with --audio",)
    told = ["the quoted line needs a provider with flite; without one, the budget comes back"]
    needs_s = len(line) / _CHARACTERS_A_SECOND
    if needs_s > seconds - SPEECH_AT_S:
        told.append(
            f"the quoted line takes about {needs_s:.0f} s: it is spoken faster, and cut where the "
            "video ends"
        )
    return tuple(told)

"""Whether two prompts ask for the same clip in other words, as far as their words tell.

Half of the test for taking one prompt's clip for another's; the other half is how far apart the
model's own embeddings of the two are (`reelmesh.node.stages.compare_prompts`). Text only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .wide import understands
from .world import COLOUR_WORDS, SHAPE_WORDS, _motion_pairs, _phrases, _take, _take_background

WITHIN = 0.4
"""The largest distance at which a clip is taken. Nine in ten rewordings of one thing lie within it,
and exchanges of colours or places between two things beyond. Set on scenes other than those that
`scripts/eval_reuse.py` measures: docs/quality/reuse.md."""

_TURNS_TEXT = """not no never without nothing none except instead but only then before after until
    while first second last later again both each every all"""
_TURNS = frozenset(_TURNS_TEXT.split())
"""Words that the reading skips, and that turn what stands around them: with one of these, all
words must be the same."""


@dataclass(frozen=True)
class _Reading:
    known: Mapping[str, str]
    unknown: tuple[str, ...]
    words: tuple[str, ...]
    places: tuple[str, ...]
    shapes: tuple[str, ...]
    colours: tuple[str, ...]


def ask_for_the_same(one: str, other: str) -> bool:
    """True where both name a shape, and each thing that is read is the same in both.

    A word that is not known to the reading must stand in both, and things and colours must be named
    in one order, since the reading does not tell which of two things is where. Never raises.
    """
    first = _read(one)
    return bool(first.shapes) and first == _read(other)


def _read(prompt: str) -> _Reading:
    found = understands(prompt)
    in_order = {"shape", "second_shape", "colour", "second_colour"}
    if "second_shape" not in found.known:
        in_order.add("relation")  # "moving in a circle over …" stands in no relation
    known = {name: value for name, value in found.known.items() if name not in in_order}
    words = re.findall(r"[a-z']+", prompt.lower())
    text = re.sub(r"\s+", " ", re.sub(r"[^a-z|\s]", " ", prompt.lower().replace(",", " | ")))
    places = re.findall(r"\b(?:left|right|top(?! of)|bottom)\b", text)
    _, text = _take(text.strip(), _motion_pairs())
    _, text = _take_background(text)
    return _Reading(
        known,
        found.unknown,
        tuple(words) if any(word in _TURNS or word.endswith("n't") for word in words) else (),
        tuple(places) if "second_shape" in found.known else (),
        _in_order(text, SHAPE_WORDS),
        _in_order(text, COLOUR_WORDS),
    )


def _in_order(text: str, table: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The meaning of each wording of a table that stands in a text, from left to right."""
    found: list[tuple[int, str]] = []
    for phrase, key in _phrases(table):
        for hit in re.finditer(rf"\b{re.escape(phrase)}(?:s|es)?\b", text):
            found.append((hit.start(), key))
            text = text[: hit.start()] + "#" * (hit.end() - hit.start()) + text[hit.end() :]
    return tuple(key for _, key in sorted(found))

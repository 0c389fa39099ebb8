"""What a prompt says aloud, told apart from what it shows: `a red ball says "hello there"`."""

from __future__ import annotations

import re
import unicodedata

MAX_SPOKEN = 240
"""Characters of all quoted lines together that are spoken."""

# Straight single quotes are left alone: they are apostrophes.
_QUOTED = re.compile('"([^"]+)"|“([^”]+)”|„([^“”]+)[“”]|«([^»]+)»|‘([^’]+)’')
_SAYING = r"(?:say|shout|whisper|ask|cry|cri|sing|yell|call|announc|exclaim|repl|speak|tell)"
_BEFORE = re.compile(
    rf"(?:[,;:]?\s*\b(?:and|who|that|which|while)?\s*\b{_SAYING}(?:s|es|ies|y|e|ing|ying)?"
    r"(?:\s+(?:out|loudly|softly|quietly|aloud|the words?))*\s*[:,]?\s*)$"
)
_NOT_SPOKEN = re.compile(r"[^A-Za-z0-9 .,!?;:'-]+")


def _parts(prompt: str) -> tuple[str, list[str]]:
    seen, said, end = "", [], 0
    for found in _QUOTED.finditer(prompt):
        seen += _BEFORE.sub("", prompt[end : found.start()])
        said.append(next(group for group in found.groups() if group is not None))
        end = found.end()
        seen += " "
    seen = re.sub(r"\s+([,.;:!?])", r"\1", " ".join((seen + prompt[end:]).split()))
    return seen.strip(" ,;:"), said


def picture_words(prompt: str) -> str:
    """The prompt without its quoted lines and the verb that leads to each; "" if that is all."""
    return _parts(prompt)[0]


def spoken_words(prompt: str) -> str:
    """The quoted lines as one text of plain letters, digits and punctuation, cut to 240; or ""."""
    lines = []
    for line in _parts(prompt)[1]:
        plain = line.replace("’", "'").replace("—", ", ").replace("–", ", ").replace("…", ".")
        folded = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
        spoken = " ".join(_NOT_SPOKEN.sub(" ", folded).split())
        if re.search("[A-Za-z0-9]", spoken):
            lines.append(spoken if spoken[-1] in ".!?" else f"{spoken}.")
    return " ".join(lines)[:MAX_SPOKEN].strip()

"""How much work a video is worth: the depth of a job, from its content and the quality asked for.

A plain drawing of one thing that moves needs fewer denoising steps than a scene of several, and
the guidance that makes a clip follow its text decides the layout in the first half of them. Nor
does the plain ground around it have anything that an enlarging network could draw. What is chosen
here stands in the parameters of the subtasks, so that bids, attestations and the receipt all say
what was run. How the levels were set: docs/quality/depth.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from reelmesh.scheduler.sizes import is_first_size
from reelmesh.scheduler.spec import GeneratedSpec, Quality

_PLAIN_WORDS = 16
_PER_WORD = 0.03
_SIMPLE, _COMPLEX = 0.3, 0.6
_FLAT_BYTES_PER_PIXEL = 0.25
_QUOTED = re.compile(r"[\"“«][^\"”»]*[\"”»]")

_MANY = (
    r"two|three|four|five|six|several|many|both|pair|group|crowd|another|others?|each"
    r"|and (an?|the) \w+|with an?"
)
_RELATION = (
    r"above|below|beneath|beside|between|inside|underneath|next to|(left|right|side|top) of"
    r"|(behind|in front of) an? (?!(\w+ ){0,2}(background|backdrop|wall|screen))\w+"
)
_CAMERA = r"camera|pan(s|ning)?|zoom\w*|tilt\w*|dolly|close-?up"
_SEQUENCE = r"then|after(wards)?|before|until|while|first|finally"
_SIGNS: Mapping[str, tuple[str, float]] = MappingProxyType(
    {
        "several things": (_MANY, 0.6),
        "a relation": (_RELATION, 0.6),
        "a camera move": (_CAMERA, 0.6),
        "a sequence": (_SEQUENCE, 0.3),
    }
)


@dataclass(frozen=True)
class Complexity:
    """level: 0 (one plain thing) to 1; because: what raised it, in words for the buyer."""

    level: float
    because: tuple[str, ...]

    @property
    def word(self) -> Literal["simple", "medium", "complex"]:
        """The level as the buyer reads it."""
        if self.level < _SIMPLE:
            return "simple"
        return "medium" if self.level < _COMPLEX else "complex"


@dataclass(frozen=True)
class Depth:
    """What is run for a job.

    Attributes:
        steps: of the denoise loop.
        guided: the first so many of them are guided by the text.
        sparse: of the frames only what has detail is enlarged by the network.
    """

    steps: int
    guided: int
    sparse: bool = False

    @property
    def predictions(self) -> int:
        """Runs of the network: two for a guided step, one for any other."""
        return self.steps + self.guided


def complexity(prompt: str, detail: float | None = None) -> Complexity:
    """Judge a prompt, and the picture it goes with, by what costs nothing to look at.

    Args:
        prompt: in any language; only English signs are known, so a long text counts by length.
            What it quotes is said, not shown, and does not count.
        detail: bytes of the picture's file for one pixel of the video, where there is a picture.
    """
    text = _QUOTED.sub(" ", prompt.lower())
    found = {what: weight for what, (sign, weight) in _SIGNS.items() if _says(text, sign)}
    longer = len(text.split()) - _PLAIN_WORDS
    if longer > 0:
        found["a long text"] = longer * _PER_WORD
    if detail is not None and detail > _FLAT_BYTES_PER_PIXEL:
        found["a detailed picture"] = 0.6
    return Complexity(min(1.0, round(sum(found.values()), 2)), tuple(found))


def _says(text: str, sign: str) -> bool:
    return re.search(rf"(?<!\w)({sign})(?!\w)", text) is not None


def choose_depth(quality: Quality, steps: int, content: Complexity) -> Depth:
    """The depth for a quality and a content.

    fixed: every step as asked. draft: the least at which the built-in model still obeys plain
    prompts, whatever the content. auto: as much as the content needs, at most what was asked for.
    high: half as many steps again. draft and auto enlarge only what has detail, where the content
    is not complex: what that saves, and its price, was measured for one thing on a plain ground.

    Args:
        steps: what the buyer asked for, 4..50.
    """
    if quality == "high":
        more = min(50, steps * 3 // 2)
        return Depth(more, more)
    sparse = quality != "fixed" and content.word != "complex"
    enough = {"simple": 8, "medium": 12, "complex": steps}[content.word]
    if quality == "draft":
        return _at_most(steps, 6, sparse=sparse)
    if quality == "auto" and enough < steps:
        return _at_most(steps, enough, sparse=sparse)
    return Depth(steps, steps, sparse)


def _at_most(asked: int, enough: int, *, sparse: bool) -> Depth:
    steps = min(asked, enough)
    return Depth(steps, -(-steps // 2), sparse)


def complexity_of(spec: GeneratedSpec) -> Complexity:
    """How complex a job's content is, as far as its spec says."""
    pixels = spec.width * spec.height
    pictures = [source.size / pixels for source in spec.sources().values()]
    return complexity(spec.prompt, max(pictures, default=None))


def depth_of(spec: GeneratedSpec) -> Depth:
    """The depth that a job is planned with.

    A picture's frames are enlarged whole: it may have detail everywhere, whatever the size of its
    file, and who enlarges it is paid for the expected share.
    """
    depth = choose_depth(spec.quality, spec.steps, complexity_of(spec))
    drawn = not spec.sources() and is_first_size(spec.width, spec.height)
    return depth if drawn else replace(depth, sparse=False)


def loop_params(spec: GeneratedSpec) -> dict[str, object]:
    """The parameters that all ranges of a job's denoise loop share."""
    depth = depth_of(spec)
    loop: dict[str, object] = {
        "seed": spec.seed,
        "steps": depth.steps,
        "guidance": spec.guidance,
    }
    return loop if depth.guided == depth.steps else {**loop, "guided": depth.guided}

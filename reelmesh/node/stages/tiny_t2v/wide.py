"""The wider world: two objects and how they stand, camera moves, speed, and a collision.

Text only, as `world`. A wide scene is either one object with a speed or a camera move, or
two objects of different colours with one relation, which may stand, collide, or be seen by
a moving camera.
"""

from __future__ import annotations

import hashlib
import math
import random
import re
from dataclasses import asdict, dataclass

from . import world
from .world import (
    _UNSEEABLE,
    BACKGROUNDS,
    COLOUR_WORDS,
    COLOURS,
    MOTIONS,
    SHAPE_WORDS,
    SHAPES,
    SIZES,
    Understanding,
)

SPEEDS = ("normal", "slow", "fast")
CAMERAS = ("fixed", "pan-left", "pan-right", "zoom-in", "zoom-out")
RELATIONS = ("none", "above", "below", "left-of", "right-of")
EVENTS = ("none", "collide")
#: Motions that have a speed.
PACED = (*MOTIONS[:8], "bounce", "orbit", "sway")
#: Two colours whose edges would look alike against the background are not asked for.
_LEAST_ANGLE_COS = 0.93

RELATION_WORDS = {
    "above": ("above", "over", "on top of", "higher than", "floating above", "right above"),
    "below": ("below", "under", "beneath", "underneath", "lower than", "right below"),
    "left-of": ("left of", "to the left of", "on the left of", "on the left side of",
                "standing to the left of"),
    "right-of": ("right of", "to the right of", "on the right of", "on the right side of",
                 "standing to the right of"),
}  # fmt: skip
#: Where the first and the second object are, when each is given a place of its own.
PLACES = {
    "above": ("at the top", "at the bottom"),
    "below": ("at the bottom", "at the top"),
    "left-of": ("on the left", "on the right"),
    "right-of": ("on the right", "on the left"),
}
CAMERA_WORDS = {
    "pan-left": ("the camera pans left", "camera pan to the left", "the camera moves to the left",
                 "panning left", "a pan to the left"),
    "pan-right": ("the camera pans right", "camera pan to the right",
                  "the camera moves to the right", "panning right", "a pan to the right"),
    "zoom-in": ("the camera zooms in", "zooming in", "camera zoom in", "the camera moves closer",
                "a slow zoom in"),
    "zoom-out": ("the camera zooms out", "zooming out", "camera zoom out",
                 "the camera moves away", "a slow zoom out"),
}  # fmt: skip
SPEED_WORDS = {
    "slow": ("slowly", "very slowly", "at a slow pace", "gradually"),
    "fast": ("fast", "quickly", "very fast", "rapidly", "at high speed"),
}
COLLIDE_WORDS = ("they collide", "they bump into each other", "the two collide and bounce apart",
                 "they crash into each other", "they hit each other",
                 "they bounce off each other")  # fmt: skip


@dataclass(frozen=True, slots=True)
class WideScene:
    """One clip; where `relation` is not "none", there are two objects of one size."""

    colour: str
    shape: str
    background: str
    size: str = "small"
    motion: str = "still"
    speed: str = "normal"
    camera: str = "fixed"
    second_colour: str = ""
    second_shape: str = ""
    relation: str = "none"
    event: str = "none"

    def held_out(self) -> bool:
        """True for the sixteenth of all combinations that training never sees."""
        key = "|".join(asdict(self).values())
        return hashlib.sha256(key.encode()).digest()[0] % 16 == 0


def _told_apart(one: str, two: str, background: str) -> bool:
    ground = BACKGROUNDS[background]
    a, b = ([x - g for x, g in zip(COLOURS[c], ground, strict=True)] for c in (one, two))
    cos = sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))
    return cos < _LEAST_ANGLE_COS


def draw_scene(rng: random.Random, held_out: bool = False) -> WideScene:
    """A random scene, of the held-out part or of the rest: 2/3 of them pairs."""
    while True:
        scene = _any_scene(rng)
        if scene is not None and scene.held_out() == held_out:
            return scene


def _any_scene(rng: random.Random) -> WideScene | None:
    colour, background = rng.choice(tuple(COLOURS)), rng.choice(tuple(BACKGROUNDS))
    shape, kind = rng.choice(SHAPES), rng.random()
    if (colour, background) in _UNSEEABLE:
        return None
    if kind < 0.2:
        motion, speed = rng.choice(PACED), rng.choice(SPEEDS[1:])
        return WideScene(colour, shape, background, rng.choice(SIZES), motion, speed)
    camera = rng.choice(CAMERAS[1:])
    if kind < 0.33:
        return WideScene(colour, shape, background, camera=camera)
    second, relation = rng.choice(tuple(COLOURS)), rng.choice(RELATIONS[1:])
    if second == colour or (second, background) in _UNSEEABLE:
        return None
    if not _told_apart(colour, second, background):
        return None
    seen, event = (camera, "none") if kind < 0.46 else ("fixed", "none")
    if kind > 0.85:
        event = "collide"
    return WideScene(
        colour, shape, background, camera=seen, second_colour=second,
        second_shape=rng.choice(SHAPES), relation=relation, event=event,
    )  # fmt: skip


_NAMES = "|".join(w.replace("-", " ") for words in SHAPE_WORDS.values() for w in words)
_SHAPE = re.compile(rf"\b(?:{_NAMES})(?:s|es)?\b")
#: Shorter wordings that a reader may take for a camera move, though training wrote them out.
_CAMERA_SHORT = {
    "pan-left": ("pans to the left", "panning to the left", "pan left"),
    "pan-right": ("pans to the right", "panning to the right", "pan right"),
    "zoom-in": ("zoom in", "zooms in"),
    "zoom-out": ("zoom out", "zooms out"),
}
_FILLER_TEXT = """and another apart both bounce camera comes everything hovering into next onto
    really s sits speed stands stays put they together top we"""
_FILLER = frozenset(_FILLER_TEXT.split())


def understands(prompt: str) -> Understanding:
    """Reads a prompt against the whole world: `world.understands`, and what this module adds.

    `known` may also hold second_shape, second_colour, relation, camera, speed and event; which
    of two objects is the first is not read. Rule based, used to warn a buyer. Never raises.
    """
    text = re.sub(r"\s+", " ", re.sub(r"[^a-z,.:;|\s]", " ", prompt.lower())).strip()
    known: dict[str, str] = {}
    camera = {move: words + _CAMERA_SHORT[move] for move, words in CAMERA_WORDS.items()}
    tables: dict[str, dict[str, tuple[str, ...]]] = {
        "camera": camera,
        "event": {"collide": COLLIDE_WORDS},
        "speed": SPEED_WORDS,
    }
    if len(_SHAPE.findall(text)) > 1:
        tables["relation"] = {k: RELATION_WORDS[k] for k in PLACES}
    for name, table in tables.items():
        value, text = world.take(text, table)
        if value:
            known[name] = value
    if "relation" in tables:
        for here in {place for both in PLACES.values() for place in both}:
            text = re.sub(rf"\b{here}\b", "|", text)
    found = world.understands(text)
    rest = " ".join(found.unknown)
    for name, words in (("second_shape", SHAPE_WORDS), ("second_colour", COLOUR_WORDS)):
        if "relation" in tables:
            value, rest = world.take(rest, words)
            if value:
                known[name] = value
    filler = _FILLER if known else frozenset()
    left = (w for w in re.findall(r"[a-z]+", rest) if w not in filler)
    return Understanding(known | found.known, tuple(left))

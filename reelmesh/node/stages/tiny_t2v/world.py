"""The world the embedded model knows: what a clip can show, in plain words.

Everything here is text: no torch. The clip renderer, the caption writer, the probe and the
prompt check all read these tables, so that they cannot disagree about a word.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache

FRAMES = 16
HEIGHT = 64
WIDTH = 64

SIZES = ("small", "big")
SHAPES = ("circle", "square", "triangle", "star", "ring", "cross", "diamond", "heart")
MOTIONS = (
    "left",
    "right",
    "up",
    "down",
    "up-left",
    "up-right",
    "down-left",
    "down-right",
    "bounce",
    "orbit",
    "sway",
    "spin",
    "grow",
    "shrink",
    "still",
)
DIRECTIONS = MOTIONS[:8]

#: Object colours, sRGB 0..1.
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.90, 0.12, 0.12),
    "green": (0.10, 0.72, 0.20),
    "blue": (0.15, 0.32, 0.96),
    "yellow": (0.98, 0.88, 0.10),
    "orange": (1.00, 0.52, 0.05),
    "purple": (0.62, 0.20, 0.86),
    "pink": (1.00, 0.50, 0.76),
    "cyan": (0.05, 0.86, 0.90),
    "white": (0.97, 0.97, 0.97),
    "black": (0.04, 0.04, 0.04),
    "gray": (0.60, 0.60, 0.60),
    "brown": (0.58, 0.36, 0.16),
}
#: Backgrounds, sRGB 0..1. A coloured background is a deep or a pale shade, so that an object
#: of the same colour name still stands out from it.
BACKGROUNDS: dict[str, tuple[float, float, float]] = {
    "black": (0.02, 0.02, 0.02),
    "white": (0.98, 0.98, 0.98),
    "gray": (0.50, 0.50, 0.50),
    "blue": (0.06, 0.09, 0.38),
    "green": (0.04, 0.30, 0.12),
    "red": (0.38, 0.05, 0.08),
    "purple": (0.23, 0.08, 0.38),
    "sky": (0.62, 0.82, 0.98),
    "yellow": (0.99, 0.95, 0.66),
    "orange": (0.99, 0.80, 0.58),
    "pink": (0.99, 0.85, 0.90),
    "brown": (0.24, 0.14, 0.06),
}
_UNSEEABLE = {("black", "black"), ("white", "white"), ("gray", "gray"), ("white", "pink")}
_LOOK_THE_SAME_TURNED = {"circle", "ring"}


@dataclass(frozen=True, slots=True)
class Scene:
    """One clip's five attributes, each a key of the tables above."""

    size: str
    colour: str
    shape: str
    motion: str
    background: str

    def held_out(self) -> bool:
        """True for the sixteenth of all combinations that training never sees."""
        key = "|".join(asdict(self).values())
        return hashlib.sha256(key.encode()).digest()[0] % 16 == 0


@lru_cache(maxsize=1)
def all_scenes() -> tuple[Scene, ...]:
    """Every scene in which the object can be seen, in a fixed order."""
    every = itertools.product(SIZES, COLOURS, SHAPES, MOTIONS, BACKGROUNDS)
    return tuple(
        Scene(*s)
        for s in every
        if (s[1], s[4]) not in _UNSEEABLE and not (s[3] == "spin" and s[2] in _LOOK_THE_SAME_TURNED)
    )


#: What people call each thing. The first word is the plain one.
SIZE_WORDS = {
    "small": ("small", "little", "tiny", "mini", "miniature"),
    "big": ("big", "large", "huge", "giant", "enormous"),
}
COLOUR_WORDS = {
    "red": ("red", "crimson", "scarlet", "bright red"),
    "green": ("green", "emerald", "lime green", "bright green"),
    "blue": ("blue", "royal blue", "bright blue", "azure"),
    "yellow": ("yellow", "golden", "lemon yellow", "bright yellow"),
    "orange": ("orange", "tangerine", "bright orange"),
    "purple": ("purple", "violet", "lilac"),
    "pink": ("pink", "rose pink", "hot pink"),
    "cyan": ("cyan", "turquoise", "teal", "aqua"),
    "white": ("white", "snow white", "pure white"),
    "black": ("black", "jet black", "pitch black"),
    "gray": ("gray", "grey", "silver"),
    "brown": ("brown", "chocolate brown"),
}
SHAPE_WORDS = {
    "circle": ("circle", "ball", "disc", "disk", "dot", "sphere"),
    "square": ("square", "box", "block", "cube"),
    "triangle": ("triangle", "pyramid"),
    "star": ("star", "five-pointed star"),
    "ring": ("ring", "hoop", "donut", "doughnut"),
    "cross": ("cross", "plus sign", "plus"),
    "diamond": ("diamond", "rhombus", "kite"),
    "heart": ("heart", "heart shape", "love heart"),
}
BACKGROUND_WORDS = {
    "black": ("black", "pitch black", "dark"),
    "white": ("white", "plain white"),
    "gray": ("gray", "grey"),
    "blue": ("blue", "dark blue", "navy", "deep blue", "navy blue"),
    "green": ("green", "dark green", "forest green"),
    "red": ("red", "dark red", "maroon", "deep red"),
    "purple": ("purple", "dark purple", "violet", "deep purple"),
    "sky": ("light blue", "sky blue", "pale blue", "baby blue"),
    "yellow": ("yellow", "pale yellow", "light yellow"),
    "orange": ("orange", "peach", "pale orange", "light orange"),
    "pink": ("pink", "light pink", "pale pink"),
    "brown": ("brown", "dark brown"),
}
#: Whole phrases that imply a background.
PLACE_PHRASES = {
    "black": ("in the dark", "at night", "in outer space", "in space", "in the night sky"),
    "white": ("on snow", "in the snow", "on a sheet of paper"),
    "green": ("on grass", "over a lawn", "on the grass", "in a meadow"),
    "blue": ("in the ocean", "under water", "in the sea", "over the sea", "on the water"),
    "sky": ("in the sky", "across the sky", "in the open sky"),
    "yellow": ("on sand", "on the beach", "in the desert"),
    "brown": ("on the ground", "on a wooden table"),
}
_WAYS = {
    "left": ("left", "to the left", "leftwards", "toward the left side", "from right to left"),
    "right": ("right", "to the right", "rightwards", "toward the right side",
              "from left to right"),
    "up": ("up", "upward", "upwards", "to the top", "from bottom to top", "towards the top"),
    "down": ("down", "downward", "downwards", "to the bottom", "from top to bottom",
             "towards the bottom"),
    "up-left": ("up and to the left", "up and left", "diagonally up to the left",
                "to the upper left", "toward the top left corner"),
    "up-right": ("up and to the right", "up and right", "diagonally up to the right",
                 "to the upper right", "toward the top right corner"),
    "down-left": ("down and to the left", "down and left", "diagonally down to the left",
                  "to the lower left", "toward the bottom left corner"),
    "down-right": ("down and to the right", "down and right", "diagonally down to the right",
                   "to the lower right", "toward the bottom right corner"),
}  # fmt: skip
#: (-ing form, third person) of verbs that need a way to go.
_VERBS = (
    ("moving", "moves"), ("sliding", "slides"), ("going", "goes"), ("drifting", "drifts"),
    ("gliding", "glides"), ("flying", "flies"), ("floating", "floats"),
    ("travelling", "travels"), ("heading", "heads"), ("rolling", "rolls"),
    ("shooting", "shoots"), ("running", "runs"),
)  # fmt: skip
_OWN_VERBS: dict[str, tuple[tuple[str, str], ...]] = {
    "up": (("rising", "rises"), ("going up", "goes up"), ("climbing", "climbs"),
           ("ascending", "ascends"), ("lifting off", "lifts off")),
    "down": (("falling", "falls"), ("sinking", "sinks"), ("dropping", "drops"),
             ("descending", "descends"), ("falling down", "falls down")),
    "bounce": (("bouncing", "bounces"), ("bouncing up and down", "bounces up and down"),
               ("hopping", "hops"), ("jumping", "jumps"), ("jumping up and down",
               "jumps up and down"), ("bouncing on the floor", "bounces on the floor")),
    "orbit": (("moving in a circle", "moves in a circle"), ("circling", "circles"),
              ("going round in circles", "goes round in circles"), ("orbiting", "orbits"),
              ("going around in a circle", "goes around in a circle"),
              ("circling around", "circles around"), ("looping around", "loops around"),
              ("flying in circles", "flies in circles")),
    "sway": (("swinging", "swings"), ("swaying", "sways"),
             ("moving back and forth", "moves back and forth"),
             ("moving from side to side", "moves from side to side"),
             ("going left and right", "goes left and right"),
             ("sliding side to side", "slides side to side"),
             ("oscillating", "oscillates")),
    "spin": (("spinning", "spins"), ("rotating", "rotates"), ("turning", "turns"),
             ("spinning around", "spins around"), ("twirling", "twirls"),
             ("spinning in place", "spins in place"), ("turning around", "turns around")),
    "grow": (("growing", "grows"), ("getting bigger", "gets bigger"),
             ("getting larger", "gets larger"), ("expanding", "expands"),
             ("swelling", "swells"), ("growing in size", "grows in size"),
             ("inflating", "inflates")),
    "shrink": (("shrinking", "shrinks"), ("getting smaller", "gets smaller"),
               ("becoming smaller", "becomes smaller"), ("contracting", "contracts"),
               ("shrinking away", "shrinks away"), ("dwindling", "dwindles"),
               ("deflating", "deflates")),
    "still": (("standing still", "stands still"), ("staying still", "stays still"),
              ("not moving", "does not move"), ("at rest", "is at rest"),
              ("resting", "rests"), ("staying in place", "stays in place"),
              ("sitting still", "sits still"), ("holding still", "is motionless"),
              ("motionless", "is static")),
}  # fmt: skip


@lru_cache(maxsize=1)
def motion_phrases() -> dict[str, tuple[tuple[str, str], ...]]:
    """For each motion, its wordings as (participle, third person) pairs."""
    out: dict[str, tuple[tuple[str, str], ...]] = {}
    for motion in MOTIONS:
        pairs = [
            (f"{ing} {way}", f"{does} {way}")
            for way in _WAYS.get(motion, ())
            for ing, does in _VERBS
        ]
        out[motion] = tuple(pairs) + _OWN_VERBS.get(motion, ())
    return out


@dataclass(frozen=True, slots=True)
class Understanding:
    """What a prompt asks for in the model's world.

    `known` maps size, colour, shape, motion and background to the recognised value; an
    attribute that is absent was not named, and the model will choose. `unknown` lists the
    words that mean nothing to the model, in order.
    """

    known: dict[str, str]
    unknown: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Attributes the prompt leaves to the model."""
        return tuple(a for a in Scene.__dataclass_fields__ if a not in self.known)

    def warning(self) -> str | None:
        """One plain line for the buyer, or None where the prompt fits the model's world."""
        if "shape" in self.known and not self.unknown:
            return None
        parts = []
        if self.unknown:
            parts.append("it does not know: " + ", ".join(self.unknown[:8]))
        if "shape" not in self.known:
            parts.append("it draws one or two of: " + ", ".join(SHAPES))
        return "; ".join(parts)


_FILLER_TEXT = """
    a across against an and animation are around as at backdrop background backgrounds be
    beautiful being bright by clip color colored colour coloured corner cute does down
    drifting drifts fast flat flies floating floats floor flying for from front gently
    glides gliding go goes going has hd heading heads high i in is it its k left like looks
    make me move moves movie moving my nice not object of on one over place plain please
    pretty quality quickly right rolling rolls round running runs scene screen see seen
    shape shaped shiny shooting shoots short show showing shows side sign simple single size
    sized slide slides sliding slow slowly smooth smoothly solid some steadily that the
    there this through to toward towards traveling travelling travels up very video want
    well which while with
"""
_FILLER = frozenset(_FILLER_TEXT.split())


def _phrases(table: Mapping[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    pairs = [(words.replace("-", " "), key) for key, many in table.items() for words in many]
    return sorted(pairs, key=lambda p: -len(p[0]))


def _take(text: str, pairs: list[tuple[str, str]]) -> tuple[str | None, str]:
    """The value of the longest phrase found as whole words, and the text without it."""
    for phrase, key in pairs:
        hit = re.search(rf"\b{re.escape(phrase)}(?:s|es)?\b", text)
        if hit:
            return key, text[: hit.start()] + " | " + text[hit.end() :]
    return None, text


def take(text: str, table: Mapping[str, tuple[str, ...]]) -> tuple[str | None, str]:
    """The key whose longest wording stands in the text, and the text without it."""
    return _take(text, _phrases(table))


_SHAPE_ALTERNATIVES = "|".join(re.escape(w) for words in SHAPE_WORDS.values() for w in words)


def _take_background(text: str) -> tuple[str | None, str]:
    for phrase, key in _phrases(BACKGROUND_WORDS):
        word = re.escape(phrase)
        lead = r"(?:on|over|against|in front of|across) (?:a |an |the |plain |solid |pure )*"
        tail = r"(?: coloured| colored)? (?:background|backdrop|screen)"
        for pattern in (
            rf"\b{word}{tail}s?\b",
            rf"\b(?:background|backdrop|screen) (?:is |that is |in |of )?(?:plain )?{word}\b",
            rf"\b{lead}{word}\b(?! (?:{_SHAPE_ALTERNATIVES})\b)",
        ):
            hit = re.search(pattern, text)
            if hit:
                return key, text[: hit.start()] + " | " + text[hit.end() :]
    return _take(text, _phrases(PLACE_PHRASES))


def _motion_pairs() -> list[tuple[str, str]]:
    table: dict[str, tuple[str, ...]] = {}
    for motion in MOTIONS:
        own = tuple(p for pair in _OWN_VERBS.get(motion, ()) for p in pair)
        table[motion] = own + _WAYS.get(motion, ())
    return _phrases(table)


def understands(prompt: str) -> Understanding:
    """Reads a prompt against the model's world.

    A plain rule-based reading, used to warn a buyer: the model itself reads the text
    through MiniLM and may know more than this does. Never raises.
    """
    text = re.sub(r"[^a-z|\s]", " ", prompt.lower().replace(",", " | "))
    text = re.sub(r"\s+", " ", text).strip()
    known: dict[str, str] = {}
    value, text = _take(text, _motion_pairs())
    if value:
        known["motion"] = value
    value, text = _take_background(text)
    if value:
        known["background"] = value
    tables: tuple[tuple[str, list[tuple[str, str]]], ...] = (
        ("shape", _phrases(SHAPE_WORDS)),
        ("colour", _phrases(COLOUR_WORDS)),
        ("size", _phrases(SIZE_WORDS)),
    )
    for attribute, pairs in tables:
        value, text = _take(text, pairs)
        if value:
            known[attribute] = value
    words = (w for w in re.findall(r"[a-z]+", text) if w not in _FILLER)
    return Understanding(known, tuple(dict.fromkeys(words)))

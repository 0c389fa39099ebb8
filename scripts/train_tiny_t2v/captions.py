"""Writes captions for scenes in many wordings, so that a buyer's own wording works too."""

from __future__ import annotations

import random

from reelmesh.node.stages.tiny_t2v.world import (
    BACKGROUND_WORDS,
    COLOUR_WORDS,
    PLACE_PHRASES,
    SHAPE_WORDS,
    SIZE_WORDS,
    Scene,
    motion_phrases,
)

#: How often a caption leaves the attribute out; the model then has to choose. Only a big
#: object may go without its size, so an object of no named size is big.
_OMIT = {"size": 0.25, "colour": 0.06, "motion": 0.06, "background": 0.12}

_FULL = (
    "{a} {ing} {on}",
    "{a} {on} {ing}",
    "{a} {does} {on}",
    "{a} that {does} {on}",
    "{on}, {a} {does}",
    "{on} {a} is {ing}",
    "{a} is {ing} {on}",
    "{a}, {ing}, {bg}",
    "{a} {ing}, {bg}",
    "{bg}, {a} {ing}",
    "{bg} with {a} {ing}",
    "there is {a} {on}, {ing}",
    "{a} {on}, it is {ing}",
    "{ing} {on}, {a}",
    "{a}: it {does}. {bg}.",
    "{a} {on} which {does}",
)
_PREFIX = (
    "", "", "", "", "", "", "a video of ", "video of ", "an animation of ", "a clip of ",
    "show me ", "please make ", "a short movie of ", "i want ", "a simple scene: ",
)  # fmt: skip
_SUFFIX = ("", "", "", "", "", ".", ".", " please", ", 4k", ", smooth animation", ", high quality")
_ADVERB = ("", "", "", "", "", "", " smoothly", " gently", " steadily")


def canonical(scene: Scene) -> str:
    """The plain caption, the one the held-out list is scored with."""
    ing = motion_phrases()[scene.motion][0][0]
    ground = BACKGROUND_WORDS[scene.background][0]
    return f"a {scene.size} {scene.colour} {scene.shape} {ing} over a {ground} background"


def _article(noun: str, rng: random.Random) -> str:
    lead = rng.random()
    if lead < 0.12:
        return noun
    if lead < 0.2:
        return f"the {noun}"
    if lead < 0.25:
        return f"one {noun}"
    return f"{'an' if noun[0] in 'aeio' else 'a'} {noun}"


def _pick(words: tuple[str, ...], rng: random.Random) -> str:
    return words[0] if rng.random() < 0.4 else rng.choice(words)


def _object(scene: Scene, drop: set[str], rng: random.Random) -> str:
    size = "" if "size" in drop else _pick(SIZE_WORDS[scene.size], rng)
    colour = "" if "colour" in drop else _pick(COLOUR_WORDS[scene.colour], rng)
    shape = _pick(SHAPE_WORDS[scene.shape], rng)
    if scene.shape != "ring" and rng.random() < 0.05:
        shape = f"{scene.shape} shape"
    if colour and rng.random() < 0.04:
        colour = rng.choice(("shiny ", "pretty ", "solid ")) + colour
    style = rng.random()
    if size and colour and style < 0.1:
        return _article(f"{colour} {shape}, {size},", rng)
    if size and style < 0.16:
        return _article(f"{colour} {size} {shape}".strip(), rng)
    if colour and style < 0.2:
        return _article(f"{size} {shape} which is {colour}".strip(), rng)
    if colour and style < 0.24:
        return _article(f"{size} {colour} colored {shape}".strip(), rng)
    return _article(" ".join(w for w in (size, colour, shape) if w), rng)


def _ground(scene: Scene, rng: random.Random) -> tuple[str, str]:
    """(place phrase such as 'on a black background', noun phrase 'black background')."""
    if scene.background in PLACE_PHRASES and rng.random() < 0.12:
        place = rng.choice(PLACE_PHRASES[scene.background])
        return place, place
    word = _pick(BACKGROUND_WORDS[scene.background], rng)
    noun = rng.choice(("background", "background", "background", "backdrop", "screen"))
    lead = rng.choice(("on", "on", "over", "over", "against", "in front of", "across"))
    if rng.random() < 0.2:
        return f"on {word}", f"{word} {noun}"
    if rng.random() < 0.1:
        return f"with {word} {noun}", f"the {noun} is {word}"
    if rng.random() < 0.12:
        return f"{lead} a background that is {word}", f"{noun}: {word}"
    article = rng.choice(("a", "a", "the", "a plain", "a solid"))
    return f"{lead} {article} {word} {noun}", f"{word} {noun}"


def caption(scene: Scene, rng: random.Random) -> tuple[str, set[str]]:
    """One wording of a scene, and the attributes that it leaves out."""
    if rng.random() < 0.1:
        return canonical(scene), set()
    drop = {attribute for attribute, often in _OMIT.items() if rng.random() < often}
    if scene.size != "big":
        drop.discard("size")
    what = _object(scene, drop, rng)
    ing, does = ("", "") if "motion" in drop else rng.choice(motion_phrases()[scene.motion])
    if ing and rng.random() < 0.3:
        adverb = rng.choice(_ADVERB)
        ing, does = ing + adverb, does + adverb
    on, bg = ("", "") if "background" in drop else _ground(scene, rng)
    if ing and on:
        body = rng.choice(_FULL).format(a=what, ing=ing, does=does, on=on, bg=bg)
    elif ing:
        body = rng.choice(("{a} {ing}", "{a} {does}", "{a} that {does}", "{a} is {ing}")).format(
            a=what, ing=ing, does=does
        )
    else:
        body = rng.choice((f"{what} {on}", f"{what}, {bg}")) if on else what
    text = rng.choice(_PREFIX) + body + rng.choice(_SUFFIX)
    return text.replace(",,", ",").replace(" ,", ","), drop

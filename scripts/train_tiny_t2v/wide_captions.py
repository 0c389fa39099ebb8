"""Captions for the wider world, in many wordings, and hand-written ones kept out of training."""

from __future__ import annotations

import random

from reelmesh.node.stages.tiny_t2v.wide import (
    CAMERA_WORDS,
    COLLIDE_WORDS,
    PLACES,
    RELATION_WORDS,
    SPEED_WORDS,
    WideScene,
)
from reelmesh.node.stages.tiny_t2v.world import (
    BACKGROUND_WORDS,
    COLOUR_WORDS,
    SHAPE_WORDS,
    SIZE_WORDS,
    Scene,
    motion_phrases,
)

from .captions import _SUFFIX, _article, _ground, _pick

_OPPOSITE = {"above": "below", "below": "above", "left-of": "right-of", "right-of": "left-of"}


def canonical_wide(scene: WideScene) -> str:
    """The plain caption, the one the held-out list is scored with."""
    ground = f"{BACKGROUND_WORDS[scene.background][0]} background"
    if scene.relation != "none":
        text = (f"a {scene.colour} {scene.shape} {RELATION_WORDS[scene.relation][0]} "
                f"a {scene.second_colour} {scene.second_shape} on a {ground}")  # fmt: skip
        if scene.event != "none":
            text += f", {COLLIDE_WORDS[0]}"
    else:
        ing = motion_phrases()[scene.motion][0][0]
        pace = f" {SPEED_WORDS[scene.speed][0]}" if scene.speed != "normal" else ""
        text = f"a {scene.size} {scene.colour} {scene.shape} {ing}{pace} over a {ground}"
    if scene.camera != "fixed":
        text += f", {CAMERA_WORDS[scene.camera][0]}"
    return text


def _thing(colour: str, shape: str, rng: random.Random) -> str:
    what = f"{_pick(COLOUR_WORDS[colour], rng)} {_pick(SHAPE_WORDS[shape], rng)}"
    if rng.random() < 0.06:
        what = f"{_pick(SHAPE_WORDS[shape], rng)} that is {_pick(COLOUR_WORDS[colour], rng)}"
    return _article(what, rng)


def _two(scene: WideScene, rng: random.Random) -> str:
    one = _thing(scene.colour, scene.shape, rng)
    two = _thing(scene.second_colour, scene.second_shape, rng)
    words, style = RELATION_WORDS[scene.relation], rng.random()
    if style < 0.5:
        return f"{one} {rng.choice(('', '', 'is '))}{_pick(words, rng)} {two}"
    if style < 0.7:
        return f"{two} {_pick(RELATION_WORDS[_OPPOSITE[scene.relation]], rng)} {one}"
    here, there = PLACES[scene.relation]
    if style < 0.85:
        return f"{one} {here} and {two} {there}"
    if style < 0.93:
        return f"{_pick(words, rng)} {two} is {one}"
    return f"{here} {one}, {there} {two}"


def caption_wide(scene: WideScene, rng: random.Random) -> str:
    """One wording of a scene; a background is left out now and then."""
    if rng.random() < 0.2:
        return canonical_wide(scene)
    on, bg = _ground(Scene("big", "red", "circle", "still", scene.background), rng)
    if scene.relation != "none":
        body = _two(scene, rng)
        if scene.event != "none":
            body += rng.choice((", ", " and ", ": ")) + rng.choice(COLLIDE_WORDS)
    else:
        size = _pick(SIZE_WORDS[scene.size], rng) + " "
        thing = _thing(scene.colour, scene.shape, rng)
        lead, _, rest = thing.partition(" ")
        what = f"{lead} {size}{rest}" if lead in ("a", "an", "the", "one") else size + thing
        ing, does = rng.choice(motion_phrases()[scene.motion])
        pace = f" {_pick(SPEED_WORDS[scene.speed], rng)}" if scene.speed != "normal" else ""
        body = f"{what} {rng.choice((ing, ing, does))}{pace}"
    camera = _pick(CAMERA_WORDS[scene.camera], rng) if scene.camera != "fixed" else ""
    where = rng.random()
    if where < 0.55:
        body = f"{body} {on}"
    elif where < 0.75:
        body = f"{on}, {body}"
    elif where < 0.92:
        body = f"{body}, {bg}"
    if camera:
        body = rng.choice((f"{body}, {camera}", f"{camera}: {body}", f"{body}. {camera}"))
    return (body + rng.choice(_SUFFIX)).replace(",,", ",")


def _pair(
    colour: str,
    shape: str,
    relation: str,
    second_colour: str,
    second_shape: str,
    background: str,
    camera: str = "fixed",
    event: str = "none",
) -> WideScene:
    return WideScene(colour, shape, background, camera=camera, second_colour=second_colour,
                     second_shape=second_shape, relation=relation, event=event)  # fmt: skip


#: Free wordings, written by hand, never trained on, with the scene that they ask for.
FREE_WIDE: tuple[tuple[str, WideScene], ...] = (
    ("there's a crimson ball hovering over a blue box, black backdrop",
     _pair("red", "circle", "above", "blue", "square", "black")),
    ("underneath a yellow star sits a green heart, everything on white",
     _pair("green", "heart", "below", "yellow", "star", "white")),
    ("on navy: a white triangle, and to its left an orange ring",
     _pair("orange", "ring", "left-of", "white", "triangle", "blue")),
    ("pink diamond to the right, brown cross to the left, gray background",
     _pair("pink", "diamond", "right-of", "brown", "cross", "gray")),
    ("a turquoise donut beneath a scarlet plus sign on a white screen",
     _pair("cyan", "ring", "below", "red", "cross", "white")),
    ("the purple cube is higher than the golden disc, in the night sky",
     _pair("purple", "square", "above", "yellow", "circle", "black")),
    ("a grey heart next to a red star, the heart being on the left, dark green background",
     _pair("gray", "heart", "left-of", "red", "star", "green")),
    ("against a light blue sky, a black square stands right of a pink triangle",
     _pair("black", "square", "right-of", "pink", "triangle", "sky")),
    ("a lime green hoop above a violet rhombus over peach",
     _pair("green", "ring", "above", "purple", "diamond", "orange")),
    ("white star on top, blue circle at the bottom, dark red background",
     _pair("white", "star", "above", "blue", "circle", "red")),
    ("a yellow box and a red ball smash into one another, the box comes from the left, on black",
     _pair("yellow", "square", "left-of", "red", "circle", "black", event="collide")),
    ("green ball left of an orange cube; they knock together and rebound, white background",
     _pair("green", "circle", "left-of", "orange", "square", "white", event="collide")),
    ("a blue heart drops onto a yellow ring and both bounce apart, dark purple background",
     _pair("blue", "heart", "above", "yellow", "ring", "purple", event="collide")),
    ("camera panning to the right over a red square left of a white diamond, brown background",
     _pair("red", "square", "left-of", "white", "diamond", "brown", camera="pan-right")),
    ("we zoom in on a pink circle above a green triangle, black background",
     _pair("pink", "circle", "above", "green", "triangle", "black", camera="zoom-in")),
    ("zoom out from an orange star below a blue cross on pale yellow",
     _pair("orange", "star", "below", "blue", "cross", "yellow", camera="zoom-out")),
    ("a little red ball creeps slowly to the right on a white backdrop",
     WideScene("red", "circle", "white", "small", "right", "slow")),
    ("tiny yellow star darting upward really fast, black background",
     WideScene("yellow", "star", "black", "small", "up", "fast")),
    ("big blue ring circling rapidly on white",
     WideScene("blue", "ring", "white", "big", "orbit", "fast")),
    ("a large green square drifts left at a slow speed over gray",
     WideScene("green", "square", "gray", "big", "left", "slow")),
    ("quickly bouncing small orange ball on a dark blue background",
     WideScene("orange", "circle", "blue", "small", "bounce", "fast")),
    ("small cyan diamond, motionless, while the camera pans to the left, black background",
     WideScene("cyan", "diamond", "black", camera="pan-left")),
    ("the camera zooms in on a small white heart that does not move, dark red backdrop",
     WideScene("white", "heart", "red", camera="zoom-in")),
    ("slow zoom out, a small purple cross stays put on a pale pink background",
     WideScene("purple", "cross", "pink", camera="zoom-out")),
)  # fmt: skip

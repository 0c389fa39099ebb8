"""Two objects, cameras, speeds and collisions: worded, drawn, and read back from pixels."""

from __future__ import annotations

import random

import pytest
import torch

from reelmesh.node.stages.tiny_t2v.wide import (
    CAMERAS,
    RELATIONS,
    WideScene,
    draw_scene,
    understands,
)
from reelmesh.node.stages.tiny_t2v.world import all_scenes
from scripts.train_tiny_t2v.captions import caption
from scripts.train_tiny_t2v.probe import Probe
from scripts.train_tiny_t2v.wide_captions import FREE_WIDE, canonical_wide, caption_wide
from scripts.train_tiny_t2v.wide_probe import WideProbe
from scripts.train_tiny_t2v.wide_render import jitters, objects, render_wide, rows
from scripts.train_tiny_t2v.wide_scores import hits, shares


@pytest.fixture(scope="module")
def probe() -> WideProbe:
    return WideProbe(Probe.shipped())


def test_the_probe_reads_drawn_clips(probe: WideProbe) -> None:
    rng, generator = random.Random(8), torch.Generator().manual_seed(8)
    scenes = [draw_scene(rng, held_out=True) for _ in range(24)]
    table = rows(scenes, generator)
    clips = render_wide(table, jitters(len(scenes), generator))
    assert shares(hits(probe, clips, table))["all"] >= 0.97
    backwards = shares(hits(probe, clips.flip(3), table))  # upside down, the relations turn round
    assert backwards["relation"] < 0.9


def test_a_relation_holds_between_the_two_that_are_named(probe: WideProbe) -> None:
    scene = WideScene("red", "circle", "black", second_colour="blue", second_shape="square",
                      relation="above")  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    table = rows([scene], generator)
    read = probe.read_pairs(render_wide(table, jitters(1, generator)))
    assert read["colours"][0].sort().values.tolist() == [0, 2]
    red = (read["colours"] == 0).long().argmax(1)
    assert RELATIONS[int(probe.relation(read["centres"], red))] == "above"
    assert RELATIONS[int(probe.relation(read["centres"], 1 - red))] == "below"


def test_colliding_objects_meet_once(probe: WideProbe) -> None:
    scene = WideScene("red", "circle", "white", second_colour="blue", second_shape="heart",
                      relation="left-of", event="collide")  # fmt: skip
    table = rows([scene], torch.Generator().manual_seed(1))
    first, second = objects(table, torch.zeros(1, 6))
    gap = (second[0, :, 0] - first[0, :, 0]).tolist()
    assert gap.index(min(gap)) in (6, 7, 8, 9)
    clips = render_wide(table, torch.zeros(1, 6))
    assert bool(probe.read_pairs(clips)["collides"])
    apart = clips[:, :1].expand(-1, 16, -1, -1, -1)
    assert not bool(probe.read_pairs(apart)["collides"])


def test_one_scene_in_sixteen_is_held_out() -> None:
    rng = random.Random(2)
    assert all(draw_scene(rng, held_out=True).held_out() for _ in range(20))
    drawn = [draw_scene(rng) for _ in range(20)]
    assert not any(s.held_out() for s in drawn)


def test_the_prompt_check_knows_the_wider_world() -> None:
    rng = random.Random(5)
    for _ in range(150):
        scene = draw_scene(rng)
        got = understands(caption_wide(scene, rng))
        assert got.warning() is None, scene
        assert ("second_shape" in got.known) == (scene.relation != "none")
        assert got.known.get("camera", "fixed") == scene.camera
    known = understands("a red ball above a blue square, zoom in").known
    assert (known["relation"], known["camera"]) == ("above", "zoom-in")
    assert known["camera"] in CAMERAS


def test_the_prompt_check_still_knows_the_first_world() -> None:
    rng, scenes = random.Random(6), all_scenes()
    for _ in range(150):
        assert understands(caption(rng.choice(scenes), rng)[0]).warning() is None


@pytest.mark.parametrize("prompt", ["two red balls", "a ball above a dog", "", "日本語"])
def test_what_is_beyond_is_told(prompt: str) -> None:
    assert understands(prompt).warning() is not None


def test_free_wordings_are_not_captions_of_training() -> None:
    assert not {p for p, _ in FREE_WIDE} & {canonical_wide(s) for _, s in FREE_WIDE}

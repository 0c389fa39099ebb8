"""What the prompt check recognises, and what it must not."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import asdict

import pytest

from reelmesh.node.stages.tiny_t2v.world import all_scenes, understands
from scripts.train_tiny_t2v.captions import canonical, caption


def test_reads_every_attribute_of_a_plain_prompt() -> None:
    got = understands("a small green square moving up over a black background")
    assert got.known == {
        "size": "small",
        "colour": "green",
        "shape": "square",
        "motion": "up",
        "background": "black",
    }
    assert got.unknown == ()
    assert got.missing == ()
    assert got.warning() is None


def test_object_and_background_colours_are_not_confused() -> None:
    one = understands("a red ball on a blue background").known
    two = understands("a blue ball on a red background").known
    assert (one["colour"], one["background"]) == ("red", "blue")
    assert (two["colour"], two["background"]) == ("blue", "red")


def test_names_what_the_model_cannot_draw() -> None:
    got = understands("a cat walking on grass")
    assert got.known["background"] == "green"
    assert {"cat", "walking"} <= set(got.unknown)
    assert "cat" in (got.warning() or "")
    assert "circle" in (got.warning() or "")


@pytest.mark.parametrize("prompt", ["", "   ", "!!!", "日本語", "a" * 5000, "\x00\n"])
def test_never_raises(prompt: str) -> None:
    assert understands(prompt).known == {}


def test_reads_the_captions_that_training_used() -> None:
    rng, scenes = random.Random(4), all_scenes()
    for _ in range(400):
        scene = rng.choice(scenes)
        text, dropped = caption(scene, rng)
        want = {k: v for k, v in asdict(scene).items() if k not in dropped}
        got = understands(text)
        assert (got.known, got.unknown) == (want, ()), text


def test_one_scene_in_sixteen_is_held_out() -> None:
    scenes = all_scenes()
    held = sum(s.held_out() for s in scenes)
    assert 0.05 < held / len(scenes) < 0.075
    assert len({canonical(s) for s in scenes}) == len(scenes)


def test_the_prompt_check_needs_no_torch() -> None:
    code = (
        "import sys, reelmesh.node.stages.tiny_t2v as t; t.understands('a ball');"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

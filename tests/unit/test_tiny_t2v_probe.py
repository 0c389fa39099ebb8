"""The probe reads drawn clips right, and flawed ones as flawed."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from reelmesh.node.stages.tiny_t2v.world import MOTIONS, Scene, all_scenes
from scripts.train_tiny_t2v.probe import Probe, count_components
from scripts.train_tiny_t2v.render import random_offsets, render, scene_indices
from scripts.train_tiny_t2v.scores import score


@pytest.fixture(scope="module")
def probe() -> Probe:
    return Probe.shipped()


def _draw(scenes: list[Scene]) -> tuple[Tensor, Tensor]:
    index = scene_indices(scenes)
    clips, _ = render(index, random_offsets(index, torch.Generator().manual_seed(3)))
    return clips, index


def test_reads_drawn_clips(probe: Probe) -> None:
    clips, index = _draw(random.Random(6).sample(all_scenes(), 24))
    assert all(share >= 0.95 for share in score(probe.read(clips), index).values())


def test_a_reversed_clip_is_read_as_the_opposite_way(probe: Probe) -> None:
    clips, _ = _draw([Scene("big", "red", "circle", "left", "white")])
    assert MOTIONS[int(probe.read(clips.flip(1))["motion"])] == "right"


def test_a_second_object_or_a_missing_one_is_seen(probe: Probe) -> None:
    clips, _ = _draw([Scene("small", "red", "circle", "still", "white")] * 2)
    clips[0, 7, :, 2:8, 40:46] = 0
    clips[1, 5] = clips[1, 5, :, :1, :1]
    assert probe.read(clips)["one_object"].tolist() == [False, False]


def test_components_touching_at_a_corner_are_one() -> None:
    mask = torch.zeros(2, 12, 12, dtype=torch.bool)
    mask[:, 1:4, 1:4] = True
    mask[0, 4:7, 4:7] = True
    mask[1, 5:8, 5:8] = True
    assert count_components(mask).tolist() == [1, 2]

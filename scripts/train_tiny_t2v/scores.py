"""Turns what the probe reads into shares of right answers."""

from __future__ import annotations

import torch
from torch import Tensor

from reelmesh.node.stages.tiny_t2v.world import (
    BACKGROUNDS,
    COLOURS,
    DIRECTIONS,
    MOTIONS,
    SHAPES,
    SIZES,
)

TABLES: dict[str, tuple[str, ...]] = {
    "size": SIZES,
    "colour": tuple(COLOURS),
    "shape": SHAPES,
    "motion": MOTIONS,
    "background": tuple(BACKGROUNDS),
}


def _share(hits: Tensor) -> float:
    return round(float(hits.float().mean()), 4)


def score(read: dict[str, Tensor], scenes: Tensor) -> dict[str, float]:
    """Shares of clips that are read as their scene.

    `motion` counts all motions; `direction` the clips that move in one of the eight
    directions; `one_object` a single piece in every frame.
    """
    out = {name: _share(read[name] == scenes[:, i]) for i, name in enumerate(TABLES)}
    straight = scenes[:, 3] < len(DIRECTIONS)
    out["direction"] = _share((read["motion"] == scenes[:, 3])[straight])
    out["one_object"] = _share(read["one_object"])
    return out


def score_partial(read: dict[str, Tensor], wanted: list[dict[str, str]]) -> dict[str, float]:
    """Like `score`, on the attributes each prompt names; `all` is over all of them."""
    hits: dict[str, list[bool]] = {name: [] for name in TABLES}
    for i, want in enumerate(wanted):
        for name, value in want.items():
            hits[name].append(TABLES[name][int(read[name][i])] == value)
    out = {name: _share(torch.tensor(h)) for name, h in hits.items()}
    out["all"] = _share(torch.tensor([h for each in hits.values() for h in each]))
    out["one_object"] = _share(read["one_object"])
    return out

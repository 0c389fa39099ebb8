"""Shares of right answers in the wider world."""

from __future__ import annotations

import torch
from torch import Tensor

from reelmesh.node.stages.tiny_t2v.wide import EVENTS

from .wide_probe import WideProbe
from .wide_render import COLUMNS

_AT = {name: i for i, name in enumerate(COLUMNS)}
#: What is scored; an object of a pair counts by itself, found by its colour.
ATTRIBUTES = ("background", "colour", "shape", "relation", "collision", "camera", "motion", "speed")


def hits(probe: WideProbe, clips: Tensor, rows: Tensor) -> dict[str, list[bool]]:
    """Right or wrong, one entry per question that a scene asks.

    Args:
        clips: uint8 [B, 16, 3, 64, 64].
        rows: int64 [B, 12], from `wide_render.rows`.
    """
    out: dict[str, list[bool]] = {name: [] for name in ATTRIBUTES}
    pair = rows[:, _AT["relation"]] > 0
    if pair.any():
        _pairs(probe, clips[pair], rows[pair], out)
    if (~pair).any():
        _singles(probe, clips[~pair], rows[~pair], out)
    return out


def _pairs(probe: WideProbe, clips: Tensor, r: Tensor, out: dict[str, list[bool]]) -> None:
    read, seen, place = probe.read_pairs(clips), [], []
    for colour, shape in (("colour", "shape"), ("second_colour", "second_shape")):
        match = read["colours"] == r[:, _AT[colour], None]
        at = match.long().argmax(1)
        right = read["shapes"].gather(1, at[:, None])[:, 0] == r[:, _AT[shape]]
        seen.append(match.any(1))
        place.append(at)
        out["colour"] += match.any(1).tolist()
        out["shape"] += (right & match.any(1)).tolist()
    both, hit = seen[0] & seen[1], r[:, _AT["event"]] == EVENTS.index("collide")
    relation = probe.relation(read["centres"], place[0]) == r[:, _AT["relation"]]
    out["relation"] += (relation & both).tolist()
    out["background"] += (read["background"] == r[:, _AT["background"]]).tolist()
    out["collision"] += (read["collides"] == hit).tolist()
    out["camera"] += (read["camera"] == r[:, _AT["camera"]])[~hit].tolist()


def _singles(probe: WideProbe, clips: Tensor, r: Tensor, out: dict[str, list[bool]]) -> None:
    read = probe.read_singles(clips)
    for name in ("background", "colour", "shape"):
        out[name] += (read[name] == r[:, _AT[name]]).tolist()
    still = r[:, _AT["camera"]] == 0
    out["camera"] += (read["camera"] == r[:, _AT["camera"]])[~still].tolist()
    for name in ("motion", "speed"):
        out[name] += (read[name] == r[:, _AT[name]])[still].tolist()


def shares(found: dict[str, list[bool]]) -> dict[str, float]:
    """Means of `hits`; `all` is over every question."""
    out = {k: round(float(torch.tensor(v, dtype=torch.float32).mean()), 4)
           for k, v in found.items() if v}  # fmt: skip
    every = [hit for v in found.values() for hit in v]
    return out | {"all": round(sum(every) / max(1, len(every)), 4)}

"""Says when a prompt is taken for another, and what it costs: python scripts/eval_reuse.py [--json]

Held-out scenes of one thing, and of the wider world, are each put in words twice: the plain
caption, as an earlier job's prompt, and another full wording, as a later one's. Then one attribute
is changed, in the plain caption and in the other wording. Printed: for how many rewordings the
later job would take the earlier one's clip, for how many changes (none should be), and how many of
these the words alone, and the distance alone, would take. Last, for rewordings that are taken, what
the probe reads in the clip that is taken, against the later prompt's scene, beside a clip made for
that prompt from the same seed. Exits 1 where a change is taken, or the taken clips read worse by
more than 0.02.

`docs/quality/reuse.md` was written from the default seed; the threshold was set on other scenes.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from reelmesh.node.stages import tiny_t2v
from reelmesh.node.stages.tiny_t2v.likeness import WITHIN, ask_for_the_same
from reelmesh.node.stages.tiny_t2v.plain import Array, PromptReader, distance
from reelmesh.node.stages.tiny_t2v.wide import (
    CAMERAS,
    EVENTS,
    PACED,
    RELATIONS,
    SPEEDS,
    WideScene,
    draw_scene,
)
from reelmesh.node.stages.tiny_t2v.world import (
    BACKGROUNDS,
    COLOURS,
    MOTIONS,
    SHAPES,
    SIZES,
    Scene,
    all_scenes,
)
from scripts.train_tiny_t2v.captions import canonical, caption
from scripts.train_tiny_t2v.probe import Probe
from scripts.train_tiny_t2v.render import scene_indices
from scripts.train_tiny_t2v.scores import TABLES, score
from scripts.train_tiny_t2v.wide_captions import canonical_wide, caption_wide
from scripts.train_tiny_t2v.wide_probe import WideProbe
from scripts.train_tiny_t2v.wide_render import rows
from scripts.train_tiny_t2v.wide_scores import hits, shares

SEED = 2027
TOLERANCE = 0.02
"""The most that a taken clip may read worse than one made for the prompt, over all questions."""

_VALUES: dict[str, tuple[str, ...]] = {
    "size": SIZES,
    "colour": tuple(COLOURS),
    "shape": SHAPES,
    "motion": MOTIONS,
    "background": tuple(BACKGROUNDS),
    "speed": SPEEDS,
    "camera": CAMERAS,
    "second_colour": tuple(COLOURS),
    "second_shape": SHAPES,
    "relation": RELATIONS[1:],
    "event": EVENTS,
}
_ASKED = ("size", "colour", "shape", "motion", "background")
_ASKED_OF_ONE = (*_ASKED, "speed", "camera")
_ASKED_OF_TWO = ("colour", "shape", "background", "second_colour", "second_shape", "relation",
                 "event", "camera")  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """An earlier prompt and a later one. changed: the attribute in which they differ, or ""."""

    scene: Scene | WideScene
    earlier: str
    later: str
    changed: str = ""


class Judge:
    """Tells, as a coordinator would, whether a later prompt is taken for an earlier one."""

    def __init__(self) -> None:
        self.model: Any = tiny_t2v.load("cpu")
        self._reader = PromptReader()
        self._conditions: dict[str, Array] = {}

    def distance(self, one: str, other: str) -> float:
        """As `compare_prompts` tells it."""
        return distance(self._condition(one), self._condition(other))

    def takes(self, pair: Pair) -> bool:
        """Whether the later prompt's job takes the earlier one's clip."""
        same = ask_for_the_same(pair.later, pair.earlier)
        return same and self.distance(pair.later, pair.earlier) <= WITHIN

    def _condition(self, prompt: str) -> Array:
        if prompt not in self._conditions:
            self._conditions[prompt] = self._reader.condition(prompt)
        return self._conditions[prompt]


def simple_pairs(count: int, rng: random.Random) -> list[list[Pair]]:
    """Of each held-out scene of one thing: its rewording, then its changes."""
    held = [scene for scene in all_scenes() if scene.held_out()]
    return [
        [Pair(scene, canonical(scene), _worded(scene, rng.random())), *_changes(scene, rng)]
        for scene in rng.sample(held, count)
    ]


def wide_pairs(count: int, rng: random.Random) -> list[list[Pair]]:
    """The same for the wider world, of which two thirds show two things."""
    scenes = [draw_scene(rng, held_out=True) for _ in range(count)]
    return [
        [Pair(s, canonical_wide(s), _worded(s, rng.random())), *_changes(s, rng)] for s in scenes
    ]


def _plain(scene: Scene | WideScene) -> str:
    return canonical_wide(scene) if isinstance(scene, WideScene) else canonical(scene)


def _worded(scene: Scene | WideScene, seed: float) -> str:
    """A wording that leaves nothing out, and is not the plain one."""
    rng = random.Random(seed)
    while True:
        if isinstance(scene, WideScene):
            text = caption_wide(scene, rng)
            whole = "background" in tiny_t2v.understands(text).known
        else:
            text, dropped = caption(scene, rng)
            whole = not dropped
        if whole and text != _plain(scene):
            return text


def _changes(scene: Any, rng: random.Random) -> Iterator[Pair]:
    """Each attribute changed, in the plain caption and in one other wording."""
    pair = isinstance(scene, WideScene) and scene.relation != "none"
    wide = isinstance(scene, WideScene)
    for name in _ASKED_OF_TWO if pair else _ASKED_OF_ONE if wide else _ASKED:
        values = PACED if name == "motion" and wide else _VALUES[name]
        others = [value for value in values if value != getattr(scene, name)]
        if name == "motion" and wide and scene.motion == "still":
            continue
        yield from _both(scene, replace(scene, **{name: rng.choice(others)}), name, rng)
    if pair:
        colours = {"colour": scene.second_colour, "second_colour": scene.colour}
        shapes = {"shape": scene.second_shape, "second_shape": scene.shape}
        yield from _both(scene, replace(scene, **colours), "colours exchanged", rng)
        if scene.shape != scene.second_shape:
            yield from _both(scene, replace(scene, **shapes), "shapes exchanged", rng)
        yield from _both(scene, replace(scene, **colours, **shapes), "places exchanged", rng)


def _both(scene: Any, other: Any, name: str, rng: random.Random) -> Iterator[Pair]:
    yield Pair(scene, _plain(other), _plain(scene), name)
    seed = rng.random()
    yield Pair(scene, _worded(other, seed), _worded(scene, seed), name)


def judge_pairs(judge: Judge, groups: list[list[Pair]]) -> dict[str, Any]:
    """Shares and counts over the pairs of many scenes."""
    again = [pair for group in groups for pair in group if not pair.changed]
    other = [pair for group in groups for pair in group if pair.changed]
    taken = [pair for pair in again if judge.takes(pair)]
    passed = [pair for pair in other if ask_for_the_same(pair.later, pair.earlier)]
    wrong = [pair for pair in other if judge.takes(pair)]
    far = sorted(judge.distance(pair.later, pair.earlier) for pair in other)
    same = sorted(judge.distance(pair.later, pair.earlier) for pair in again)
    return {
        "rewordings": len(again),
        "taken": len(taken),
        "share_taken": round(len(taken) / len(again), 3),
        "changes": len(other),
        "changes_taken": len(wrong),
        "changes_near_by_distance_alone": sum(distance <= WITHIN for distance in far),
        "changes_passed_by_words_alone": len(passed),
        "rewordings_at": _quantiles(same),
        "changes_at": _quantiles(far),
        "wrong": [[pair.earlier, pair.later] for pair in wrong],
    }


def _quantiles(values: list[float]) -> list[float]:
    """The least, a tenth, the half, nine tenths, the most."""
    last = len(values) - 1
    return [values[round(part * last)] for part in (0, 0.1, 0.5, 0.9, 1)]


def clips(judge: Judge, prompts: list[str]) -> Tensor:
    """One clip per prompt, seeds 0, 1, 2…, uint8 [N, 16, 3, 64, 64]."""
    from scripts.eval_tiny_t2v import generate

    return generate(judge.model, prompts, tiny_t2v.STEPS, tiny_t2v.GUIDANCE)


def read_simple(made: Tensor, scenes: list[Any]) -> dict[str, float]:
    """What the probe reads right in clips of one thing; `all` is over every attribute."""
    found = score(Probe.shipped().read(made), scene_indices(scenes))
    found["all"] = round(sum(found[name] for name in TABLES) / len(TABLES), 4)
    return found


def read_wide(made: Tensor, scenes: list[Any]) -> dict[str, float]:
    """The same for the wider world."""
    table = rows(scenes, torch.Generator().manual_seed(SEED))
    return shares(hits(WideProbe(Probe.shipped()), made, table))


def score_taken(
    judge: Judge,
    groups: list[list[Pair]],
    count: int,
    read: Callable[[Tensor, list[Any]], dict[str, float]],
) -> dict[str, Any]:
    """Clips that are taken, and clips made for the later prompt, read against its scene."""
    again = [pair for group in groups for pair in group if not pair.changed and judge.takes(pair)]
    again = again[:count]
    scenes = [pair.scene for pair in again]
    taken = read(clips(judge, [pair.earlier for pair in again]), scenes)
    fresh = read(clips(judge, [pair.later for pair in again]), scenes)
    return {
        "clips": len(again),
        "taken": taken,
        "fresh": fresh,
        "lost": round(fresh["all"] - taken["all"], 4),
    }


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Both worlds."""
    torch.set_num_threads(1)
    judge, rng = Judge(), random.Random(args.seed)
    told: dict[str, Any] = {"seed": args.seed, "within": WITHIN, "missed": []}
    for name, pairs, read in (
        ("simple", simple_pairs, read_simple),
        ("wide", wide_pairs, read_wide),
    ):
        groups = pairs(args.scenes, rng)
        told[name] = judge_pairs(judge, groups)
        if told[name]["changes_taken"]:
            told["missed"].append(f"{name}_changes_taken")
        if args.clips and told[name]["taken"]:
            told[name]["score"] = score_taken(judge, groups, args.clips, read)
            if told[name]["score"]["lost"] > TOLERANCE:
                told["missed"].append(f"{name}_score")
    return told


def show(told: dict[str, Any]) -> None:
    """Prints the result."""
    print(f"seed {told['seed']}, taken at a distance of at most {told['within']}")
    for name in ("simple", "wide"):
        found = told[name]
        print(f"{name}: {found['taken']} of {found['rewordings']} rewordings taken, "
              f"{found['changes_taken']} of {found['changes']} changes; of these the words alone "
              f"would take {found['changes_passed_by_words_alone']}, the distance alone "
              f"{found['changes_near_by_distance_alone']}")  # fmt: skip
        for what in ("rewordings", "changes"):
            quantiles = " ".join(f"{value:.2f}" for value in found[f"{what}_at"])
            print(f"  {what} at a distance of (0 10 50 90 100%) {quantiles}")
        for earlier, later in found["wrong"]:
            print(f"  wrong: {earlier!r} for {later!r}")
        if "score" in found:
            read = found["score"]
            print(f"  {read['clips']} clips   {'taken':>8}{'fresh':>8}")
            for attribute, value in read["taken"].items():
                print(f"  {attribute:<12}{value:>8.3f}{read['fresh'][attribute]:>8.3f}")
    print("missed: " + (", ".join(told["missed"]) or "nothing"))


def main() -> int:
    """Returns the exit status: 0 where nothing is taken that should not be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=100, help="of each world")
    parser.add_argument("--clips", type=int, default=32, help="of each world; 0 leaves scores out")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    told = evaluate(args)
    if args.json:
        print(json.dumps(told, indent=2))
    else:
        show(told)
    return 1 if told["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())

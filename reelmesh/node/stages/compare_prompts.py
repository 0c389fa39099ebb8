"""How far apart prompts are to the embedded model, in a process of its own.

    echo '{"prompt": "…", "others": ["…"]}' | python -m reelmesh.node.stages.compare_prompts

writes `{"distances": [0.31]}`. A command, so that a coordinator, which has no torch in it, can ask.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Sequence

CPU_S = 60


def distances(prompt: str, others: Sequence[str]) -> list[float]:
    """The distance of each from the prompt, three decimals.

    What is compared is the condition that the denoiser reads, [8, 256]: the length of the
    difference by the mean length of the two. 0 is the same condition, and so the same clip.
    """
    from . import tiny_t2v

    model = tiny_t2v.load("cpu")
    mine = model.condition(tiny_t2v.text_features(prompt)).flatten()
    found = []
    for other in others:
        theirs = model.condition(tiny_t2v.text_features(other)).flatten()
        length = (mine.norm() * theirs.norm()).sqrt()
        found.append(round(float((mine - theirs).norm() / length), 3))
    return found


def main() -> int:
    from reelmesh.errors import ReelmeshError

    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
    asked = json.load(sys.stdin)
    told: dict[str, object]
    try:
        told = {"distances": distances(asked["prompt"], asked["others"])}
    except ReelmeshError as error:
        told = {"error": error.message, "hint": error.hint}
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""How far apart prompts are to the embedded model, in a process of its own.

    echo '{"prompt": "…", "others": ["…"]}' | python -m reelmesh.node.stages.compare_prompts

writes `{"distances": [0.31]}`. A command, so that a coordinator does not go on holding the model.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Sequence

CPU_S = 60


def distances(prompt: str, others: Sequence[str]) -> list[float]:
    """The distance of each from the prompt, as the denoiser reads them: see `plain.distance`."""
    from .tiny_t2v.plain import PromptReader, distance

    reader = PromptReader()
    mine = reader.condition(prompt)
    return [distance(mine, reader.condition(other)) for other in others]


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

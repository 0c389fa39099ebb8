"""What a video file is, as one JSON object: `python -m reelmesh.node.stages.probe_footage FILE`.

A command of its own, so that a buyer's command line looks into a file in a process that is held
in memory and time, and dies alone.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

MEMORY = 3 << 30
CPU_S = 20


def probe(path: Path) -> dict[str, Any]:
    """Size as seen, seconds, pictures a second, sound, and what would be done to the pictures.

    Raises:
        StageFailed: "bad_input".
    """
    from .developing import Developer, turn_of
    from .footage import open_footage
    from .footage_header import bad_footage

    with open_footage(path) as reel:
        shown = next(reel.pictures(0.0, 0.0), None)
        if shown is None:
            raise bad_footage("there is no picture in it")
        shape = float(reel.stream.sample_aspect_ratio or 1)
        wide, high = max(1, round(shown.frame.width * shape)), shown.frame.height
        if turn_of(shown.frame)[0]:
            wide, high = high, wide
        developer = Developer(64, 64, "cover", shape)
        developer.picture(shown.frame)
        return {
            "width": wide,
            "height": high,
            "seconds": round(max(reel.duration, shown.until), 3),
            "fps": round(reel.rate, 3),
            "audio": reel.audio,
            "notes": list(developer.notes),
        }


def main() -> int:
    from .base import StageFailed

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
    try:
        told = probe(Path(sys.argv[1]))
    except StageFailed as error:
        told = {"error": error.message, "hint": error.hint}
    except MemoryError:
        told = {"error": "the video cannot be used: looking at it takes too much memory"}
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

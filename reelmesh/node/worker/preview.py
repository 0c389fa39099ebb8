"""A process of its own that makes one preview: python -m reelmesh.node.worker.preview IN OUT PARAMS

Frames that came from others are decoded here and not in the node. It imports no torch, so that it
starts quickly, and it may take neither much memory nor long.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

from reelmesh.node.stages.base import StageFailed
from reelmesh.scheduler.stages.preview import PreviewParams

from .errors import RunTimedOut

_LIMIT_S = 60.0
_MORE_MB = 400
_NICE = 10


async def make_preview(frames: Path, path: Path, params: PreviewParams) -> None:
    """Write a preview in a process of its own. Raises StageFailed, RunTimedOut."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, str(frames), str(path), params.model_dump_json()),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(_LIMIT_S):
            _, told = await process.communicate()
    except TimeoutError:
        raise RunTimedOut(f"the preview was stopped after {_LIMIT_S:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        words = told.decode(errors="replace").strip().splitlines()
        raise StageFailed("bad_input", words[-1][:200] if words else "no preview could be made")


def main() -> int:
    """Returns the exit status; what is wrong goes to standard error as one line."""
    from reelmesh.node.stages.preview import write_preview

    from .memory import held_to

    frames, path, params = sys.argv[1:]
    os.nice(_NICE)
    with held_to(_MORE_MB):
        try:
            write_preview(Path(frames), Path(path), PreviewParams.model_validate_json(params))
        except (StageFailed, MemoryError, OSError) as error:
            print(str(error) or type(error).__name__, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

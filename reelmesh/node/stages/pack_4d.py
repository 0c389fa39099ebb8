"""pack_4d: a video, and a second one inside its file that only the viewer page looks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reelmesh.node.layered import box_header

from .assemble import CONTAINER
from .base import ModelFree, StageContext, bad_input
from .media import MAX_FRAMES, MediaLimits, open_media


class Pack4d(ModelFree):
    """Inputs `video` and `layers`, output `video`: the first, with the second in a box at the end.

    Players skip boxes that they do not know, so the file plays as `video` does, bit for bit.
    """

    name = "pack_4d"
    version = 1

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Packs. Raises StageFailed ("bad_input")."""
        for path in inputs.values():
            with open_media(path, CONTAINER, MediaLimits(MAX_FRAMES)) as media:
                duration = (media.duration or 0) / 1e6
            if duration > params.seconds + 1:
                raise bad_input(f"{path.name} lasts {duration:.1f} s, not {params.seconds}")
        layers = inputs["layers"].read_bytes()
        out = ctx.workdir / "video.mp4"
        out.write_bytes(inputs["video"].read_bytes() + box_header(len(layers)) + layers)
        ctx.step(out.read_bytes())
        ctx.progress(1.0)
        return {"video": out}

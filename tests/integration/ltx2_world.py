"""LTX-2 on tiny random weights for its tests: a home that has it, stages by name, films."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from production_world import Runs
from safetensors.torch import save_file

from reelmesh.node.cli.app import outcome
from reelmesh.node.models.shelf import Shelf
from reelmesh.node.stages.frames import write_frames
from tests.tiny_models import make_ltx2

MODEL = {"model": "ltx-2"}
CLIP = {**MODEL, "width": 64, "height": 64, "frames": 17}
LARGE = {**CLIP, "width": 128, "height": 128}
LOOP = {**CLIP, "seed": 7, "steps": 4, "guidance": 4.0}
SEEN = {**CLIP, "count": 17, "fps": 24, "total": 17}


def make_home(root: Path) -> Path:
    """A home with the model, imported as a person would: whole, or not at all."""
    folder = make_ltx2(root / "given")
    distilled = folder / "ltx-2-19b-distilled-lora-384.safetensors"
    aside = distilled.rename(root / "aside")
    pull = ["model", "pull", "ltx-2", "--from", str(folder), "--home", str(root)]
    assert outcome(pull) != 0
    aside.rename(distilled)
    stale = "diffusion_pytorch_model-00001-of-00001.safetensors"
    save_file({"a": torch.zeros(1)}, folder / "text_encoder" / stale)
    assert outcome(pull) == 0
    files = {one.path for one in Shelf(root / "models").get("ltx-2").manifest.files}
    assert f"text_encoder/{stale}" not in files
    assert distilled.name in files
    return root


class LtxRuns(Runs):
    """Runs LTX-2's stages."""

    def __init__(self, home: Path, where: Path, device: Any) -> None:
        super().__init__(home, where, device, "ltx-2")

    def looked_at(self, shade: int = 1) -> dict[str, Path]:
        """The clip of a film, encoded: "clip"."""
        film = self.where / f"film-{shade}.mkv"
        write_frames(film, pictures(shade))
        return {"clip": self("encode_frames", SEEN, {"frames": film})[0]}


def pictures(shade: int, count: int = 17, size: tuple[int, int] = (64, 64)) -> Any:
    """uint8 [count, height, width, 3]: a bar that goes through noise."""
    drawn = np.random.default_rng(shade).integers(0, 256, (count, *size[::-1], 3), dtype=np.uint8)
    for number in range(count):
        drawn[number, :, 2 * number : 2 * number + 8] = 255 - 40 * shade
    return drawn

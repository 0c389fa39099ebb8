"""upscale: frames → larger frames, by Real-ESRGAN."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .base import NO_MODEL, StageContext, bad_input, model_id, one_thread_opencv
from .detail import Detailer
from .enlarge import arithmetic, enlarge
from .frames import FrameWriter, Pictures, read_frames
from .media import MAX_FRAMES, MediaLimits
from .realesrgan import RealEsrgan, load_network, weights_hash
from .tensors import tensor_bytes

# A fixed batch: its size changes the bits of a result. Large batches gain nothing on a CPU.
BATCH = 2


class Upscale:
    """Pictures [start, stop) of `frames`, each enlarged to width x height.

    The trajectory holds one digest for every BATCH pictures; with `sparse` one a picture, of its
    pixels and of the boxes that were computed.
    """

    name = "upscale"
    version = 1

    def __init__(self) -> None:
        self.model_hash = NO_MODEL
        self._network: RealEsrgan | None = None

    def load(self, device: torch.device) -> None:
        """Makes the network resident. Raises BadWeights."""
        if self._network is None:
            dtype = arithmetic(device)
            self._network = load_network(device, dtype)
            self.model_hash = model_id(weights_hash(), str(dtype))

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Enlarges. Raises StageFailed ("bad_input"), StageCancelled."""
        if self._network is None:
            raise RuntimeError("load() was not called")
        start, stop = params.start, params.stop
        source = read_frames(inputs["frames"], MediaLimits(MAX_FRAMES), start, stop)
        if source.shape[1] > params.height or source.shape[2] > params.width:
            raise bad_input(f"pictures of {source.shape[2]}x{source.shape[1]} are too large")
        path = ctx.workdir / "frames.mkv"
        with FrameWriter(path, params.width, params.height) as writer:
            make = self._sparsely if params.sparse else self._densely
            make(self._network, source, params, ctx, writer)
        ctx.progress(1.0)
        return {"frames": path}

    @staticmethod
    def _densely(
        network: RealEsrgan, source: Pictures, params: Any, ctx: StageContext, writer: FrameWriter
    ) -> None:
        pictures = torch.from_numpy(source)
        for at in range(0, len(pictures), BATCH):
            _tell(ctx, at, params)
            batch = enlarge(network, pictures[at : at + BATCH], params.height, params.width)
            ctx.step(tensor_bytes(batch))
            for picture in batch.numpy():
                writer.write(picture)

    @staticmethod
    def _sparsely(
        network: RealEsrgan, source: Pictures, params: Any, ctx: StageContext, writer: FrameWriter
    ) -> None:
        detailer = Detailer(network)
        with one_thread_opencv():
            for at, picture in enumerate(source):
                _tell(ctx, at, params)
                large, boxes = detailer.enlarge(picture, params.height, params.width)
                ctx.step(large.tobytes() + np.array(boxes, "<i4").tobytes())
                writer.write(large)


def _tell(ctx: StageContext, at: int, params: Any) -> None:
    start, stop = params.start, params.stop
    ctx.progress(at / (stop - start), f"frame {start + at + 1} of {start + 1}..{stop}")

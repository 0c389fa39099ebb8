"""skeleton: a range of denoising steps of the text-to-video model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from . import tiny_t2v
from .base import StageContext, StageFailed, bad_input
from .encode_text import FEATURES_SPEC
from .tensors import read_tensors, tensor_bytes, write_tensors
from .tiny_stage import TinyModelStage


class Skeleton(TinyModelStage):
    """Euler steps [start, stop) of `steps`: features (and the latent before) → latent.

    With start = 0 the latent is noise from the seed; otherwise it is the `latent` input.
    The trajectory holds one digest a step, of the latent after it.
    """

    name = "skeleton"
    version = 2

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Denoises. Raises StageFailed ("bad_input", "bad_params"), StageCancelled."""
        features = read_tensors(inputs["features"], FEATURES_SPEC)["features"]
        if (params.start > 0) != ("latent" in inputs):
            raise bad_input("a latent is given exactly when the range starts after step 0")
        if params.start > 0:
            z = read_tensors(inputs["latent"], self.latent_spec())["latent"]
        else:
            z = self.model.init_latent(params.seed)
        z = self._denoise(z, self.model.condition(features), params, ctx, self._first(inputs))
        ctx.progress(1.0)
        return {"latent": write_tensors(ctx.workdir / "latent.safetensors", {"latent": z})}

    def _first(self, inputs: Mapping[str, Path]) -> Tensor | None:  # noqa: ARG002
        """The picture that the clip has to begin with: none here."""
        return None

    def _denoise(
        self, z: Tensor, cond: Tensor, params: Any, ctx: StageContext, first: Tensor | None
    ) -> Tensor:
        total = params.stop - params.start

        def on_step(number: int, latent: Tensor) -> None:
            ctx.step(tensor_bytes(latent))
            done = number + 1 - params.start
            ctx.progress(done / total, f"step {number + 1} of {params.steps}")

        try:
            return self.model.denoise(
                z,
                cond,
                params.start,
                params.stop,
                params.steps,
                params.guidance,
                guided=params.guided,
                first_frame=first,
                on_step=on_step,
                cancelled=ctx.cancelled,
            )
        except tiny_t2v.DenoiseRefused as error:
            raise StageFailed("bad_params", error.message, error.hint) from error
        except tiny_t2v.Cancelled:
            ctx.check()
            raise

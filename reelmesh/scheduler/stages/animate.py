"""animate: token features and a first picture → the clip's latent, some Euler steps at a time."""

from __future__ import annotations

from collections.abc import Mapping

from reelmesh.scheduler.stages.entry import StageEntry
from reelmesh.scheduler.stages.skeleton import SkeletonParams, step_units


class AnimateParams(SkeletonParams):
    """As `skeleton`: steps [start, stop) of a loop of `steps`."""


def _inputs(params: AnimateParams) -> Mapping[str, str]:
    first = {"features": "features", "frames": "frames"}
    return first if params.start == 0 else {**first, "latent": "latent"}


ENTRY = StageEntry(
    name="animate",
    version=2,
    summary="denoise a short, small clip that begins with a picture (tiny_t2v)",
    inputs={"features": "features", "frames": "frames"},
    optional_inputs={"latent": "latent"},
    inputs_of=_inputs,
    outputs={"latent": "latent"},
    params=AnimateParams,
    unit="step",
    units=step_units,
    memory_mb=lambda _: 700,
    bytes_out=lambda _: 64 * 1024,
    model="tiny_t2v",
    load_s=0.5,
)

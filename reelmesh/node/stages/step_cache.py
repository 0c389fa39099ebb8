"""Step caches of diffusers: on a step that hardly differs, most of the network is not run again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from diffusers.hooks import FirstBlockCacheConfig, MagCacheConfig

from .mag_ratios import ratios_of

THRESHOLD = 0.1
"""first_block: relative change of the first block's output below which the others are not run."""
MAG_THRESHOLD = 0.12
"""mag: error, added up over the steps skipped, up to which they are; as published for Wan 1.3B."""
_MAG_MOST, _MAG_KEPT = 4, 0.2
"""mag: steps skipped at a stretch at most; share of the loop at its start that is never skipped."""


@contextmanager
def step_cache(network: Any, params: Any) -> Iterator[Callable[[], bytes]]:
    """Runs `network` with a step cache while the context lasts; it begins with nothing kept.

    Args:
        params: a denoise range's: `cache` is "off", "first_block" or "mag".

    Yields:
        A function that tells, since it was last called, for each pass of the network whether it
        was whole (b"\\1") or skipped (b"\\0"); b"" with the cache off, where all are whole.
    """
    if params.cache == "off":
        yield lambda: b""
        return
    first_block = params.cache == "first_block"
    network.enable_cache(
        FirstBlockCacheConfig(threshold=THRESHOLD) if first_block else _mag(params)
    )
    passes: list[int] = []
    handles = [
        network.register_forward_pre_hook(lambda *_: passes.append(0)),
        # Where the cache skips, the last block's own attention is not reached.
        network.blocks[-1].attn1.register_forward_pre_hook(lambda *_: _mark(passes)),
    ]

    def told() -> bytes:
        found = bytes(passes)
        passes.clear()
        return found

    try:
        yield told
    finally:
        for handle in handles:
            handle.remove()
        network.disable_cache()


def _mag(params: Any) -> MagCacheConfig:
    """MagCache counts steps from where it is put on, so a range is given its own ratios."""
    count = params.stop - params.start
    kept = max(0, round(_MAG_KEPT * params.steps) - params.start)
    return MagCacheConfig(
        threshold=MAG_THRESHOLD,
        max_skip_steps=_MAG_MOST,
        retention_ratio=kept / count,
        num_inference_steps=count,
        mag_ratios=list(ratios_of(params.model, params.steps)[params.start : params.stop]),
    )


def _mark(passes: list[int]) -> None:
    passes[-1] = 1

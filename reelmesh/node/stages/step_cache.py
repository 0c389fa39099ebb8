"""Step caches of diffusers: on a step that hardly differs, most of the network is not run again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from diffusers.hooks import FirstBlockCacheConfig

THRESHOLD = 0.1
"""Relative change of the first block's output below which the other blocks are not run."""


@contextmanager
def step_cache(network: Any, kind: str) -> Iterator[Callable[[], bytes]]:
    """Runs `network` with a step cache while the context lasts; it begins with nothing kept.

    Args:
        kind: "off" or "first_block".

    Yields:
        A function that tells, since it was last called, for each pass of the network whether it
        was whole (b"\\1") or skipped (b"\\0"); b"" with the cache off, where all are whole.
    """
    if kind == "off":
        yield lambda: b""
        return
    network.enable_cache(FirstBlockCacheConfig(threshold=THRESHOLD))
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


def _mark(passes: list[int]) -> None:
    passes[-1] = 1

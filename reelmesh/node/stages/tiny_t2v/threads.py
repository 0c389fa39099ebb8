"""Keeps small computations to one CPU thread, so that a machine's thread count changes no bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Runs the body on one intra-op thread and restores the setting.

    Small matrix products and 1x1 convolutions are split along the sum when several threads
    share them, which was seen to change the last bits; the denoiser's products were not.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

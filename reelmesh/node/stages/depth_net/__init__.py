"""The embedded depth network: one picture → disparity, from what single pictures tell.

    network = load_network(torch.device("cpu"))
    disparity = network(pictures)   # [N, 3, H, W] in 0..1 → [N, H, W], nearer is larger

A U-Net of 1.3 million parameters, trained on procedural scenes (`scripts/train_depth`) on a CPU. It
knows ground, walls, sky, things that stand before them and figures; see docs/quality/fourd.md.
"""

from __future__ import annotations

from .network import DepthNet
from .weights import WeightsDamaged, load_network, weights_hash

__all__ = ["DepthNet", "WeightsDamaged", "load_network", "weights_hash"]

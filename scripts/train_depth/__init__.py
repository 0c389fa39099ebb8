"""Training the embedded depth network on procedural scenes: python -m scripts.train_depth."""

from __future__ import annotations

"""reelmesh: a node for an open market in video generation."""

from __future__ import annotations

__version__ = "0.1.0"

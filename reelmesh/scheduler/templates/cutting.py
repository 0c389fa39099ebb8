"""Cutting a timeline into chunks."""

from __future__ import annotations

CHUNK_FRAMES = 12
"""Half a second at 24 frames a second."""


def cuts(total: int, most: int) -> list[int]:
    """Boundaries 0..total of the fewest chunks of at most `most`, of sizes that differ by one."""
    count = -(-total // most)
    return [total * i // count for i in range(count + 1)]

"""The viewer page: a video of four quarters, and a person's hand on the camera."""

from __future__ import annotations

from .page import write_page

__all__ = ["write_page"]

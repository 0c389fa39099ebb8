"""Decisions, pure: no socket, no clock, no torch; time, randomness and prices come as arguments."""

from __future__ import annotations

"""Finds the coordinator that a command means, and starts it where that can be done."""

from __future__ import annotations

from pathlib import Path

from reelmesh.node.cli.control import NodeNotRunning
from reelmesh.node.cli.home import Home, running_node


def find_coordinator(home: Home, named: Path | None = None) -> Path:
    """Return the home folder of a coordinator that runs. Raises NodeNotRunning.

    `named` is meant alone if given; else the buyer's own is taken, then the local market's.
    """
    candidates = [named] if named else [home.coordinator, home.devnet / "coordinator"]
    for folder in candidates:
        if running_node(folder) is not None:
            return folder.expanduser().absolute()
    raise NodeNotRunning(
        f"no coordinator runs in {candidates[0]}",
        "start one: reelmesh coordinator run, or a local market: reelmesh devnet up",
    )

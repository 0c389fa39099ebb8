"""The `reelmesh` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line; returns by SystemExit."""
    from reelmesh.node.cli.app import run

    run()

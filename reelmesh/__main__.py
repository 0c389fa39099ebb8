"""`python -m reelmesh` is the same as the `reelmesh` command."""

from __future__ import annotations

from reelmesh.node.cli import main

if __name__ == "__main__":
    main()

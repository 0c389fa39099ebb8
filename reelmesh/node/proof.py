"""Roots that an attestation carries: what went into a run, what came out, and the way between."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from reelmesh.contracts import merkle


def artifacts_root(refs: Mapping[str, str]) -> bytes:
    """Root over named artifacts, 32 bytes.

    Args:
        refs: Input or output name to the artifact's sha256 (64 lower-case hex digits). May be
            empty: a stage can run on its parameters alone.

    The leaf of one is sha256(name in UTF-8 || 0x00 || hex digits), and leaves stand sorted by name,
    so that two who know the same artifacts get the same root in whatever order they learned them.
    """
    leaves = [
        hashlib.sha256(name.encode() + b"\0" + digest.encode()).digest()
        for name, digest in sorted(refs.items())
    ]
    return _root(leaves)


def trajectory_root(digests: Sequence[bytes]) -> bytes:
    """Root over the sha256 of each intermediate state of a run, in their order; 32 bytes."""
    return _root(list(digests))


def _root(leaves: list[bytes]) -> bytes:
    return merkle.root(leaves) if leaves else bytes(32)

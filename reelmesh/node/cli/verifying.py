"""Checks a receipt offline and, where a chain is at hand, against it."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from reelmesh.errors import UserError

if TYPE_CHECKING:
    from reelmesh.node.receipt.verify import Check


async def verify_file(data: bytes, rpc: str | None, chain_state: Path | None) -> list[Check]:
    """Return every check of a receipt's bytes.

    Args:
        rpc: Chain to check against.
        chain_state: A local chain's saved state instead; it is loaded into a chain of its own.
    """
    from reelmesh.contracts.chain import connect, disconnect
    from reelmesh.node.receipt.verify import verify, verify_chain

    report = verify(data)
    checks = list(report.checks)
    if rpc is None and chain_state is None:
        return checks
    async with _chain(rpc, chain_state) as url:
        w3 = await connect(url, None)
        try:
            told = await verify_chain(data, w3)
        finally:
            await disconnect(w3)
    asked = {check.name for check in told.checks}
    return [c for c in checks if c.name not in asked or c.ok is False] + list(told.checks)


def check_video(data: bytes, video: Path | None) -> Check:
    """Compare a video file with the digest that a receipt names."""
    from reelmesh.node.receipt.verify import Check

    name = "video.file"
    if video is None:
        return Check(name, None, "not checked: no file lies beside the receipt; give --video FILE")
    try:
        named = str(json.loads(data)["video"]["sha256"])
    except (ValueError, KeyError, TypeError):
        return Check(name, None, "not checked: the receipt names no video")
    with video.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found == named:
        return Check(name, True, f"{video.name} is the video of this receipt")
    return Check(name, False, f"{video.name} is not the video of this receipt: its sha256 differs")


@asynccontextmanager
async def _chain(rpc: str | None, chain_state: Path | None) -> AsyncIterator[str]:
    if rpc is not None or chain_state is None:
        yield str(rpc)
        return
    from reelmesh.contracts.anvil import Anvil

    if not chain_state.is_file():
        raise UserError(f"there is no chain state at {chain_state}", "pass the demo's saved state")
    with tempfile.TemporaryDirectory(prefix="reelmesh-chain-") as folder:
        copy = (
            Path(folder) / "state.json"
        )  # the chain writes to its state file: never to the user's
        shutil.copy(chain_state, copy)
        anvil = Anvil()
        await anvil.start(state_file=copy)
        try:
            yield anvil.rpc_url
        finally:
            await anvil.stop()

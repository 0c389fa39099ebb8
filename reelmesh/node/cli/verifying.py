"""Checks a receipt offline and, where a chain is at hand, against it."""

from __future__ import annotations

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

"""Checking a receipt: everything is computed again, offline; then, where there is one, on chain.

`verify` needs the file's bytes alone. It never trusts a hash, a root, a sum or a signature that it
can compute, and it says of each thing that only the chain knows that it was not checked.
"""

from __future__ import annotations

from collections.abc import Iterator

from reelmesh.contracts.chain import Web3Client
from reelmesh.errors import ReelmeshError
from reelmesh.node.receipt import money, onchain, origin, work
from reelmesh.node.receipt.reading import read
from reelmesh.node.receipt.report import Check, Report

__all__ = ["Check", "Report", "verify", "verify_chain"]


def verify(data: bytes) -> Report:
    """Check a receipt's bytes offline. Never raises for what the file holds."""
    checks, document, receipt = read(data)
    if document is not None:
        checks += _guarded("sections", origin.check_sections(document))
    if document is not None and receipt is not None:
        for name, part in (
            ("origin", origin.check(document, receipt)),
            ("work", work.check(receipt)),
            ("money", money.check(receipt)),
        ):
            checks += _guarded(name, part)
    checks += onchain.not_checked()
    return Report(tuple(checks))


async def verify_chain(data: bytes, w3: Web3Client) -> Report:
    """Check what only the chain can say. Raises ChainError where it cannot be asked."""
    _, _, receipt = read(data)
    if receipt is None:
        reason = "the receipt cannot be read, so that there is nothing to look up"
        return Report(tuple(Check(name, None, reason) for name in onchain.NAMES))
    return Report(tuple(await onchain.check(receipt, w3)))


def _guarded(name: str, checks: Iterator[Check]) -> list[Check]:
    """Run some checks; content that cannot even be computed with is wrong, not a crash."""
    found: list[Check] = []
    try:
        found.extend(checks)
    except (ReelmeshError, ValueError, KeyError, TypeError, ArithmeticError) as error:
        found.append(Check(name, False, f"the content cannot be checked: {_line(error)}"))
    return found


def _line(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text[:200]

"""From a file's bytes to a receipt whose form is right; what is wrong is told as a check."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from reelmesh.errors import ReelmeshError
from reelmesh.node.receipt.model import Receipt
from reelmesh.node.receipt.report import Check
from reelmesh.scheduler.canonical import canonical
from reelmesh.scheduler.strict_json import read_object

MAX_BYTES = 16 << 20


def read(data: bytes) -> tuple[list[Check], dict[str, Any] | None, Receipt | None]:
    """The first checks, and the document where they allow one to be read."""
    try:
        document: dict[str, Any] = dict(read_object(data, MAX_BYTES))
    except ValueError as error:
        return [Check("file.json", False, f"the file cannot be read: {error}")], None, None
    checks = [Check("file.json", True, "the file is one JSON object"), _canonical(data, document)]
    try:
        receipt = Receipt.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:120] or "the document"
        checks.append(Check("file.format", False, f"{where}: {first['msg']}"))
        return checks, document, None
    checks.append(Check("file.format", True, "every field is there and of its form"))
    return checks, document, receipt


def _canonical(data: bytes, document: dict[str, Any]) -> Check:
    name = "file.canonical"
    try:
        expected = canonical(document)
    except ReelmeshError as error:
        return Check(name, False, f"the content has no canonical form: {error.message}")
    if data == expected:
        return Check(name, True, "the file is the canonical form of its content, byte for byte")
    at = next(
        (i for i, pair in enumerate(zip(data, expected, strict=False)) if pair[0] != pair[1]),
        min(len(data), len(expected)),
    )
    return Check(name, False, f"the file differs from the canonical form at byte {at}")

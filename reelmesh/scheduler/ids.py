"""Names of things, and money. Plain strings and integers with types that keep them apart.

Times are `int` milliseconds since the epoch and their names end in `_ms`; durations in seconds
end in `_s`. Money is `Wei`, an `int`, never a float.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, NewType

from eth_utils.address import is_checksum_address, to_checksum_address
from pydantic import Field

from reelmesh.errors import PeerError

JobId = NewType("JobId", str)
"""\"0x\" and 64 lower-case hex digits."""
SubtaskId = NewType("SubtaskId", str)
"""Unique in its plan, e.g. "upscale-3"."""
NodeAddress = NewType("NodeAddress", str)
"""The EIP-55 form of a node key's Ethereum address."""
ArtifactId = NewType("ArtifactId", str)
"""The sha256 of an artifact's bytes: 64 lower-case hex digits, no prefix."""
Wei = NewType("Wei", int)

MAX_WEI = 2**128 - 1
"""The most that the Market contract holds in one account or budget."""
WEI_PER_ETHER = 10**18

SUBTASK_ID_PATTERN = r"^[a-z][a-z0-9_]{0,39}(-[0-9]{1,5})?$"
DIGEST_PATTERN = r"^[0-9a-f]{64}$"

SubtaskIdField = Annotated[SubtaskId, Field(pattern=SUBTASK_ID_PATTERN)]
DigestField = Annotated[ArtifactId, Field(pattern=DIGEST_PATTERN)]
WeiField = Annotated[Wei, Field(ge=0, le=MAX_WEI, strict=True)]


class InvalidId(PeerError):
    """A name that a peer sent does not have the form that it must have."""


def job_id(text: str) -> JobId:
    """Check a job's id. Raises `InvalidId`."""
    if not re.fullmatch(r"0x[0-9a-f]{64}", text):
        raise InvalidId("A job id is 0x and 64 lower-case hex digits", "copy it from `job list`")
    return JobId(text)


def subtask_id(text: str) -> SubtaskId:
    """Check a subtask's id. Raises `InvalidId`."""
    if not re.fullmatch(SUBTASK_ID_PATTERN, text):
        raise InvalidId("A subtask id is a stage's name, or that, a dash and a number")
    return SubtaskId(text)


def artifact_id(text: str) -> ArtifactId:
    """Check an artifact's id. Raises `InvalidId`."""
    if not re.fullmatch(DIGEST_PATTERN, text):
        raise InvalidId("An artifact id is 64 lower-case hex digits")
    return ArtifactId(text)


def node_address(value: str | bytes) -> NodeAddress:
    """The EIP-55 form of an address given as 20 bytes or as 0x-hex. Raises `InvalidId`.

    Mixed-case text must carry the right EIP-55 checksum: a mistyped address is not another node.
    """
    if isinstance(value, bytes):
        if len(value) != 20:
            raise InvalidId("A node address is 20 bytes")
        return NodeAddress(to_checksum_address(value))
    if not re.fullmatch(r"0x[0-9a-fA-F]{40}", value):
        raise InvalidId("A node address is 0x and 40 hex digits")
    digits = value[2:]
    if digits not in (digits.lower(), digits.upper()) and not is_checksum_address(value):
        raise InvalidId("The address has a wrong EIP-55 checksum", "check it for a typing error")
    return NodeAddress(to_checksum_address(value.lower()))


def subtask_key(job: JobId, subtask: SubtaskId) -> bytes:
    """The 32 bytes that name a subtask in an attestation: sha256(job bytes || utf-8 id)."""
    return hashlib.sha256(bytes.fromhex(job_id(job)[2:]) + subtask.encode()).digest()


def ether(amount: int) -> str:
    """Wei as ether for a person, exact, without trailing zeros: 1500000000000000 → "0.0015"."""
    whole, rest = divmod(amount, WEI_PER_ETHER)
    return f"{whole}.{rest:018d}".rstrip("0").rstrip(".")

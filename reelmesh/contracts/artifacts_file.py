"""The compiled contracts that ship with the package: ABI and bytecode, made from contracts/src."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from eth_abi import decode as abi_decode  # type: ignore[attr-defined]
from eth_abi.exceptions import DecodingError
from eth_utils.crypto import keccak

CONTRACTS = ("Market", "Providers", "TestToken")


@dataclass(frozen=True)
class Artifact:
    """One compiled contract: its ABI and its creation code, 0x-hex."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: str


@lru_cache
def load(name: str) -> Artifact:
    """The artifact of one of CONTRACTS."""
    text = (resources.files(__package__) / "artifacts" / f"{name}.json").read_text()
    content = json.loads(text)
    return Artifact(name, content["abi"], content["bytecode"])


@lru_cache
def _errors() -> dict[bytes, tuple[str, list[str]]]:
    known = {
        keccak(text="Error(string)")[:4]: ("Error", ["string"]),
        keccak(text="Panic(uint256)")[:4]: ("Panic", ["uint256"]),
    }
    for name in CONTRACTS:
        for item in load(name).abi:
            if item["type"] == "error":
                kinds = [member["type"] for member in item["inputs"]]
                selector = keccak(text=f"{item['name']}({','.join(kinds)})")[:4]
                known[bytes(selector)] = (item["name"], kinds)
    return known


def decode_error(data: bytes) -> tuple[str, tuple[Any, ...]] | None:
    """Name and arguments of a custom error from revert data; None if it is none of ours."""
    entry = _errors().get(data[:4])
    if entry is None:
        return None
    try:
        return entry[0], tuple(abi_decode(entry[1], data[4:]))
    except DecodingError:
        return None

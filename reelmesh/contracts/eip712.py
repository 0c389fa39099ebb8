"""The EIP-712 types that the parties sign, and their strict signatures.

Domain: name "reelmesh", version "1", the chain's id, and the contract that reads the signature: the
market, or for `NodeBinding` the register of providers. The Solidity twin is
contracts/src/libraries/Types.sol; contracts/test/vectors/eip712.json holds both to one result.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Final, Protocol

import coincurve
from eth_abi import encode as abi_encode  # type: ignore[attr-defined]
from eth_utils.address import is_checksum_address, to_checksum_address
from eth_utils.crypto import keccak

from reelmesh.errors import PeerError

DOMAIN_NAME: Final = "reelmesh"
DOMAIN_VERSION: Final = "1"
SIGNATURE_BYTES: Final = 65
UINT128_MAX: Final = 2**128 - 1
_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_HALF_ORDER: Final = _ORDER // 2
_DOMAIN_TYPE: Final = (
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)


class BadSignature(PeerError):
    """A signature is malformed, in its second form (high s), or recovers no key."""


class BadMessage(PeerError, ValueError):
    """A field of a message to sign is out of its type's range."""


class SigningKey(Protocol):
    """A secp256k1 key that can sign; `reelmesh.node.wallet` has the one that nodes use."""

    @property
    def address(self) -> str:
        """The key's account, EIP-55 checksummed."""

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign 32 bytes; returns 65 bytes r||s||v with v in {27, 28} and low s."""


@dataclass(frozen=True)
class Domain:
    """What a signature is good for: one chain and one contract."""

    chain_id: int
    market: str

    def separator(self) -> bytes:
        """The 32-byte domain separator of EIP-712."""
        return _separator(self.chain_id, self.market)


@dataclass(frozen=True)
class Voucher:
    """A coordinator's word: `provider` has earned `amount` (smallest unit) in this job so far."""

    job_id: bytes
    provider: str
    amount: int

    TYPE: ClassVar[str] = "Voucher(bytes32 jobId,address provider,uint128 amount)"


@dataclass(frozen=True)
class Consent:
    """A provider's word: `total` (smallest unit) is my whole pay in this job."""

    job_id: bytes
    total: int

    TYPE: ClassVar[str] = "Consent(bytes32 jobId,uint128 total)"


@dataclass(frozen=True)
class NodeBinding:
    """A node key's word that `operator` may register it; `nonce` makes it good for once."""

    operator: str
    nonce: int

    TYPE: ClassVar[str] = "NodeBinding(address operator,uint256 nonce)"


@dataclass(frozen=True)
class Attestation:
    """A provider's word over what it ran and what came out.

    job_id, subtask, the roots and model_hash have 32 bytes; attempt and stage_version are uint32;
    started_at and finished_at are milliseconds since 1970.
    """

    job_id: bytes
    subtask: bytes
    attempt: int
    inputs_root: bytes
    outputs_root: bytes
    trajectory_root: bytes
    stage: str
    stage_version: int
    model_hash: bytes
    device_class: str
    started_at: int
    finished_at: int

    TYPE: ClassVar[str] = (
        "Attestation(bytes32 jobId,bytes32 subtask,uint32 attempt,bytes32 inputsRoot,"
        "bytes32 outputsRoot,bytes32 trajectoryRoot,string stage,uint32 stageVersion,"
        "bytes32 modelHash,string deviceClass,uint64 startedAt,uint64 finishedAt)"
    )


Message = Voucher | Consent | NodeBinding | Attestation


def struct_hash(message: Message) -> bytes:
    """EIP-712's hashStruct of a message, 32 bytes. Raises BadMessage for a value out of range."""
    words = [_type_hash(type(message).TYPE)]
    kinds = _member_types(type(message).TYPE)
    for kind, value in zip(kinds, vars(message).values(), strict=True):
        _check(kind, value)
        words.append(_word(kind, value))
    return keccak(b"".join(words))


def digest(domain: Domain, message: Message) -> bytes:
    """The 32 bytes that are signed for `message` (EIP-712). Raises BadMessage."""
    return keccak(b"\x19\x01" + domain.separator() + struct_hash(message))


def sign(domain: Domain, message: Message, key: SigningKey) -> bytes:
    """Sign `message`: 65 bytes r||s||v, v in {27, 28}, low s. Raises BadMessage."""
    return key.sign_digest(digest(domain, message))


def recover(domain: Domain, message: Message, signature: bytes) -> str:
    """The checksummed address that signed `message`. Raises BadSignature or BadMessage."""
    return recover_digest(digest(domain, message), signature)


def recover_digest(signed: bytes, signature: bytes) -> str:
    """The checksummed address that signed these 32 bytes. Raises BadSignature."""
    r, s, parity = _parse(signature)
    compact = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([parity])
    try:
        public = coincurve.PublicKey.from_signature_and_message(compact, signed, hasher=None)
    except Exception as error:  # coincurve raises ValueError and bare Exception alike
        raise BadSignature("the signature belongs to no key") from error
    return _checksummed(keccak(public.format(compressed=False)[1:])[12:])


def compact_form(signature: bytes) -> tuple[bytes, bytes]:
    """The signature as the contracts take it: EIP-2098's (r, vs). Raises BadSignature."""
    r, s, parity = _parse(signature)
    return r.to_bytes(32, "big"), (s | parity << 255).to_bytes(32, "big")


def _parse(signature: bytes) -> tuple[int, int, int]:
    if len(signature) != SIGNATURE_BYTES:
        raise BadSignature(f"a signature has {SIGNATURE_BYTES} bytes, not {len(signature)}")
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    if signature[64] not in (27, 28):
        raise BadSignature(f"a signature's v is 27 or 28, not {signature[64]}")
    if not 0 < s <= _HALF_ORDER:
        raise BadSignature("a signature's s must be in the lower half of the order")
    if not 0 < r < _ORDER:
        raise BadSignature("a signature's r must be below the order")
    return r, s, signature[64] - 27


def _check(kind: str, value: object) -> None:
    if kind == "bytes32":
        good = isinstance(value, bytes) and len(value) == 32
    elif kind == "address":
        good = isinstance(value, str) and _is_checksummed(value)
    elif kind == "string":
        good = isinstance(value, str) and len(value) <= 1024
    else:
        limit = 1 << int(kind.removeprefix("uint"))
        good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < limit
    if not good:
        raise BadMessage(f"a signed message holds something that is no {kind}")


def _word(kind: str, value: Any) -> bytes:
    """A checked member as EIP-712 encodes it: 32 bytes, whatever its type."""
    if kind == "bytes32":
        return bytes(value)
    if kind == "address":
        return bytes(12) + bytes.fromhex(value[2:])
    if kind == "string":
        return keccak(text=value)
    return int(value).to_bytes(32, "big")


# A voucher is signed and checked for every chunk of a result, always between the same few nodes;
# a checksum costs as much as the signature.


@lru_cache(maxsize=1024)
def _is_checksummed(address: str) -> bool:
    return bool(is_checksum_address(address))


@lru_cache(maxsize=1024)
def _checksummed(address: bytes) -> str:
    return str(to_checksum_address(address))


@lru_cache
def _member_types(encoded_type: str) -> tuple[str, ...]:
    inside = encoded_type[encoded_type.index("(") + 1 : -1]
    return tuple(member.split(" ")[0] for member in inside.split(","))


@lru_cache
def _type_hash(encoded_type: str) -> bytes:
    return bytes(keccak(text=encoded_type))


@lru_cache(maxsize=64)
def _separator(chain_id: int, market: str) -> bytes:
    _check("uint256", chain_id)
    _check("address", market)
    kinds = ["bytes32", "bytes32", "bytes32", "uint256", "address"]
    names = [keccak(text=DOMAIN_NAME), keccak(text=DOMAIN_VERSION)]
    return bytes(keccak(abi_encode(kinds, [_type_hash(_DOMAIN_TYPE), *names, chain_id, market])))

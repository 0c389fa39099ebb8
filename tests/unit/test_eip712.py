"""Signed types: one result in Solidity, in eth-account and here; signatures in one form alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from eth_account.messages import encode_typed_data
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from reelmesh.contracts import eip712
from reelmesh.contracts.eip712 import (
    Attestation,
    BadMessage,
    BadSignature,
    Consent,
    Domain,
    Message,
    NodeBinding,
    Voucher,
)
from reelmesh.contracts.keys import LocalKey

ROOT = Path(__file__).parents[2] / "contracts"
VECTORS: dict[str, Any] = json.loads((ROOT / "test/vectors/eip712.json").read_text())
DOMAIN = Domain(VECTORS["domain"]["chainId"], VECTORS["domain"]["verifyingContract"])
KEY = LocalKey(int(VECTORS["key"]).to_bytes(32, "big"))
KINDS: dict[str, type[Message]] = {
    "voucher": Voucher,
    "consent": Consent,
    "nodeBinding": NodeBinding,
    "attestation": Attestation,
}
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

words = st.binary(min_size=32, max_size=32)
addresses = st.binary(min_size=20, max_size=20).map(lambda raw: str(to_checksum_address(raw)))
uint128 = st.integers(0, 2**128 - 1)
domains = st.builds(Domain, st.integers(1, 2**64), addresses)


def members(kind: type[Message]) -> list[tuple[str, str]]:
    """(type, name) of every member."""
    inside = re.fullmatch(r"\w+\((.*)\)", kind.TYPE)
    assert inside is not None
    return [(m.split(" ")[0], m.split(" ")[1]) for m in inside[1].split(",")]


def vector(name: str) -> tuple[Message, bytes, bytes]:
    entry = VECTORS[name]
    values: list[Any] = []
    for kind, member in members(KINDS[name]):
        raw = entry["message"][member]
        if kind == "bytes32":
            values.append(bytes.fromhex(raw[2:]))
        else:
            values.append(int(raw) if kind.startswith("uint") else raw)
    digest, signature = (bytes.fromhex(entry[part][2:]) for part in ("digest", "signature"))
    return KINDS[name](*values), digest, signature


@pytest.mark.parametrize("name", KINDS)
def test_vectors_shared_with_solidity(name: str) -> None:
    message, digest, signature = vector(name)
    assert eip712.digest(DOMAIN, message) == digest
    assert eip712.sign(DOMAIN, message, KEY) == signature
    assert eip712.recover(DOMAIN, message, signature) == VECTORS["signer"] == KEY.address


def test_separator_is_the_vectors() -> None:
    assert "0x" + DOMAIN.separator().hex() == VECTORS["separator"]


@pytest.mark.parametrize("kind", KINDS.values())
def test_types_are_written_as_in_solidity(kind: type[Message]) -> None:
    assert f'"{kind.TYPE}"' in (ROOT / "src/libraries/Types.sol").read_text()


@given(domains, st.builds(Voucher, words, addresses, uint128))
def test_voucher_digest_agrees_with_eth_account(domain: Domain, message: Voucher) -> None:
    values = {"jobId": message.job_id, "provider": message.provider, "amount": message.amount}
    assert eip712.digest(domain, message) == _by_eth_account(domain, Voucher, values)


@given(domains, words, st.text(max_size=40), st.text(max_size=40), st.integers(0, 2**32 - 1))
def test_attestation_digest_agrees_with_eth_account(
    domain: Domain, word: bytes, stage: str, device: str, number: int
) -> None:
    rest = (word, word, word, stage, number, word, device, number, number)
    message = Attestation(word, word, number, *rest)
    names = [member for _, member in members(Attestation)]
    values = dict(zip(names, vars(message).values(), strict=True))
    assert eip712.digest(domain, message) == _by_eth_account(domain, Attestation, values)


def _by_eth_account(domain: Domain, kind: type[Message], values: dict[str, Any]) -> bytes:
    types = [{"name": name, "type": solidity} for solidity, name in members(kind)]
    fields = {
        "name": "reelmesh",
        "version": "1",
        "chainId": domain.chain_id,
        "verifyingContract": domain.market,
    }
    encoded = encode_typed_data(fields, {kind.__name__: types}, values)
    return bytes(keccak(b"\x19\x01" + encoded.header + encoded.body))


@given(domains, st.builds(Consent, words, uint128), st.binary(min_size=32, max_size=32))
def test_signing_and_recovering(domain: Domain, message: Consent, secret: bytes) -> None:
    if not 0 < int.from_bytes(secret, "big") < ORDER:
        return
    key = LocalKey(secret)
    signature = eip712.sign(domain, message, key)
    assert len(signature) == 65
    assert signature[64] in (27, 28)
    assert int.from_bytes(signature[32:64], "big") <= ORDER // 2
    assert eip712.recover(domain, message, signature) == key.address


def test_another_job_amount_market_or_chain_recovers_another() -> None:
    message, _, signature = vector("consent")
    assert isinstance(message, Consent)
    others: list[tuple[Domain, Message]] = [
        (Domain(DOMAIN.chain_id + 1, DOMAIN.market), message),
        (Domain(DOMAIN.chain_id, KEY.address), message),
        (DOMAIN, Consent(bytes(32), message.total)),
        (DOMAIN, Consent(message.job_id, message.total + 1)),
        (DOMAIN, Voucher(message.job_id, KEY.address, message.total)),
    ]
    for domain, other in others:
        assert eip712.recover(domain, other, signature) != KEY.address


def _altered(signature: bytes) -> dict[str, bytes]:
    r, s, v = signature[:32], int.from_bytes(signature[32:64], "big"), signature[64]
    other_v = bytes([55 - v])
    return {
        "short": signature[:64],
        "long": signature + b"\0",
        "empty": b"",
        "v of 0": signature[:64] + b"\0",
        "v of 1": signature[:64] + b"\1",
        "v of 29": signature[:64] + b"\x1d",
        "high s": r + (ORDER - s).to_bytes(32, "big") + other_v,
        "zero r": bytes(32) + signature[32:],
        "zero s": r + bytes(32) + bytes([v]),
        "r above the order": b"\xff" * 32 + signature[32:],
    }


@pytest.mark.parametrize("how", _altered(bytes(65)))
def test_malformed_signatures_are_refused(how: str) -> None:
    message, _, signature = vector("voucher")
    with pytest.raises(BadSignature):
        eip712.recover(DOMAIN, message, _altered(signature)[how])
    with pytest.raises(BadSignature):
        eip712.compact_form(_altered(signature)[how])


def test_compact_form_is_eip_2098() -> None:
    # The specification's own two examples.
    r = "68a020a209d3d56c46f38cc50a33f704f4a9a10a59377f8dd762ac66910e9b90"
    s = "7e865ad05c4035ab5792787d4a0297a43617ae897930a6fe4d822b8faea52064"
    assert eip712.compact_form(bytes.fromhex(r + s) + bytes([27])) == (
        bytes.fromhex(r),
        bytes.fromhex(s),
    )
    r = "9328da16089fcba9bececa81663203989f2df5fe1faa6291a45381c81bd17f76"
    s = "139c6d6b623b42da56557e5e734a43dc83345ddfadec52cbe24d0cc64f550793"
    assert eip712.compact_form(bytes.fromhex(r + s) + bytes([28])) == (
        bytes.fromhex(r),
        bytes.fromhex("9" + s[1:]),
    )


@pytest.mark.parametrize(
    "message",
    [
        Voucher(bytes(31), KEY.address, 1),
        Voucher(bytes(32), KEY.address.lower(), 1),
        Voucher(bytes(32), KEY.address, -1),
        Voucher(bytes(32), KEY.address, 2**128),
        Voucher(bytes(32), KEY.address, True),
        Consent(bytes(33), 1),
        NodeBinding("", 1),
        NodeBinding(KEY.address, 2**256),
    ],
)
def test_values_out_of_range_are_refused(message: Message) -> None:
    with pytest.raises(BadMessage):
        eip712.digest(DOMAIN, message)


def test_a_key_never_shows_its_secret() -> None:
    assert KEY.export_secret().hex() not in repr(KEY)
    with pytest.raises(TypeError):
        KEY.__reduce__()

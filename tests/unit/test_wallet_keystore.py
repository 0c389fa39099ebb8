"""Keystore: encrypted, atomic, never overwritten, every fault a plain line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from eth_account import Account as EthAccount

from reelmesh.node.wallet.keys import NodeKey
from reelmesh.node.wallet.keystore import (
    AccountExists,
    BadAccountName,
    BadKeystoreFile,
    Keystore,
    KeystoreUnwritable,
    NoSuchAccount,
    WrongPassword,
)

N = 2**10
PASSWORD = "correct horse"


@pytest.fixture
def store(tmp_path: Path) -> Keystore:
    return Keystore(tmp_path / "keys")


def test_create_list_unlock(store: Keystore) -> None:
    assert store.list() == []
    buyer = store.create("buyer", PASSWORD, scrypt_n=N)
    alice = store.create("alice", PASSWORD, scrypt_n=N)
    assert [a.name for a in store.list()] == ["alice", "buyer"]
    assert store.unlock("buyer", PASSWORD).address == buyer.address
    assert store.unlock(alice.address.lower(), PASSWORD).address == alice.address


def test_files_are_private_and_no_temporary_stays(store: Keystore) -> None:
    path = store.create("buyer", PASSWORD, scrypt_n=N).path
    assert path.stat().st_mode & 0o777 == 0o600
    assert store.folder.stat().st_mode & 0o777 == 0o700
    assert [p.name for p in store.folder.iterdir()] == ["buyer.json"]


def test_file_is_a_standard_v3_keystore(store: Keystore) -> None:
    key = NodeKey.generate()
    path = store.add("buyer", key, PASSWORD, scrypt_n=N).path
    document = json.loads(path.read_text())
    assert document["version"] == 3
    assert document["crypto"]["kdf"] == "scrypt"
    assert document["crypto"]["kdfparams"]["n"] == N
    assert bytes(EthAccount.decrypt(document, PASSWORD)) == key.export_secret()
    assert key.export_secret().hex() not in path.read_text()


def test_foreign_pbkdf2_file_opens(store: Keystore) -> None:
    key = NodeKey.generate()
    document = EthAccount.encrypt(key.export_secret(), PASSWORD, kdf="pbkdf2", iterations=1000)
    store.folder.mkdir()
    (store.folder / "other.json").write_text(json.dumps(document))
    assert store.unlock("other", PASSWORD) == key


def test_wrong_password(store: Keystore) -> None:
    store.create("buyer", PASSWORD, scrypt_n=N)
    with pytest.raises(WrongPassword, match="wrong password for account buyer"):
        store.unlock("buyer", "nope")


def test_existing_account_is_never_overwritten(store: Keystore) -> None:
    account = store.create("buyer", PASSWORD, scrypt_n=N)
    before = account.path.read_bytes()
    with pytest.raises(AccountExists):
        store.create("buyer", PASSWORD, scrypt_n=N)
    with pytest.raises(AccountExists):  # and not in a race past the first check either
        store._write_new("buyer", account.path, b"{}")
    assert account.path.read_bytes() == before
    assert [p.name for p in store.folder.iterdir()] == ["buyer.json"]


@pytest.mark.parametrize("name", ["", "../x", "a/b", "A", "a" * 33, ".hidden", "a b", "-x"])
def test_bad_names(store: Keystore, name: str) -> None:
    with pytest.raises(BadAccountName):
        store.create(name, PASSWORD, scrypt_n=N)
    with pytest.raises(NoSuchAccount):
        store.unlock(name, PASSWORD)


def test_no_such_account(store: Keystore) -> None:
    with pytest.raises(NoSuchAccount, match="no account ghost"):
        store.unlock("ghost", PASSWORD)
    with pytest.raises(NoSuchAccount):
        store.unlock("0x" + "11" * 20, PASSWORD)


def _v3(**crypto: object) -> str:
    return json.dumps({"version": 3, "address": "11" * 20, "crypto": crypto})


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "[" * 20_000,
        '{"version": 1, "address": "' + "11" * 20 + '"}',
        '{"version": 3, "address": "xyz"}',
        '{"version": 3, "address": "' + "11" * 20 + '"}',
        _v3(kdf="scrypt", kdfparams={"n": 2**40, "r": 8, "p": 1}),
        _v3(kdf="scrypt", kdfparams={"n": "many", "r": 8, "p": 1}),
        _v3(kdf="pbkdf2", kdfparams={"c": 10**12}),
        _v3(kdf="rot13", kdfparams={"c": 1}),
        _v3(kdf="scrypt", kdfparams={"n": 1024, "r": 8, "p": 1}),
        " " * 70_000,
    ],
)
def test_damaged_file_is_a_typed_error(store: Keystore, content: str) -> None:
    store.folder.mkdir()
    (store.folder / "buyer.json").write_text(content)
    with pytest.raises(BadKeystoreFile):
        store.unlock("buyer", PASSWORD)


def test_file_that_holds_anothers_key_is_refused(store: Keystore) -> None:
    path = store.create("buyer", PASSWORD, scrypt_n=N).path
    document = json.loads(path.read_text()) | {"address": "22" * 20}
    path.write_text(json.dumps(document))
    with pytest.raises(BadKeystoreFile, match="holds the key of"):
        store.unlock("buyer", PASSWORD)


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeystoreUnwritable):
        Keystore(tmp_path / "file" / "keys").create("buyer", PASSWORD, scrypt_n=N)


@pytest.mark.parametrize("n", [0, 3, 512, 1000])
def test_weak_or_odd_scrypt_is_refused(store: Keystore, n: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        store.create("buyer", PASSWORD, scrypt_n=n)

"""Accounts on disk: one Web3 Secret Storage (keystore version 3) file each, scrypt, mode 0600.

The format is Ethereum's, so the files open in any wallet and any wallet's file opens here.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from eth_utils.address import is_address, to_checksum_address

from reelmesh.errors import StorageError, UserError
from reelmesh.node.wallet.keys import BadKey, NodeKey

if TYPE_CHECKING:
    from reelmesh.scheduler.ids import NodeAddress

MAX_KEYSTORE_FILE_BYTES: Final = 64 * 1024
DEFAULT_SCRYPT_N: Final = 2**18
MIN_SCRYPT_N: Final = 2**10
# A file says itself how much memory and time it takes to open: 128 * n * r bytes. Bounded here.
_MAX_SCRYPT_MEMORY: Final = 1 << 30
_MAX_PBKDF2_ROUNDS: Final = 10_000_000
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


class WrongPassword(UserError):
    """The password does not open this account."""


class AccountExists(UserError):
    """An account of this name is there already; it is never overwritten."""


class NoSuchAccount(UserError):
    """No account of this name or address is in the keystore."""


class BadAccountName(UserError):
    """An account's name is 1 to 32 of a-z, 0-9, - and _, and starts with a letter or digit."""


class BadKeystoreFile(UserError):
    """A file in the keystore is not a version 3 keystore, or asks for too much to be opened."""


class KeystoreUnwritable(StorageError):
    """The keystore's folder cannot be created or written."""


@dataclass(frozen=True)
class Account:
    """One key on disk, still locked."""

    name: str
    address: NodeAddress
    path: Path


class Keystore:
    """The accounts of one folder, created with mode 0700 at the first write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, name: str, password: str, *, scrypt_n: int = DEFAULT_SCRYPT_N) -> Account:
        """Make a new key and store it; see `add` for what it raises."""
        return self.add(name, NodeKey.generate(), password, scrypt_n=scrypt_n)

    def add(
        self, name: str, key: NodeKey, password: str, *, scrypt_n: int = DEFAULT_SCRYPT_N
    ) -> Account:
        """Store an existing key under `name`, encrypted with `password`.

        Args:
            scrypt_n: Work factor, a power of two from 2**10; 2**18 takes about a second and
                256 MB. Lower it for throw-away keys on a local devnet only.

        Raises:
            BadAccountName, AccountExists, KeystoreUnwritable; ValueError for an empty password
            or a bad scrypt_n.
        """
        if not password:
            raise ValueError("an empty password protects nothing")
        if scrypt_n < MIN_SCRYPT_N or scrypt_n & (scrypt_n - 1):
            raise ValueError(f"scrypt_n is a power of two from {MIN_SCRYPT_N}")
        path = self._path(name)
        if path.exists():
            raise AccountExists(f"account {name} exists already", "choose another name")
        document = _encrypt(key, password, scrypt_n)
        self._write_new(name, path, json.dumps(document, indent=1).encode())
        return Account(name, key.address, path)

    def list(self) -> list[Account]:
        """All accounts, by name. Raises BadKeystoreFile for the first file that is none."""
        if not self.folder.is_dir():
            return []
        return [self._account(path) for path in sorted(self.folder.glob("*.json"))]

    def find(self, name_or_address: str) -> Account:
        """One account by its name or address (any letter case); raises NoSuchAccount."""
        if is_address(name_or_address):
            wanted: str = to_checksum_address(name_or_address)
            for account in self.list():
                if account.address == wanted:
                    return account
        elif _NAME.fullmatch(name_or_address) and self._path(name_or_address).is_file():
            return self._account(self._path(name_or_address))
        raise NoSuchAccount(
            f"there is no account {name_or_address} in {self.folder}",
            "list accounts with: reelmesh account list",
        )

    def unlock(self, name_or_address: str, password: str) -> NodeKey:
        """Decrypt one account. Raises NoSuchAccount, WrongPassword or BadKeystoreFile."""
        account = self.find(name_or_address)
        key = _decrypt(account, _load(account.path), password)
        if key.address != account.address:
            raise BadKeystoreFile(
                f"{account.path} holds the key of {key.address}, not of {account.address}",
                "restore the file from a backup",
            )
        return key

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise BadAccountName(
                f"{name[:40]!r} is not an account name",
                "use 1 to 32 of a-z, 0-9, - and _, first a letter or digit",
            )
        return self.folder / f"{name}.json"

    def _account(self, path: Path) -> Account:
        address = str(_load(path).get("address", ""))
        if not is_address(address):
            raise BadKeystoreFile(f"{path} names no valid address", "move it out of the keystore")
        return Account(path.stem, cast("NodeAddress", to_checksum_address(address)), path)

    def _write_new(self, name: str, path: Path, data: bytes) -> None:
        """Write whole or not at all, and never over an existing file."""
        temporary = self.folder / f".{name}.{secrets.token_hex(8)}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as handle:
                    handle.write(data)
                    handle.flush()
                    os.fsync(handle.fileno())
                os.link(temporary, path)  # unlike rename, fails if the name is taken
                _sync_folder(self.folder)
            finally:
                temporary.unlink(missing_ok=True)
        except FileExistsError:
            raise AccountExists(f"account {name} exists already", "choose another name") from None
        except OSError as exc:
            raise KeystoreUnwritable(
                f"cannot write to keystore {self.folder}: {exc.strerror}",
                "check that the folder is yours and the disk is not full",
            ) from exc


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _encrypt(key: NodeKey, password: str, scrypt_n: int) -> dict[str, Any]:
    from eth_account import Account as EthAccount  # takes over a second to import

    document = EthAccount.encrypt(key.export_secret(), password, kdf="scrypt", iterations=scrypt_n)
    return dict(document)


def _decrypt(account: Account, document: dict[str, Any], password: str) -> NodeKey:
    from eth_account import Account as EthAccount

    _check_cost(account.path, document)
    try:
        secret = bytes(EthAccount.decrypt(document, password))
    except ValueError as exc:
        if "MAC mismatch" in str(exc):
            raise WrongPassword(f"wrong password for account {account.name}", "try again") from None
        raise BadKeystoreFile(f"{account.path} cannot be decrypted: {exc}") from exc
    except (KeyError, TypeError, AttributeError, NotImplementedError, MemoryError) as exc:
        raise BadKeystoreFile(
            f"{account.path} is not a complete version 3 keystore", "restore it from a backup"
        ) from exc
    try:
        return NodeKey.from_bytes(secret)
    except BadKey as exc:
        raise BadKeystoreFile(f"{account.path} holds no secp256k1 key") from exc


def _check_cost(path: Path, document: dict[str, Any]) -> None:
    """Refuse a file whose key derivation would eat the machine."""
    try:
        params = document["crypto"]["kdfparams"]
        kdf = document["crypto"]["kdf"]
        if kdf == "scrypt":
            n, r, p = int(params["n"]), int(params["r"]), int(params["p"])
            sane = n > 1 and r > 0 and 0 < p <= 16 and 128 * n * r <= _MAX_SCRYPT_MEMORY
        else:
            sane = kdf == "pbkdf2" and 0 < int(params["c"]) <= _MAX_PBKDF2_ROUNDS
    except (KeyError, TypeError, ValueError) as exc:
        raise BadKeystoreFile(
            f"{path} is not a complete version 3 keystore", "restore it from a backup"
        ) from exc
    if not sane:
        raise BadKeystoreFile(f"{path} asks for an unreasonable key derivation")


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as handle:
            raw = handle.read(MAX_KEYSTORE_FILE_BYTES + 1)
        if len(raw) > MAX_KEYSTORE_FILE_BYTES:
            raise BadKeystoreFile(f"{path} is too large to be a keystore file")
        document = json.loads(raw)
    except OSError as exc:
        raise BadKeystoreFile(f"cannot read {path}: {exc.strerror}", "check its owner") from exc
    except (ValueError, RecursionError) as exc:
        raise BadKeystoreFile(f"{path} is not JSON", "restore it from a backup") from exc
    if not isinstance(document, dict) or document.get("version") != 3:
        raise BadKeystoreFile(f"{path} is not a version 3 keystore", "restore it from a backup")
    # Some wallets write "Crypto"; the specification says "crypto".
    return {str(k).lower(): v for k, v in document.items()}

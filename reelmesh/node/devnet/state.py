"""What is known of a devnet, kept in `devnet.json`, so that another command can find and end it."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from reelmesh.errors import StorageError

STATE_FILE = "devnet.json"
_CLOCK_SLACK_S = 2.0


class BadDevnetState(StorageError):
    """`devnet.json` is damaged."""


class ProcessState(BaseModel):
    """One process, named so that a later process with the same id is not taken for it.

    Attributes:
        created_s: When the operating system says it was started, seconds since the epoch.
        address: The node's account, "" for the chain.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    pid: int
    created_s: float
    home: Path
    log: Path
    address: str = ""

    def process(self) -> psutil.Process | None:
        """Return the process if it still lives."""
        try:
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.created_s) < _CLOCK_SLACK_S
            alive = found.is_running() and found.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return found if same and alive else None


class DevnetState(BaseModel):
    """A devnet: its chain, its contracts and its nodes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rpc_url: str
    chain_id: int
    deployment: Path
    chain: ProcessState
    coordinator: ProcessState
    providers: tuple[ProcessState, ...]

    @property
    def processes(self) -> tuple[ProcessState, ...]:
        """Every process, in the order in which they are to be ended."""
        return (*self.providers, self.coordinator, self.chain)

    def save(self, root: Path) -> None:
        """Write `devnet.json`, whole or not at all."""
        fresh = root / f"{STATE_FILE}.new"
        fresh.write_text(self.model_dump_json(indent=2))
        fresh.replace(root / STATE_FILE)

    @classmethod
    def load(cls, root: Path) -> DevnetState | None:
        """Return the devnet kept in `root`, None if there is none. Raises BadDevnetState."""
        file = root / STATE_FILE
        try:
            return cls.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            hint = f"end its processes by hand, then move {file} away"
            raise BadDevnetState(f"{file} cannot be read", hint) from error


def read_names(root: Path) -> dict[str, str]:
    """Return address → name of a devnet's nodes; empty where there is none."""
    try:
        told = json.loads((root / STATE_FILE).read_text())
        nodes = [*told["providers"], told["coordinator"]]
        return {str(node["address"]): str(node["name"]) for node in nodes}
    except (OSError, ValueError, KeyError, TypeError):
        return {}

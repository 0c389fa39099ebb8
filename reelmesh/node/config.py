"""What a node is told: one frozen pydantic model per kind of node, read from a TOML file.

A file that says something unknown, or says it wrongly, is refused with the field's name; nothing is
guessed. Secrets are never part of a configuration: keys live in keystores, passwords in files.
"""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from reelmesh.errors import UserError

SOCKET_PATH_MAX = 100
"""Longest path of a unix socket, in bytes, that Linux and macOS both take (104 less some slack)."""

Wei = Annotated[int, Field(ge=0, lt=2**128)]
LogLevel = Literal["debug", "info", "warning", "error"]


class InvalidConfig(UserError):
    """The configuration file is missing, is no TOML, or holds a field that is not allowed."""


def default_home() -> Path:
    """Return `$REELMESH_HOME`, or `~/.reelmesh` where that is unset."""
    return Path(os.environ.get("REELMESH_HOME") or Path.home() / ".reelmesh")


class NodeConfig(BaseModel):
    """What every node needs.

    Attributes:
        home: Folder of this node alone: `node.json`, database, artifacts, scratch.
        rpc_url: JSON-RPC of the chain, http(s).
        chain_id: The chain that the RPC must be on; anything else is refused.
        deployment: JSON file with the contracts' addresses (`reelmesh contracts deploy`).
        listen: libp2p multiaddrs to listen on; port 0 takes a free one.
        bootstrap: libp2p multiaddrs, with /p2p/…, of nodes to know at the start.
        log_level: Least level that is logged.
        log_format: `plain` for people, `json` for machines.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path
    rpc_url: str = Field(default="http://127.0.0.1:8545", pattern=r"^https?://")
    chain_id: int = Field(ge=1)
    deployment: Path
    listen: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/0",)
    bootstrap: tuple[str, ...] = ()
    log_level: LogLevel = "info"
    log_format: Literal["plain", "json"] = "plain"

    @field_validator("home", "deployment")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().absolute()

    @property
    def node_file(self) -> Path:
        """`node.json`: written when the node is ready, removed when it stops."""
        return self.home / "node.json"

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a TOML file. Raises InvalidConfig."""
        return parse_config(cls, read_toml(path), str(path))

    def save(self, path: Path) -> None:
        """Write as TOML, readable by the owner alone; defaults are left out."""
        path.parent.mkdir(parents=True, exist_ok=True)
        body = to_toml(self.model_dump(mode="json", exclude_defaults=True))
        path.write_text(body, encoding="utf-8")
        path.chmod(0o600)


class ProviderConfig(NodeConfig):
    """What a provider needs besides.

    Prices are in wei. A stage's floor is `price_floors[stage]` per unit where it is given;
    otherwise measured seconds per unit x threads x `wei_per_cpu_second` x (1 + `margin`).
    `busy_surcharge` is added, as a fraction, for each slot that is taken when the bid is made.

    Attributes:
        threads: Threads that a stage may use, >= 1.
        device: "auto" takes CUDA where there is one, else the CPU.
        slots: Subtasks that run at once.
        memory_limit_mb: Most that one worker process may take; None leaves it to the machine.
        operator: EIP-55 address of the cold key that stakes for this node; None: not told.
        stages: Stages offered; None offers every stage that runs on the device.
        nice: Added to the niceness of worker processes, 0..19.
        models: Folder of production models; None: `models` beside the node's own folder.
    """

    threads: int = Field(default=1, ge=1, le=256)
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda:\d+)$")
    slots: int = Field(default=1, ge=1, le=64)
    memory_limit_mb: int | None = Field(default=None, ge=256)
    price_floors: dict[str, Wei] = Field(default_factory=dict)
    wei_per_cpu_second: Wei = 10**13
    margin: float = Field(default=0.1, ge=0.0, le=100.0)
    busy_surcharge: float = Field(default=0.25, ge=0.0, le=100.0)
    operator: str | None = Field(default=None, pattern=r"^0x[0-9a-fA-F]{40}$")
    stages: tuple[str, ...] | None = None
    uplink_mbps: float = Field(default=100.0, gt=0.0)
    nice: int = Field(default=0, ge=0, le=19)
    models: Path | None = None

    @property
    def models_folder(self) -> Path:
        """Where production models are looked for."""
        return self.models or self.home.parent / "models"


class StageReference(BaseModel):
    """What a stage is expected to cost, for reserve prices and budgets before any bid is known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wei_per_unit: Wei
    seconds_per_unit: float = Field(gt=0.0)


class CoordinatorConfig(NodeConfig):
    """What a coordinator needs besides.

    Attributes:
        grpc_host: Address that providers dial; also listened on.
        grpc_port: 0 takes a free one.
        artifacts_url: Folder or s3://, gs://, az:// URL; None is `<home>/artifacts`.
        database_url: SQLAlchemy async URL; None is SQLite at `<home>/coordinator.db`.
        bid_window_s: How long a call is held open for bids.
        lease_s: How long a lease lives without a progress report.
        time_value_wei_per_s: What a second's earlier finish is worth when bids are compared.
        claim_window_s: How long after the deadline providers may still claim alone.
        reference_rates: Overrides of the catalogue's reference prices and speeds, by stage.
        previews: Whether each job's small clip is shown as soon as it is there.
        reuse_bytes: Most bytes of finished work that are kept for later jobs; 0 keeps nothing.
    """

    grpc_host: str = "127.0.0.1"
    grpc_port: int = Field(default=0, ge=0, le=65535)
    artifacts_url: str | None = None
    database_url: str | None = None
    bid_window_s: float = Field(default=2.0, gt=0.0, le=600.0)
    lease_s: float = Field(default=10.0, ge=1.0, le=600.0)
    time_value_wei_per_s: Wei = 10**13
    claim_window_s: int = Field(default=3600, ge=60)
    reference_rates: dict[str, StageReference] = Field(default_factory=dict)
    previews: bool = True
    reuse_bytes: int = Field(default=4 << 30, ge=0)

    @property
    def control_socket(self) -> Path:
        """Unix socket of the Control service. Raises InvalidConfig where its path is too long."""
        path = self.home / "control.sock"
        if len(os.fsencode(path)) > SOCKET_PATH_MAX:
            raise InvalidConfig(
                f"the path {path} is too long for a unix socket ({SOCKET_PATH_MAX} bytes at most)",
                "choose a shorter home folder with --home or REELMESH_HOME",
            )
        return path


C = TypeVar("C", bound=BaseModel)


def parse_config(kind: type[C], values: dict[str, object], where: str) -> C:
    """Validate `values`; raise InvalidConfig that names the first bad field and its file."""
    try:
        return kind.model_validate(values)
    except ValidationError as err:
        first = err.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "(whole file)"
        raise InvalidConfig(f"{where}: {field}: {first['msg']}", f"correct {where}") from err


def read_toml(path: Path) -> dict[str, object]:
    """Read a TOML file into a dict. Raises InvalidConfig."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as err:
        raise InvalidConfig(f"no configuration at {path}", "pass --config FILE") from err
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        raise InvalidConfig(f"{path} cannot be read as TOML: {err}", f"correct {path}") from err


def to_toml(values: dict[str, object]) -> str:
    """Render a dict of scalars, lists of scalars and (nested) tables of them as TOML."""
    flat = [f"{k} = {_value(v)}" for k, v in values.items() if not isinstance(v, dict)]
    lines = [line for line in flat if not line.endswith("= null")]
    for name, table in values.items():
        if isinstance(table, dict) and table:
            lines += ["", *_table(name, table)]
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    """JSON's strings, numbers, booleans and flat lists are TOML's as well, but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _table(name: str, table: dict[str, object]) -> list[str]:
    flat = [f"{k} = {_value(v)}" for k, v in table.items() if not isinstance(v, dict)]
    lines = [f"[{name}]", *flat] if flat else []
    for key, inner in table.items():
        if isinstance(inner, dict):
            lines += ["", *_table(f"{name}.{key}", inner)]
    return lines

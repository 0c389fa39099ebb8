"""What `provider run` and `coordinator run` share: configuration from file and flags, the key, and
a process that ends when it should."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from reelmesh.errors import UserError
from reelmesh.node.config import NodeConfig, parse_config, read_toml

if TYPE_CHECKING:
    from reelmesh.node.wallet.keys import NodeKey

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="TOML file. [default: HOME/<kind>/config.toml]")
]
RpcOption = Annotated[str | None, typer.Option("--rpc", help="JSON-RPC of the chain.")]
DeploymentOption = Annotated[
    Path | None,
    typer.Option("--deployment", help="JSON with the contracts' addresses."),
]
BootstrapOption = Annotated[
    list[str] | None, typer.Option("--bootstrap", help="A peer to know first; repeatable.")
]
ListenOption = Annotated[
    list[str] | None, typer.Option("--listen", help="libp2p address to listen on; repeatable.")
]
AccountOption = Annotated[
    str | None, typer.Option("--account", help="Name or address of the node's account.")
]
ParentOption = Annotated[
    int | None, typer.Option("--die-with", hidden=True, help="End when this process ends.")
]
LogOption = Annotated[
    str | None, typer.Option("--log-level", help="debug, info, warning or error.")
]

K = TypeVar("K", bound=NodeConfig)
_PR_SET_PDEATHSIG = 1


class NoAccount(UserError):
    """Which account to use was neither said nor obvious."""


def build_config(kind: type[K], file: Path | None, home: Path, flags: dict[str, Any]) -> K:
    """Read the node's file, if there is one, and lay the flags that were given over it.

    Args:
        kind: ProviderConfig or CoordinatorConfig.
        file: What --config named; then it must exist.
        home: The node's home, unless the file names another.
        flags: Field name to value; None and empty lists count as not given.
    """
    default = home / "config.toml"
    values: dict[str, Any] = {"home": str(home)}
    if file is not None or default.is_file():
        values |= read_toml(file or default)
    values |= {name: value for name, value in flags.items() if value not in (None, [])}
    if "deployment" not in values:
        values["deployment"] = str(home.parent / "deployment.json")
    if "chain_id" not in values:
        from reelmesh.contracts.deploy import Deployment

        values["chain_id"] = Deployment.load(Path(values["deployment"]).expanduser()).chain_id
    return parse_config(kind, values, str(file or default))


def unlock(keystore: Path, account: str | None, password_file: Path | None) -> NodeKey:
    """Open the account that was named, or the only one that there is."""
    from reelmesh.node.wallet.keystore import Keystore
    from reelmesh.node.wallet.passwords import read_password

    store = Keystore(keystore)
    if account is None:
        found = store.list()
        if len(found) != 1:
            hint = "pass --account NAME" if found else "make one: reelmesh account new NAME"
            raise NoAccount(f"there are {len(found)} accounts in {keystore}", hint)
        account = found[0].name
    store.find(account)
    return store.unlock(account, read_password(password_file, f"Password of {account}"))


def die_with(parent: int | None) -> None:
    """End this process when `parent`, which started it, ends (Linux; elsewhere watched for)."""
    if parent is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it was gone before we asked
        raise SystemExit(143)


async def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        await asyncio.sleep(1.0)


def run_until_told(main: Callable[[], Awaitable[None]], parent: int | None = None) -> None:
    """Run a node until it ends by itself or by SIGINT or SIGTERM, which cancel it cleanly."""

    async def supervised() -> None:
        task = asyncio.ensure_future(main())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
        watcher = asyncio.create_task(_end_with(parent)) if parent is not None else None
        if watcher is not None:
            watcher.add_done_callback(lambda _: task.cancel())
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        finally:
            if watcher is not None:
                watcher.cancel()

    asyncio.run(supervised())

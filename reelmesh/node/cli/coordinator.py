"""`reelmesh coordinator`: the node that puts a buyer's jobs on the market."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from reelmesh.node.cli.account import PasswordFile
from reelmesh.node.cli.home import Home, HomeOption
from reelmesh.node.cli.nodes import (
    AccountOption,
    BootstrapOption,
    ConfigOption,
    DeploymentOption,
    ListenOption,
    LogOption,
    ParentOption,
    RpcOption,
)
from reelmesh.node.cli.output import JsonFlag, print_json

app = typer.Typer(no_args_is_help=True, help="The buyer's node: it runs jobs and pays for them.")

NodeOption = Annotated[
    Path | None, typer.Option("--node", help="The coordinator's own folder, if it is elsewhere.")
]


@app.command()
def run(
    account: AccountOption = None,
    password_file: PasswordFile = None,
    config: ConfigOption = None,
    rpc: RpcOption = None,
    deployment: DeploymentOption = None,
    bootstrap: BootstrapOption = None,
    listen: ListenOption = None,
    grpc_host: Annotated[str | None, typer.Option(help="Address that providers dial.")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="Its port; 0 takes a free one.")] = None,
    home: HomeOption = None,
    log_level: LogOption = None,
    die_with: ParentOption = None,
) -> None:
    """Run the coordinator. Jobs that were under way when it last ended go on.

    [bold]Example[/bold]: reelmesh coordinator run --account buyer --grpc-host 203.0.113.7
    """
    from reelmesh.node.cli import nodes
    from reelmesh.node.config import CoordinatorConfig
    from reelmesh.node.logging import setup_logging

    nodes.die_with(die_with)
    where = Home.at(home)
    flags: dict[str, Any] = {
        "rpc_url": rpc,
        "deployment": deployment,
        "bootstrap": bootstrap,
        "listen": listen,
        "grpc_host": grpc_host,
        "grpc_port": grpc_port,
        "log_level": log_level,
    }
    settings = nodes.build_config(CoordinatorConfig, config, where.coordinator, flags)
    setup_logging(settings.log_level, settings.log_format)
    key = nodes.unlock(where.keystore, account, password_file)

    async def main() -> None:
        from reelmesh.node.coordinator.app import run_coordinator

        await run_coordinator(settings, key)

    nodes.run_until_told(main, die_with)


@app.command()
def status(home: HomeOption = None, node: NodeOption = None, as_json: JsonFlag = False) -> None:
    """Show on one screen the coordinator's version, network, wallet, peers and jobs."""
    from reelmesh.node.cli.finding import find_coordinator
    from reelmesh.node.cli.status import print_coordinator

    told = asyncio.run(_ask(find_coordinator(Home.at(home), node)))
    if as_json:
        print_json(told)
    else:
        print_coordinator(told)


async def _ask(folder: Path) -> dict[str, Any]:
    from reelmesh.node.cli.control import ControlClient

    async with ControlClient(folder / "control.sock") as client:
        return await client.status()

"""`reelmesh provider`: let this machine earn."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from reelmesh.node.cli.account import PasswordFile
from reelmesh.node.cli.home import Home, HomeOption, running_node
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

app = typer.Typer(no_args_is_help=True, help="Let this machine earn while it is idle.")


@app.command()
def run(
    account: AccountOption = None,
    password_file: PasswordFile = None,
    config: ConfigOption = None,
    rpc: RpcOption = None,
    deployment: DeploymentOption = None,
    bootstrap: BootstrapOption = None,
    listen: ListenOption = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads that a stage may use.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda:N.")] = None,
    price: Annotated[
        str | None, typer.Option(help="Least pay for a second of one thread, e.g. 10000gwei.")
    ] = None,
    home: HomeOption = None,
    log_level: LogOption = None,
    die_with: ParentOption = None,
) -> None:
    """Run the provider: measure this machine, hear of calls, bid, work, get paid.

    Its log says each of these as it happens. Ctrl-C ends it; pay that is owed is kept and claimed.

    [bold]Example[/bold]: reelmesh provider run --bootstrap /ip4/203.0.113.7/tcp/4001/p2p/16Uiu…
    """
    from reelmesh.node.cli import nodes
    from reelmesh.node.cli.money import parse_amount
    from reelmesh.node.config import ProviderConfig
    from reelmesh.node.logging import setup_logging

    nodes.die_with(die_with)
    where = Home.at(home)
    flags: dict[str, Any] = {
        "rpc_url": rpc,
        "deployment": deployment,
        "bootstrap": bootstrap,
        "listen": listen,
        "threads": threads,
        "device": device,
        "log_level": log_level,
        "wei_per_cpu_second": parse_amount(price) if price else None,
    }
    settings = nodes.build_config(ProviderConfig, config, where.provider, flags)
    setup_logging(settings.log_level, settings.log_format)
    key = nodes.unlock(where.keystore, account, password_file)

    async def main() -> None:
        from reelmesh.node.provider.app import run_provider

        await run_provider(settings, key)

    nodes.run_until_told(main, die_with)


@app.command()
def register(
    operator: Annotated[str, typer.Option(help="Account that stakes: keep its key cold.")],
    account: AccountOption = None,
    stake: Annotated[str, typer.Option(help="What is staked, e.g. 0.01eth.")] = "0.01eth",
    password_file: PasswordFile = None,
    operator_password_file: Annotated[
        Path | None, typer.Option(help="File with the operator's password.")
    ] = None,
    config: ConfigOption = None,
    rpc: RpcOption = None,
    deployment: DeploymentOption = None,
    home: HomeOption = None,
) -> None:
    """Register this node's key with a stake, once, before it can win work.

    [bold]Example[/bold]: reelmesh provider register --operator cold --account provider
    """
    from reelmesh.node.cli import nodes
    from reelmesh.node.cli.money import format_eth, parse_amount
    from reelmesh.node.cli.registering import register_node
    from reelmesh.node.config import ProviderConfig

    where = Home.at(home)
    flags = {"rpc_url": rpc, "deployment": deployment}
    settings = nodes.build_config(ProviderConfig, config, where.provider, flags)
    wei = parse_amount(stake)
    node_key = nodes.unlock(where.keystore, account, password_file)
    cold_key = nodes.unlock(where.keystore, operator, operator_password_file)
    tx = asyncio.run(register_node(settings, node_key, cold_key, wei))
    print(f"registered {node_key.address} with {format_eth(wei)} staked by {cold_key.address}")
    print(f"  transaction {tx}\nnow run: reelmesh provider run")


@app.command()
def leave(
    operator: Annotated[str, typer.Option(help="Account that staked.")],
    operator_password_file: Annotated[
        Path | None, typer.Option(help="File with the operator's password.")
    ] = None,
    config: ConfigOption = None,
    rpc: RpcOption = None,
    deployment: DeploymentOption = None,
    home: HomeOption = None,
) -> None:
    """Leave the market: begin to free the stake; run again after the delay to get it back.

    Earned credit is taken out apart: reelmesh account withdraw.

    [bold]Example[/bold]: reelmesh provider leave --operator cold
    """
    from reelmesh.node.cli import nodes
    from reelmesh.node.cli.money import format_eth
    from reelmesh.node.cli.moving import leave_market, local_time
    from reelmesh.node.config import ProviderConfig

    where = Home.at(home)
    flags = {"rpc_url": rpc, "deployment": deployment}
    settings = nodes.build_config(ProviderConfig, config, where.provider, flags)
    key = nodes.unlock(where.keystore, operator, operator_password_file)
    done = asyncio.run(leave_market(settings.rpc_url, settings.deployment, key))
    if done.free_at is not None:
        print(f"leaving; the stake is free at {local_time(done.free_at)}: run this again then")
    else:
        print(f"paid the stake of {format_eth(done.amount, exact=True)} to {key.address}")
    print(f"  transaction {done.tx}")


@app.command()
def status(
    home: HomeOption = None,
    node: Annotated[Path | None, typer.Option("--node", help="The provider's own folder.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show on one screen what the provider does, did and earned."""
    from reelmesh.errors import UserError
    from reelmesh.node.cli.status import print_provider

    folder = node or Home.at(home).provider
    told = running_node(folder)
    try:
        last = json.loads((folder / "status.json").read_text())
    except (OSError, ValueError):
        last = {}
    if told is None and not last:
        raise UserError(f"no provider has run in {folder}", "start it: reelmesh provider run")
    whole = {"running": told is not None, **(told or {}), **last}
    if as_json:
        print_json(whole)
    else:
        print_provider(whole)
    if told is None:
        raise typer.Exit(1)

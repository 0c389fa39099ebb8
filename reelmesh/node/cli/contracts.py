"""`reelmesh contracts`: put the contracts on a chain."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reelmesh.errors import UserError
from reelmesh.node.cli.account import PasswordFile
from reelmesh.node.cli.home import Home, HomeOption
from reelmesh.node.cli.output import JsonFlag, print_json, table

if TYPE_CHECKING:
    from reelmesh.contracts.deploy import Deployment
    from reelmesh.node.cli.chain import Network
    from reelmesh.node.wallet.keys import NodeKey

app = typer.Typer(no_args_is_help=True, help="Put the contracts on a chain.")


@app.command()
def deploy(
    network: Annotated[str, typer.Option(help="local, sepolia or base-sepolia.")],
    account: Annotated[str | None, typer.Option(help="Account that pays for it.")] = None,
    rpc: Annotated[str | None, typer.Option("--rpc", help="JSON-RPC to use.")] = None,
    token: Annotated[
        str | None, typer.Option(help="The ERC-20 that jobs may be paid in as well.")
    ] = None,
    with_test_token: Annotated[
        bool, typer.Option("--with-test-token", help="Deploy a token that anyone can mint.")
    ] = False,
    min_stake: Annotated[str | None, typer.Option(help="Least stake of a provider.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the addresses are written.")] = None,
    password_file: PasswordFile = None,
    home: HomeOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Deploy Market and Providers; write their addresses for every node to use.

    Nobody owns the contracts afterwards, not even who deployed them.

    [bold]Example[/bold]
      reelmesh contracts deploy --network base-sepolia --account operator
    """
    from reelmesh.node.cli import chain, nodes
    from reelmesh.node.cli.money import parse_amount

    target = chain.network(network)
    url = rpc or target.rpc_url
    if not url:
        raise UserError(f"{network} has no endpoint of its own here", "pass --rpc URL")
    if with_test_token and target.name != "local":
        raise UserError("a token that anyone can mint is for a local chain", "pass --token ADDRESS")
    where = Home.at(home)
    file = (out or where.root / f"deployment-{network}.json").absolute()
    if file.exists():
        raise UserError(f"{file} exists already", "pass --out with another name, or move it away")
    stake = parse_amount(min_stake) if min_stake else target.min_stake
    key = nodes.unlock(where.keystore, account, password_file)
    made = asyncio.run(_deploy(url, target, key, stake, with_test_token, token))
    made.save(file)
    _print(made, file, as_json=as_json)


@app.command()
def networks(as_json: JsonFlag = False) -> None:
    """List the networks known by name."""
    from reelmesh.node.cli.chain import NETWORKS

    if as_json:
        print_json(
            [{"name": n.name, "chain_id": n.chain_id, "rpc": n.rpc_url} for n in NETWORKS.values()]
        )
        return
    rows = [[n.name, str(n.chain_id), n.rpc_url or "pass --rpc"] for n in NETWORKS.values()]
    table("Networks", ["name", ">chain id", "endpoint"], rows)


async def _deploy(
    url: str, target: Network, key: NodeKey, stake: int, test_token: bool, token: str | None
) -> Deployment:
    from reelmesh.contracts.chain import Sender, connect, disconnect
    from reelmesh.contracts.deploy import deploy as deploy_contracts

    w3 = await connect(url, target.chain_id)
    try:
        return await deploy_contracts(
            Sender(w3, key),
            min_stake=stake,
            unbonding_delay=target.unbonding_s,
            with_test_token=test_token,
            token=token,
        )
    finally:
        await disconnect(w3)


def _print(made: Deployment, file: Path, *, as_json: bool) -> None:
    told: dict[str, Any] = made.model_dump(mode="json")
    if as_json:
        print_json({**told, "file": str(file)})
        return
    print(f"market     {made.market}\nproviders  {made.providers}")
    print(f"token      {made.token or 'none'}\nblock      {made.block}")
    print(f"\nwritten to {file}\n  next: reelmesh coordinator run --deployment {file} --rpc URL")

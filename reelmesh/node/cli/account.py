"""`reelmesh account`: keys in encrypted files."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Annotated

import typer

from reelmesh.node.cli.home import Home, HomeOption
from reelmesh.node.cli.output import JsonFlag, print_json, table

app = typer.Typer(no_args_is_help=True, help="Make and look at accounts (encrypted keystores).")

PasswordFile = Annotated[
    Path | None,
    typer.Option("--password-file", help="File with the password; asked for where not given."),
]


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Short name, e.g. buyer.")],
    password_file: PasswordFile = None,
    home: HomeOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Make an account. Its key never leaves the encrypted file.

    [bold]Example[/bold]: reelmesh account new buyer
    """
    from reelmesh.node.wallet.keystore import Keystore
    from reelmesh.node.wallet.passwords import read_password

    store = Keystore(Home.at(home).keystore)
    password = read_password(password_file, f"Password for the new account {name}", confirm=True)
    made = store.create(name, password)
    if as_json:
        print_json({"name": made.name, "address": made.address, "path": str(made.path)})
        return
    print(f"{made.name}  {made.address}")
    print(f"kept in {made.path}; back it up, and its password: nobody can restore either")


@app.command("list")
def list_(home: HomeOption = None, as_json: JsonFlag = False) -> None:
    """List the accounts of this machine."""
    from reelmesh.node.wallet.keystore import Keystore

    folder = Home.at(home).keystore
    found = Keystore(folder).list()
    if as_json:
        print_json([{"name": a.name, "address": a.address, "path": str(a.path)} for a in found])
    elif not found:
        print(f"no account in {folder}; make one: reelmesh account new buyer")
    else:
        table("Accounts", ["name", "address"], [[a.name, a.address] for a in found])


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name or address.")],
    rpc: Annotated[str | None, typer.Option("--rpc", help="Ask this chain for balances.")] = None,
    deployment: Annotated[
        Path | None, typer.Option("--deployment", help="The contracts' addresses, for the credit.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show an account, and with --rpc what it holds.

    [bold]Example[/bold]: reelmesh account show buyer --rpc http://127.0.0.1:8545
    """
    from reelmesh.node.cli.chain import balances
    from reelmesh.node.cli.money import format_eth
    from reelmesh.node.wallet.keystore import Keystore

    found = Keystore(Home.at(home).keystore).find(name)
    told = {"name": found.name, "address": found.address, "path": str(found.path)}
    held = asyncio.run(balances(rpc, found.address, deployment)) if rpc else {}
    if as_json:
        print_json({**told, **{key: str(wei) for key, wei in held.items()}})
        return
    print(f"{found.name}  {found.address}\n  file     {found.path}")
    for key, wei in held.items():
        print(f"  {key:<8} {format_eth(wei, exact=True)}")


@app.command()
def withdraw(
    name: Annotated[str, typer.Argument(help="Name or address of the account that earned.")],
    to: Annotated[str, typer.Option(help="Address that is paid, 0x…")],
    rpc: Annotated[str, typer.Option("--rpc", help="JSON-RPC of the chain.")],
    deployment: Annotated[Path, typer.Option("--deployment", help="The contracts' addresses.")],
    amount: Annotated[
        str | None, typer.Option(help="How much, e.g. 0.01eth. [default: all of the credit]")
    ] = None,
    password_file: PasswordFile = None,
    home: HomeOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Take credit out of the Market: what a provider earned, or what a buyer left there.

    [bold]Example[/bold]
      reelmesh account withdraw provider --to 0x… --rpc URL --deployment deployment.json
    """
    from reelmesh.errors import UserError
    from reelmesh.node.cli.money import format_eth, parse_amount
    from reelmesh.node.cli.moving import withdraw_credit
    from reelmesh.node.cli.nodes import unlock

    if re.fullmatch(r"0x[0-9a-fA-F]{40}", to) is None:
        raise UserError(f"{to!r} is no address", "give 0x and 40 hex digits")
    wei = parse_amount(amount) if amount else None
    key = unlock(Home.at(home).keystore, name, password_file)
    done = asyncio.run(withdraw_credit(rpc, deployment, key, to, wei))
    if as_json:
        print_json({"tx": done.tx, "amount": str(done.amount), "to": to})
        return
    print(f"paid {format_eth(done.amount, exact=True)} to {to}\n  transaction {done.tx}")

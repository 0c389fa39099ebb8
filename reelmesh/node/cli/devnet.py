"""`reelmesh devnet`: a local market that stays up."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reelmesh.node.cli.home import Home, HomeOption
from reelmesh.node.cli.output import JsonFlag, print_json, table

if TYPE_CHECKING:
    from reelmesh.node.devnet.state import DevnetState

app = typer.Typer(no_args_is_help=True, help="A whole market on this machine, to try things on.")


@app.command()
def up(
    home: HomeOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Start a local chain, deploy the contracts, and run a coordinator and three providers.

    They go on in the background until `reelmesh devnet down`. Jobs can be posted at once:
    reelmesh job submit "a green square moving up over a black background"
    """
    from reelmesh.node.devnet.market import Devnet

    root = Home.at(home).devnet
    made = Devnet(_fresh(root), detached=True, told=_quiet if as_json else _say)
    state = asyncio.run(made.up())
    if as_json:
        print_json(_told(state, root))
        return
    print(f"\nthe devnet is up; its logs are in {root / 'logs'}")
    print('  next: reelmesh job submit "a green square moving up over a black background"')
    print("  stop: reelmesh devnet down")


@app.command()
def status(home: HomeOption = None, as_json: JsonFlag = False) -> None:
    """Show the local market's processes. Exits with 1 unless all of them run."""
    root = Home.at(home).devnet
    state = _load(root)
    told = _told(state, root)
    if as_json:
        print_json(told)
    else:
        rows = [
            [p["name"], str(p["pid"]), p["state"], p["address"], p["log"]]
            for p in told["processes"]
        ]
        table("Devnet", ["name", ">pid", "state", "address", "log"], rows)
        print(f"\nchain {state.chain_id} at {state.rpc_url}")
    if not told["up"]:
        raise typer.Exit(1)


@app.command()
def down(
    home: HomeOption = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep its folder, with the logs.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """End the local market and everything that it started."""
    import shutil

    from reelmesh.node.devnet.market import end_devnet

    root = Home.at(home).devnet
    asyncio.run(end_devnet(_load(root), root))
    if not keep:
        shutil.rmtree(root, ignore_errors=True)
    if as_json:
        print_json({"up": False})
    else:
        print("the devnet is down")


def _fresh(root: Path) -> Path:
    """Move what an earlier devnet left aside, unless one is up there: then `up` says so."""
    import time

    from reelmesh.node.devnet.state import DevnetState

    state = DevnetState.load(root)
    alive = state is not None and any(p.process() for p in state.processes)
    if root.exists() and any(root.iterdir()) and not alive:
        root.rename(root.with_name(f"{root.name}.old-{int(time.time())}"))
    return root


def _load(root: Path) -> DevnetState:
    from reelmesh.errors import UserError
    from reelmesh.node.devnet.state import DevnetState

    state = DevnetState.load(root)
    if state is None:
        raise UserError(f"no devnet is up in {root}", "start one: reelmesh devnet up")
    return state


def _told(state: DevnetState, root: Path) -> dict[str, Any]:
    rows = [
        {
            "name": p.name,
            "pid": p.pid,
            "state": "running" if p.process() else "gone",
            "address": p.address,
            "home": str(p.home),
            "log": str(p.log),
        }
        for p in state.processes
    ]
    up = all(row["state"] == "running" for row in rows)
    return {
        "up": up,
        "root": str(root),
        "rpc_url": state.rpc_url,
        "chain_id": state.chain_id,
        "deployment": str(state.deployment),
        "processes": rows,
    }


def _say(what: str, detail: str) -> None:
    print(f"  {what:<12}{detail}", flush=True)


def _quiet(_what: str, _detail: str) -> None:
    return

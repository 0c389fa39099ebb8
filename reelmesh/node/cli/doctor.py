"""`reelmesh doctor`: is everything here that reelmesh needs?"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from reelmesh.node.cli.home import Home, HomeOption
from reelmesh.node.cli.output import JsonFlag, print_json

_MARK = {"ok": "ok   ", "warn": "warn ", "error": "ERROR"}


def doctor(
    home: HomeOption = None,
    rpc: Annotated[str | None, typer.Option("--rpc", help="A chain to check as well.")] = None,
    deployment: Annotated[
        Path | None, typer.Option("--deployment", help="Contracts that must be on that chain.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Check this machine, and say how to mend what is wrong. Exits with 1 on any error.

    [bold]Example[/bold]: reelmesh doctor --rpc https://sepolia.base.org
    """
    from reelmesh.node.cli.checkup import examine

    findings = asyncio.run(examine(Home.at(home), rpc, deployment))
    bad = [f for f in findings if f.level == "error"]
    if as_json:
        rows: list[dict[str, Any]] = [f.as_dict() for f in findings]
        print_json({"ok": not bad, "checks": rows})
    else:
        for found in findings:
            print(f"{_MARK[found.level]}  {found.name:<16} {found.detail}")
            if found.fix:
                print(f"       {'':<16} fix: {found.fix}")
    if bad:
        raise typer.Exit(1)

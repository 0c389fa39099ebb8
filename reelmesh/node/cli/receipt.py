"""`reelmesh receipt`: check a job's public proof."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reelmesh.errors import UserError
from reelmesh.node.cli.output import JsonFlag, print_json

if TYPE_CHECKING:
    from reelmesh.node.receipt.verify import Check

app = typer.Typer(no_args_is_help=True, help="Check a job's public proof.")

_MARK = {True: "ok   ", False: "WRONG", None: "  -  "}
_MOST_BYTES = 64 << 20


@app.callback()
def receipt_() -> None:
    """Check a job's public proof."""


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="The receipt, e.g. out/demo.receipt.json.")],
    rpc: Annotated[
        str | None, typer.Option("--rpc", help="Check against this chain as well.")
    ] = None,
    chain_state: Annotated[
        Path | None,
        typer.Option("--chain-state", help="Check against a local chain's saved state."),
    ] = None,
    video: Annotated[
        Path | None,
        typer.Option(help="The video. [default: the .mp4 beside the receipt, if there is one]"),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Name every check, not only each part.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Recompute every hash, Merkle proof and signature of a receipt.

    Needs no network and trusts nobody. What only the chain can say is checked with --rpc or
    --chain-state, and is otherwise named as not checked. Exits with 1 if anything is wrong.

    [bold]Example[/bold]
      reelmesh receipt verify out/demo.receipt.json --chain-state out/demo.chain-state.json
    """
    from reelmesh.node.cli.verifying import check_video, verify_file

    if rpc and chain_state:
        raise UserError("--rpc and --chain-state exclude each other", "pass one of them")
    if not file.is_file():
        raise UserError(f"there is no receipt at {file}", "name the .receipt.json file of a job")
    if file.stat().st_size > _MOST_BYTES:
        raise UserError(f"{file} is too large for a receipt", "name the .receipt.json file")
    if video is not None and not video.is_file():
        raise UserError(f"there is no video at {video}", "name the .mp4 file of the job")
    data = file.read_bytes()
    checks = [check_video(data, video or _beside(file))]
    checks += asyncio.run(verify_file(data, rpc, chain_state))
    wrong = [check for check in checks if check.ok is False]
    if as_json:
        print_json({"file": str(file), "ok": not wrong, "checks": [_as_dict(c) for c in checks]})
    else:
        _print(checks, wrong, every=every)
    if wrong:
        raise typer.Exit(1)


def _beside(file: Path) -> Path | None:
    mp4 = file.with_name(file.name.removesuffix(".receipt.json") + ".mp4")
    return mp4 if mp4.is_file() else None


def _as_dict(check: Check) -> dict[str, Any]:
    return {"name": check.name, "ok": check.ok, "detail": check.detail}


def _print(checks: list[Check], wrong: list[Check], *, every: bool) -> None:
    parts: dict[str, list[Check]] = {}
    for check in checks:
        parts.setdefault(check.name if every else _part(check.name), []).append(check)
    for part, found in parts.items():
        good = [check for check in found if check.ok]
        if good and len(found) == 1:
            _line(good[0])
        elif good:
            print(f"{_MARK[True]}  {part}: {len(good)} checks")
        for check in found:
            if not check.ok:
                _line(check)
    skipped = sum(check.ok is None for check in checks)
    passed = len(checks) - len(wrong) - skipped
    print(f"\n{passed} checks passed, {len(wrong)} failed, {skipped} not checked")
    print("the receipt is NOT valid" if wrong else "the receipt is valid")


def _part(name: str) -> str:
    """Return what a check belongs to: "work.decode" of work.decode.signature, else its section."""
    steps = name.split(".")
    return ".".join(steps[:2]) if len(steps) > 2 else steps[0]


def _line(check: Check) -> None:
    print(f"{_MARK[check.ok]}  {check.name}{f': {check.detail}' if check.detail else ''}")

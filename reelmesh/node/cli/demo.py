"""`reelmesh demo`: a prompt becomes an MP4 through the whole market, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reelmesh.node.cli.output import JsonFlag, say_notes

PROMPT = "a small green square moving up over a black background"


def demo(
    prompt: Annotated[str, typer.Argument(help="What the video shows.")] = PROMPT,
    seconds: Annotated[float, typer.Option(help="Length.")] = 4.0,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT, even.")] = "512x512",
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same video.")] = None,
    budget: Annotated[str, typer.Option(help="Most that is paid, with its unit.")] = "0.002eth",
    out: Annotated[Path, typer.Option(help="Folder for what is made.")] = Path("out"),
    keep: Annotated[bool, typer.Option("--keep", help="Keep the market's folder.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run the whole market once: a chain, contracts, a buyer, three providers, one job.

    Everything is local and play money. Makes out/demo.mp4, out/demo.receipt.json and
    out/demo.chain-state.json, and leaves no process behind.

    [bold]Example[/bold]: reelmesh demo "a large red ball moving left over a blue background"
    """
    from reelmesh.node.cli.asking import build_request
    from reelmesh.node.cli.demoing import DemoRequest, run_demo
    from reelmesh.node.cli.money import parse_amount
    from reelmesh.node.cli.options import JobOptions

    options = JobOptions(prompt=prompt, size=size, seed=seed, seconds=seconds)
    asked = build_request(options)
    say_notes(asked.notes)
    request = DemoRequest(
        spec=asked.spec,
        budget=parse_amount(budget),
        out=out.absolute(),
        keep=keep,
        as_json=as_json,
    )
    run_demo(request)

"""`reelmesh job`: buy a video."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reelmesh.node.cli import layered
from reelmesh.node.cli.coordinator import NodeOption
from reelmesh.node.cli.home import Home, HomeOption
from reelmesh.node.cli.options import JobOptions, takes_job_options
from reelmesh.node.cli.output import JsonFlag, print_json, say_notes, shown_path, table

if TYPE_CHECKING:
    from reelmesh.node.cli.control import Order, Taken

app = typer.Typer(no_args_is_help=True, help="Buy a video, and see what became of it.")

ReuseOption = Annotated[
    bool,
    typer.Option("--reuse/--no-reuse", help="Take in what your earlier jobs made, at no cost."),
]
SimilarOption = Annotated[
    bool,
    typer.Option(
        "--similar",
        help="Also take in the clip of an earlier prompt that asks for the same in other words.",
    ),
]
PreviewOption = Annotated[
    bool,
    typer.Option("--preview", help="Have only a small clip made; then go on or stop."),
]
JobId = Annotated[str, typer.Argument(help="The job's id, or the first characters of it.")]


@app.command()
@takes_job_options
def submit(
    options: JobOptions,
    budget: Annotated[str, typer.Option(help="Most that is paid, with its unit.")] = "0.002eth",
    deadline: Annotated[str, typer.Option(help="From now: 90s, 10m, 2h.")] = "15m",
    out: Annotated[Path, typer.Option(help="Folder for the MP4 and the receipt.")] = Path("out"),
    name: Annotated[str | None, typer.Option(help="File name, without its ending.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Do not watch.")] = False,
    reuse: ReuseOption = True,
    similar: SimilarOption = False,
    preview: PreviewOption = False,
    home: HomeOption = None,
    node: NodeOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Post a job with its payment locked on chain, and watch it until the MP4 is here.

    Ctrl-C stops the watching, never the job. What it may cost: job estimate, with the same options.

    [bold]From a prompt or a picture[/bold]
      reelmesh job submit "a large red ball moving left over a blue background"
      reelmesh job submit --image photo.png --seconds 10 "moving to the left"
      reelmesh job submit --audio "a big red ball bouncing over a white background"
      reelmesh job submit --audio --audio-model ltx-2 --budget 0.1eth "a red ball bouncing"
      reelmesh job submit --size 3840x2160 --budget 0.1eth --deadline 1h "a green star moving up"
      reelmesh job submit --similar "big red ball going left on blue"
      reelmesh job submit --model wan-t2v --size 832x480 --budget 0.1eth "a fox runs through snow"

    [bold]From a video of yours[/bold]
      reelmesh job submit --video in.mp4 --orbit -15:15 --budget 0.01eth
      reelmesh job submit --video in.mp4 --extend 2
      reelmesh job submit --video in.mp4 --retime 0.5
      reelmesh job submit --video in.mp4 --restyle "a pencil sketch"

    [bold]Look first, then go on; mend a part[/bold]
      reelmesh job submit --preview "a green star moving up"
      reelmesh job continue 0x3f…
      reelmesh job repair 0x3f… --from 1.0 --to 2.0
    """
    from reelmesh.node.cli import submitting
    from reelmesh.node.cli.asking import build_request
    from reelmesh.node.cli.control import Order
    from reelmesh.node.cli.finding import find_coordinator
    from reelmesh.node.cli.money import parse_amount

    wei, limit = parse_amount(budget), submitting.parse_duration(deadline)
    mode = submitting.reuse_word(reuse=reuse, similar=similar)
    request = build_request(options)
    where = Home.at(home)
    socket = find_coordinator(where, node) / "control.sock"
    folder = out.absolute()
    stem = name or submitting.free_stem(folder, options.prompt)
    written = request.spec.canonical().decode()
    order = Order(written, wei, limit, folder, stem, request.sources, mode)
    say_notes((*request.notes, *(submitting.similar_notes(request.spec) if similar else ())))
    if similar and options.seed is None:
        order = asyncio.run(submitting.with_similar_seed(socket, order))
    if preview:
        order = asyncio.run(layered.preview_order(socket, order))
    job_id = _post(socket, order, where, detach=detach, as_json=as_json)
    if preview and not detach:
        _offer_the_rest(socket, job_id, order, where, as_json=as_json)


@app.command("continue")
def continue_(
    job_id: JobId,
    budget: Annotated[
        str | None, typer.Option(help="Most that is paid for the rest.", show_default="as before")
    ] = None,
    deadline: Annotated[str, typer.Option(help="From now: 90s, 10m, 2h.")] = "15m",
    detach: Annotated[bool, typer.Option("--detach", help="Do not watch.")] = False,
    home: HomeOption = None,
    node: NodeOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Go on from a preview: post the whole job; what the preview paid for is taken in."""
    from reelmesh.node.cli import submitting
    from reelmesh.node.cli.finding import find_coordinator
    from reelmesh.node.cli.money import parse_amount

    where, limit = Home.at(home), submitting.parse_duration(deadline)
    socket = find_coordinator(where, node) / "control.sock"
    order = layered.whole_order(socket, asyncio.run(_show(socket, job_id)), limit)
    if budget is not None:
        order = replace(order, budget=parse_amount(budget))
    _post(socket, order, where, detach=detach, as_json=as_json)


@app.command()
def repair(
    job_id: JobId,
    start: Annotated[float, typer.Option("--from", help="Where the bad part begins, in seconds.")],
    stop: Annotated[float, typer.Option("--to", help="Where it ends.")],
    seed: Annotated[int | None, typer.Option(show_default="drawn", help="Of the new part.")] = None,
    prompt: Annotated[
        str | None, typer.Option(show_default="the job's", help="What the new part shows.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Most that is paid.", show_default="its share of the job's")
    ] = None,
    deadline: Annotated[str, typer.Option(help="From now: 90s, 10m, 2h.")] = "15m",
    detach: Annotated[bool, typer.Option("--detach", help="Do not watch.")] = False,
    home: HomeOption = None,
    node: NodeOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Make one bad part of a finished video anew; the rest stays bit for bit, at no cost.

    A little more than the part changes on either side. Only for videos made from a prompt alone.

    [bold]Example[/bold]
      reelmesh job repair 0x3f… --from 1.0 --to 2.0
    """
    from reelmesh.node.cli import repairing, submitting
    from reelmesh.node.cli.finding import find_coordinator
    from reelmesh.node.cli.money import parse_amount

    where, limit = Home.at(home), submitting.parse_duration(deadline)
    socket = find_coordinator(where, node) / "control.sock"
    job = asyncio.run(_show(socket, job_id))
    span = (start, stop)
    order = asyncio.run(repairing.repair_order(socket, job, span, seed, prompt, limit))
    if budget is not None:
        order = replace(order, budget=parse_amount(budget))
    _post(socket, order, where, detach=detach, as_json=as_json)


def _post(socket: Path, order: Order, home: Home, *, detach: bool, as_json: bool) -> str:
    """Hand a job in and see it through; return the id of the job that made the video."""
    from reelmesh.node.cli import submitting
    from reelmesh.node.cli.jobview import JobView

    taken = asyncio.run(submitting.submit(socket, order))
    if taken.video:
        _say_given_again(taken, as_json=as_json)
        return taken.job_id
    _say_id(taken.job_id, as_json=as_json)
    if detach:
        _say_next(taken.job_id)
    else:
        _watch(socket, JobView(taken.job_id), home, as_json=as_json)
    return taken.job_id


def _offer_the_rest(
    socket: Path, job_id: str, preview: Order, home: Home, *, as_json: bool
) -> None:
    """Say what going on costs; on a terminal, ask. Stopping here costs nothing more."""
    from reelmesh.node.cli.money import format_eth

    shown = asyncio.run(_show(socket, job_id))
    asked = layered.as_asked(shown, preview)
    order = layered.whole_order(socket, asked, preview.deadline_s)
    if as_json:
        print_json({"preview": job_id, "price_to_go_on": str(order.budget)})
        return
    print(f"\n  to go on, for at most {format_eth(order.budget)}:")
    again = "the same job submit, without --preview"
    print(f"  {f'reelmesh job continue {job_id}' if asked == shown else again}")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return
    if typer.confirm(f"\ngo on for at most {format_eth(order.budget)}?", default=False):
        _post(socket, order, home, detach=False, as_json=False)


@app.command()
def watch(
    job_id: JobId, home: HomeOption = None, node: NodeOption = None, as_json: JsonFlag = False
) -> None:
    """Show what happened to a job, then what happens, until it is over."""
    from reelmesh.node.cli.finding import find_coordinator
    from reelmesh.node.cli.jobview import JobView

    where = Home.at(home)
    socket = find_coordinator(where, node) / "control.sock"
    whole = asyncio.run(_whole_id(socket, job_id))
    _watch(socket, JobView(whole), where, as_json=as_json)


@app.command()
def show(
    job_id: JobId, home: HomeOption = None, node: NodeOption = None, as_json: JsonFlag = False
) -> None:
    """Show everything known of a job: subtasks, providers, transactions, money."""
    from reelmesh.node.cli.finding import find_coordinator
    from reelmesh.node.cli.report import print_report

    where = Home.at(home)
    socket = find_coordinator(where, node) / "control.sock"
    told = asyncio.run(_show(socket, job_id))
    if as_json:
        print_json(told)
        return
    spec = told.get("spec") or {}
    print(f"job {told['job_id']}\n  state   {told['state']}\n  prompt  {spec.get('prompt', '')}")
    if told.get("error"):
        print(f"  reason  {told['error']['code']}: {told['error']['hint']}")
    print_report(told, _names(where))


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The newest so many.")] = 20,
    home: HomeOption = None,
    node: NodeOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List jobs, the newest first."""
    from reelmesh.node.cli.finding import find_coordinator
    from reelmesh.node.cli.money import format_eth

    socket = find_coordinator(Home.at(home), node) / "control.sock"
    jobs = asyncio.run(_list(socket, limit))
    if as_json:
        print_json(jobs)
        return
    if not jobs:
        print('no job yet; post one: reelmesh job submit "a red ball moving left"')
        return
    rows = [[j["job_id"], j["state"], format_eth(j.get("budget") or 0), _about(j)] for j in jobs]
    table("Jobs", ["job", "state", ">budget", "prompt"], rows)


@app.command()
def cancel(
    job_id: JobId, home: HomeOption = None, node: NodeOption = None, as_json: JsonFlag = False
) -> None:
    """Stop a job. What was delivered is paid for, the rest of the escrow comes back."""
    from reelmesh.node.cli.finding import find_coordinator

    socket = find_coordinator(Home.at(home), node) / "control.sock"
    told = asyncio.run(_cancel(socket, job_id))
    if as_json:
        print_json(told)
    else:
        print(f"cancelling {told.get('job_id', job_id)}; see: reelmesh job show {job_id}")


@app.command()
@takes_job_options
def estimate(
    options: JobOptions,
    yuan_per_eth: Annotated[
        float | None,
        typer.Option(help="For the comparison alone; no rate is looked up.", show_default="20000"),
    ] = None,
    home: HomeOption = None,
    node: NodeOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Say what a job should cost in money, time and energy. Posts nothing, spends nothing.

    Where a coordinator runs, from what providers advertise to it now; else from the cost model.

    [bold]Examples[/bold]
      reelmesh job estimate "a large red ball moving left over a blue background"
      reelmesh job estimate --image photo.png --seconds 10 "moving to the left"
      reelmesh job estimate --audio --audio-model ltx-2 "a big red ball bouncing over white"
      reelmesh job estimate --size 3840x2160 "a green star moving up"
      reelmesh job estimate --model wan-t2v --size 832x480 "a fox runs through snow"
      reelmesh job estimate --video in.mp4 --orbit -15:15
      reelmesh job estimate --video in.mp4 --extend 2
    """
    from reelmesh.node.cli import estimating
    from reelmesh.node.cli.asking import build_request

    request = build_request(options)
    where = Home.at(home)
    known = estimating.Known(
        offers=_live_offers(where, node),
        watts=estimating.measured_watts(where.provider),
        yuan_per_eth=estimating.YUAN_PER_ETH if yuan_per_eth is None else yuan_per_eth,
    )
    told = estimating.estimate_job(request.spec, known)
    if as_json:
        print_json(told)
        return
    say_notes(request.notes)
    estimating.print_estimate(told)


def _live_offers(home: Home, node: Path | None) -> Sequence[Any]:
    """What providers advertise; nothing where no coordinator runs, unless one was named."""
    from reelmesh.node.cli.control import NodeNotRunning
    from reelmesh.node.cli.estimating import ask_offers
    from reelmesh.node.cli.finding import find_coordinator

    try:
        return asyncio.run(ask_offers(find_coordinator(home, node) / "control.sock"))
    except NodeNotRunning:
        if node is not None:
            raise
        return ()


def _say_id(job_id: str, *, as_json: bool) -> None:
    if as_json:
        print(f'{{"job_id": "{job_id}"}}', flush=True)
    else:
        print(f"job {job_id}", flush=True)


def _say_given_again(taken: Taken, *, as_json: bool) -> None:
    from reelmesh.node.cli.lines import taken_from

    similar = None
    if taken.similar_prompt:
        similar = {"prompt": taken.similar_prompt, "likeness": taken.likeness}
    if as_json:
        told: dict[str, Any] = {"job_id": taken.job_id, "video": taken.video, "reused": True}
        if similar is not None:
            told["similar"] = similar
        print_json(told)
        return
    if similar is None:
        print(f"you have had this very video made before, by job {taken.job_id}")
    else:
        print(f"{taken_from(similar)}\nit was made by job {taken.job_id}")
    print("nothing was posted, and nothing is paid; --no-reuse has it made anew")
    print(f"\n  video    {shown_path(Path(taken.video))}")


def _say_next(job_id: str) -> None:
    print(f"\n  watch   reelmesh job watch {job_id}\n  stop    reelmesh job cancel {job_id}")


def _watch(socket: Path, view: Any, home: Home, *, as_json: bool) -> None:
    from reelmesh.node.cli import submitting
    from reelmesh.node.cli.report import print_report

    names = _names(home)
    try:
        outcome = submitting.run_watch(socket, view, names, as_json=as_json)
    except KeyboardInterrupt:
        print(
            f"\nthe job goes on. Watch it again: reelmesh job watch {view.job_id}", file=sys.stderr
        )
        raise
    if not as_json:
        print_report(outcome.job, names)
    submitting.require_video(outcome)
    if not as_json:
        print_next(outcome.view.video, outcome.view.receipt)


def print_next(video: str, receipt: str) -> None:
    """Print where the video is, and commands to copy."""
    print(f"\n  video    {shown_path(Path(video))}\n  receipt  {shown_path(Path(receipt))}")
    page = Path(video).with_suffix(".html")
    if page.exists():
        print(f"  walk     {shown_path(page)} in a browser")
    print(f"  verify   reelmesh receipt verify {shown_path(Path(receipt))}")


def _names(home: Home) -> dict[str, str]:
    from reelmesh.node.devnet.state import read_names

    return read_names(home.devnet)


def _prompt(job: dict[str, Any]) -> str:
    prompt = str(job.get("prompt") or (job.get("spec") or {}).get("prompt") or "")
    return prompt if len(prompt) <= 48 else f"{prompt[:47]}…"


def _about(job: dict[str, Any]) -> str:
    return f"{_prompt(job)} (taken from a similar prompt)" if job.get("similar") else _prompt(job)


async def _whole_id(socket: Path, start: str) -> str:
    """Complete the first characters of a job's id. Raises UserError unless one job has them."""
    from reelmesh.errors import UserError

    if len(start) == 66:
        return start
    found = [j["job_id"] for j in await _list(socket, 1000) if j["job_id"].startswith(start)]
    if len(found) != 1:
        raise UserError(
            f"{len(found)} jobs have an id that starts with {start}", "list them: reelmesh job list"
        )
    return str(found[0])


async def _show(socket: Path, start: str) -> dict[str, Any]:
    from reelmesh.node.cli.control import ControlClient

    whole = await _whole_id(socket, start)
    async with ControlClient(socket) as client:
        return await client.show(whole)


async def _list(socket: Path, limit: int) -> list[dict[str, Any]]:
    from reelmesh.node.cli.control import ControlClient

    async with ControlClient(socket) as client:
        told: Any = await client.jobs(limit)
    return list(told["jobs"] if isinstance(told, dict) else told)


async def _cancel(socket: Path, start: str) -> dict[str, Any]:
    from reelmesh.node.cli.control import ControlClient

    whole = await _whole_id(socket, start)
    async with ControlClient(socket) as client:
        return await client.cancel(whole)

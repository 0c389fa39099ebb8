"""The demo: a market from nothing, one job by the path of `job submit`, an account of it all."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reelmesh.node.cli import submitting
from reelmesh.node.cli.control import Order
from reelmesh.node.cli.jobview import JobView
from reelmesh.node.cli.output import print_json, shown_path
from reelmesh.node.cli.report import print_report
from reelmesh.node.cli.submitting import Outcome
from reelmesh.node.devnet.market import Devnet

if TYPE_CHECKING:
    from reelmesh.scheduler.spec import JobSpec

NAME = "demo"
_DEADLINE_S = 900


@dataclass(frozen=True)
class DemoRequest:
    """What the demo is to do."""

    spec: JobSpec
    budget: int
    out: Path
    keep: bool
    as_json: bool


def run_demo(request: DemoRequest) -> None:
    """Run the demo; raises JobFailed, or whatever kept the market from starting.

    The market's folder is removed at the end, unless it is to be kept or something failed.
    """
    request.out.mkdir(parents=True, exist_ok=True)
    # A short path: the control socket's must stay below 100 bytes.
    root = Path(tempfile.mkdtemp(prefix="reelmesh-"))
    try:
        outcome = _run(_demo(request, root))
    except KeyboardInterrupt:
        shutil.rmtree(root, ignore_errors=True)
        print("\nstopped; no process is left behind", file=sys.stderr)
        raise
    except BaseException:
        print(f"the market's logs are kept in {root / 'logs'}", file=sys.stderr)
        raise
    if request.keep or outcome.view.state != "delivered":
        print(f"the market's folder is kept: {root}", file=sys.stderr)
    else:
        shutil.rmtree(root, ignore_errors=True)
    submitting.require_video(outcome)


def _run(main: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Run to the end; SIGINT, SIGTERM and SIGHUP end the market in order, then interrupt."""

    async def guarded() -> Outcome:
        task = asyncio.ensure_future(main)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, task.cancel)
        try:
            return await task
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None

    return asyncio.run(guarded())


async def _demo(request: DemoRequest, root: Path) -> Outcome:
    began = time.monotonic()
    say = _Teller(quiet=request.as_json)
    say.title("Starting a market on this machine")
    market = Devnet(root, told=say.step)
    try:
        await market.up()
        ready = time.monotonic()
        say.title(f'Posting a job: "{request.spec.prompt}"')
        outcome = await _job(request, root, market.names)
        done = time.monotonic()
    finally:
        await asyncio.shield(market.close())
    kept = request.out / f"{NAME}.chain-state.json"
    if market.chain_state.is_file():
        shutil.copyfile(market.chain_state, kept)
    times = {"market_s": ready - began, "job_s": done - ready, "all_s": time.monotonic() - began}
    if request.as_json:
        print_json({**outcome.job, "chain_state": str(kept), "times": times})
    elif outcome.view.state == "delivered":
        _close(outcome, market.names, kept, times)
    return outcome


async def _job(request: DemoRequest, root: Path, names: dict[str, str]) -> Outcome:
    spec = request.spec
    order = Order(spec.canonical().decode(), request.budget, _DEADLINE_S, request.out, NAME)
    socket = root / "coordinator" / "control.sock"
    job_id = (await submitting.submit(socket, order)).job_id
    if not request.as_json:
        print(f"  job {job_id}", flush=True)
    return await submitting.watch(socket, JobView(job_id), names, quiet=request.as_json)


def _close(outcome: Outcome, names: dict[str, str], kept: Path, times: dict[str, float]) -> None:
    print_report(outcome.job, names)
    video, receipt = Path(outcome.view.video), Path(outcome.view.receipt)
    market, job, whole = times["market_s"], times["job_s"], times["all_s"]
    print(f"\n  video    {shown_path(video)}  ({video.stat().st_size:,} bytes)")
    print(f"  receipt  {shown_path(receipt)}")
    print(f"  time     {whole:.0f} s: market up in {market:.0f} s, job done in {job:.0f} s")
    verify = f"reelmesh receipt verify {shown_path(receipt)} --chain-state {shown_path(kept)}"
    bin_dir = ".venv/bin/" if Path(".venv/bin/reelmesh").exists() else ""
    print("\nNext")
    print(f"  {bin_dir}{verify}")
    print('  make demo PROMPT="a large red ball moving left over a blue background"')
    print(f"  {bin_dir}reelmesh devnet up      # a market that stays, to post your own jobs to")
    print(f"  {bin_dir}reelmesh provider run --help")


class _Teller:
    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def title(self, text: str) -> None:
        if not self._quiet:
            print(f"\n{text}", flush=True)

    def step(self, what: str, detail: str) -> None:
        if not self._quiet:
            print(f"  {what:<12}{detail}", flush=True)

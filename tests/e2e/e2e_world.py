"""What the end-to-end tests share: a market of real processes, a small job, and an honest count."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import psutil

from reelmesh.contracts.chain import Web3Client, connect, disconnect
from reelmesh.contracts.deploy import Deployment
from reelmesh.contracts.market import MarketClient
from reelmesh.node.cli.control import ControlClient, Event, Order
from reelmesh.node.devnet.market import Devnet
from reelmesh.node.devnet.profiles import PROVIDERS, Profile
from reelmesh.node.devnet.state import DevnetState, ProcessState
from reelmesh.scheduler.spec import JobSpec, TextToVideo

BUDGET = 2 * 10**15
SPEC = TextToVideo(
    prompt="a large red ball moving left over a blue background",
    seconds=3.0,
    width=256,
    height=256,
    steps=8,
    seed=11,
)


@dataclass
class World:
    """A devnet that is up."""

    net: Devnet
    state: DevnetState
    root: Path

    @property
    def socket(self) -> Path:
        return self.root / "coordinator" / "control.sock"

    def provider(self, address: str) -> ProcessState:
        return next(p for p in self.state.providers if p.address == address)


@asynccontextmanager
async def market(profiles: tuple[Profile, ...] = PROVIDERS) -> AsyncIterator[World]:
    """A market in a short temporary folder, gone afterwards with every process of it."""
    root = Path(tempfile.mkdtemp(prefix="rm-e2e-"))
    net = Devnet(root, profiles=profiles)
    try:
        state = await net.up()
        yield World(net, state, root)
    finally:
        await net.close()
        assert processes_of(root) == []
        shutil.rmtree(root, ignore_errors=True)


async def submit(world: World, *, deadline_s: int = 240, budget: int = BUDGET) -> str:
    order = Order(SPEC.canonical().decode(), budget, deadline_s, world.root / "out", "film")
    async with ControlClient(world.socket) as client:
        return await client.submit(order)


async def until(world: World, job_id: str, wanted: Callable[[Event], bool]) -> Event:
    """Follow a job from its first event to the first one that is wanted."""
    async with ControlClient(world.socket) as client:
        async for event in client.watch(job_id):
            if wanted(event):
                return event
            over = event.type in {"delivered", "job_failed", "job_cancelled"}
            assert not over, f"the job ended early: {event}"
    raise AssertionError("the watch ended before what was waited for")


async def show(world: World, job_id: str) -> dict[str, Any]:
    async with ControlClient(world.socket) as client:
        return await client.show(job_id)


def kill(node: ProcessState) -> None:
    """SIGKILL a node, without a word to its own children: they must notice by themselves."""
    os.kill(node.pid, signal.SIGKILL)


def check_video(path: Path, spec: JobSpec = SPEC) -> None:
    """Decode all of it: every frame is there, at its size, in what browsers play."""
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.width, stream.height) == (spec.width, spec.height)
        assert stream.average_rate == spec.fps
        assert sum(1 for _ in film.decode(stream)) == spec.frames


async def check_every_coin(world: World, job_id: str) -> None:
    """On chain: what was paid and what came back are the escrow, and nothing stays behind.

    What a vanished provider might still claim is waited out, then refunded by anyone.
    """
    w3 = await connect(world.state.rpc_url, world.state.chain_id)
    try:
        found = Deployment.load(world.state.deployment)
        reader = MarketClient(w3, found.market)
        told = await show(world, job_id)
        if int(told.get("locked") or 0):
            await _wait_out(world, reader, w3, job_id)
        buyer = world.state.coordinator.address
        held_by = await _credit(reader, [buyer, *(p.address for p in world.state.providers)])
        held = int(await w3.eth.get_balance(w3.to_checksum_address(found.market)))
        assert held == sum(held_by.values())
        paid = sum(wei for who, wei in held_by.items() if who != buyer)
        assert paid > 0
        assert paid + held_by[buyer] == BUDGET
    finally:
        await disconnect(w3)


async def _credit(reader: MarketClient, accounts: list[str]) -> dict[str, int]:
    return {who: await reader.credit_of(who) for who in accounts}


async def _wait_out(world: World, reader: MarketClient, w3: Web3Client, job_id: str) -> None:
    from reelmesh.contracts.chain import Sender
    from reelmesh.contracts.events import JobPosted

    posted = next(
        event
        for event in await reader.events(
            0, int(await w3.eth.block_number), bytes.fromhex(job_id[2:])
        )
        if isinstance(event, JobPosted)
    )
    await world.net.anvil.advance(posted.terms.deadline + posted.terms.claim_window + 60)
    anyone = MarketClient(w3, reader.address, Sender(w3, await world.net.anvil.funded_key()))
    await anyone.refund(posted.terms)


def processes_of(root: Path) -> list[str]:
    """Command lines of living processes that name a folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(root) in line and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(line)
    return found


async def gone(root: Path, within_s: float = 20.0) -> list[str]:
    """Wait until no process names a folder; return those that still do."""
    end = asyncio.get_running_loop().time() + within_s
    while (left := processes_of(root)) and asyncio.get_running_loop().time() < end:
        await asyncio.sleep(0.1)
    return left

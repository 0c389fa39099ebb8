"""Measures how long a call takes to become awards in ten providers' hands.

A real coordinator on a real local chain calls for bids on a whole job; ten providers with libp2p
hosts, keys and stakes of their own, in another process, answer by the price policy that providers
use. Counted is the time from the call to the moment at which the last winner holds its award, less
the time for which bids are held open on purpose: gossip, checking bids and stakes, the auction, the
awards' transaction on chain, and the awards' way to the winners.

Baseline: a bare request of 1 KiB to the same ten peers at once, answered by each.

Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from reelmesh.contracts import chain
from reelmesh.contracts.anvil import Anvil
from reelmesh.contracts.chain import Sender
from reelmesh.contracts.deploy import Deployment, deploy
from reelmesh.contracts.providers import ProvidersClient
from reelmesh.node.cli.control import ControlClient, Order
from reelmesh.node.config import CoordinatorConfig
from reelmesh.node.coordinator.app import run_coordinator
from reelmesh.node.logging import setup_logging
from reelmesh.node.p2p.host import P2PHost
from reelmesh.node.p2p.network import MarketNetwork
from reelmesh.node.provider.policy import PricePolicy, StageRate, Standing, decide
from reelmesh.node.rpc.certs import make_certificate
from reelmesh.node.wallet.keys import NodeKey, new_nonce
from reelmesh.proto import market_pb2
from reelmesh.scheduler.cost import REFERENCE
from reelmesh.scheduler.spec import TextToVideo
from reelmesh.scheduler.stages import CATALOGUE

PROVIDERS = 10
RUNS = 5
WINDOW_S = 2.0
STAKE = 10**16
BUDGET = 10**16
ECHO = "/reelmesh/bench/echo"
ECHO_BYTES = 1024
TARGET_MS = 1000.0


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Bidder:
    """One provider up to its award: hears calls, bids by policy, notes when an award comes."""

    def __init__(self, key: NodeKey, speed: float, told: dict[str, Any]) -> None:
        self.key = key
        self.told = told
        self.host = P2PHost(key, bootstrap=[told["coordinator"]])
        self.network = MarketNetwork(self.host, key)
        self.certificate = make_certificate(key, now_ms(), 86_400)
        self.rates = {
            name: StageRate(name, entry.version, REFERENCE[name].seconds_per_unit / speed, 500)
            for name, entry in CATALOGUE.items()
            if entry.embedded
        }
        self.policy = PricePolicy(threads=1, wei_per_cpu_second=10**13, margin=-0.5)

    async def start(self) -> None:
        self.network.on_call(self.on_call)
        self.network.serve_awards(self.on_award)
        self.host.serve(ECHO, self.on_echo, ECHO_BYTES, ECHO_BYTES)
        await self.host.start()
        await self.host.wait_connected(self.told["coordinator"].rpartition("/")[2])

    async def on_echo(self, _peer: str, data: bytes) -> bytes:
        return data

    async def on_call(self, _sender: str, call: market_pb2.Call, _via: str) -> None:
        standing = Standing(
            chain_id=self.told["chain_id"],
            market=bytes.fromhex(self.told["market"][2:]),
            rates=self.rates,
            memory_mb=16_000,
            busy_slots=0,
            queue_s=0.0,
        )
        decision = decide(call, standing, self.policy, now_ms())
        if not decision.bids:
            say({"no_bid": decision.refused or dict(decision.declined)})
            return
        bid = market_pb2.Bid(
            job_id=call.job_id,
            round=call.round,
            stages=decision.stages,
            slots=1,
            memory_mb=16_000,
            uplink_mbps=100.0,
            certificate_der=self.certificate.der,
            device_class="cpu",
            issued_at_ms=now_ms(),
            expires_at_ms=now_ms() + 60_000,
            nonce=new_nonce(),
        )
        await self.network.send_bid(call.coordinator_peer, bid)

    async def on_award(
        self, _sender: str, award: market_pb2.Award, _envelope: market_pb2.Envelope
    ) -> bool:
        say({"award": "0x" + award.job_id.hex(), "provider": self.key.address, "at_ms": now_ms()})
        return True


def say(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


async def provide() -> None:
    """The other process: all providers, until its input ends."""
    told = json.loads(sys.stdin.readline())
    bidders = [
        Bidder(NodeKey.from_bytes(bytes.fromhex(secret)), 0.7 + 0.1 * number, told)
        for number, secret in enumerate(told["secrets"])
    ]
    for bidder in bidders:
        await bidder.start()
    say({"ready": [bidder.host.addrs[0] for bidder in bidders]})
    await asyncio.to_thread(sys.stdin.read)
    await asyncio.gather(*(bidder.host.stop() for bidder in bidders))


class Providers:
    """The process that holds the providers, from the measuring side."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.addresses: list[str] = []
        self.awards: dict[tuple[str, str], int] = {}
        self.changed = asyncio.Event()

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            told = json.loads(line)
            self.addresses = told.get("ready", self.addresses)
            if "award" in told:
                self.awards.setdefault((told["award"], told["provider"]), told["at_ms"])
            elif "no_bid" in told:
                print(f"no bid: {told['no_bid']}", file=sys.stderr)
            self.changed.set()
            self.changed = asyncio.Event()

    async def ready(self) -> None:
        while not self.addresses:
            await self.changed.wait()

    async def last_award(self, job_id: str, winners: set[str]) -> int:
        while True:
            got = {who: at for (job, who), at in self.awards.items() if job == job_id}
            if winners <= set(got):
                return max(got.values())
            await self.changed.wait()


@asynccontextmanager
async def providers(told: dict[str, Any]) -> AsyncIterator[Providers]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        "--providers",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(told).encode() + b"\n")
    held = Providers(process)
    reading = asyncio.create_task(held.read())
    try:
        async with asyncio.timeout(120):
            await held.ready()
        yield held
    finally:
        process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(20):
                await process.wait()
        if process.returncode is None:
            process.kill()
        reading.cancel()


async def set_up(anvil: Anvil, folder: Path) -> tuple[CoordinatorConfig, NodeKey, list[NodeKey]]:
    """Contracts, coins and stakes."""
    coordinator, operator = NodeKey.generate(), NodeKey.generate()
    keys = [NodeKey.generate() for _ in range(PROVIDERS)]
    w3 = await chain.connect(anvil.rpc_url)
    try:
        for key in (coordinator, operator):
            await give(w3, key)
        deployment: Deployment = await deploy(
            Sender(w3, operator), min_stake=STAKE, unbonding_delay=3600
        )
        for key in keys:
            owner = NodeKey.generate()
            await give(w3, owner)
            await ProvidersClient(w3, deployment.providers, Sender(w3, owner)).register(key, STAKE)
    finally:
        await chain.disconnect(w3)
    deployment.save(folder / "deployment.json")
    config = CoordinatorConfig(
        home=folder / "c",
        rpc_url=anvil.rpc_url,
        chain_id=deployment.chain_id,
        deployment=folder / "deployment.json",
        bid_window_s=WINDOW_S,
    )
    return config, coordinator, keys


async def give(w3: Any, key: NodeKey) -> None:
    await w3.provider.make_request("anvil_setBalance", [key.address, hex(10**21)])


async def one_run(config: CoordinatorConfig, held: Providers, folder: Path) -> float:
    """Milliseconds from the call to the last winner's award, less the window."""
    spec = TextToVideo(prompt="a red circle moving up over a black background", seconds=4.0)
    order = Order(spec.canonical().decode(), BUDGET, 600, folder / "out", "clip")
    async with ControlClient(config.control_socket) as client, asyncio.timeout(60):
        job_id = await client.submit(order)
        called_ms, winners = 0, set[str]()
        async for event in client.watch(job_id):
            if event.type == "call_published":
                called_ms = event.at_ms
            if event.type == "cleared":
                winners = {award["provider"] for award in event.data["awards"]}
            if event.type in {"award_committed", "job_failed"}:
                break
        ended_ms = await held.last_award(job_id, winners)
        await client.cancel(job_id)
        return ended_ms - called_ms - WINDOW_S * 1000


async def baseline(held: Providers) -> float:
    """Median milliseconds of a bare request to all peers at once."""
    host = P2PHost(NodeKey.generate())
    await host.start()
    try:
        peers = [await host.connect(address) for address in held.addresses]
        times = []
        for _ in range(20):
            began = time.perf_counter()
            asked = (
                host.request(peer, ECHO, bytes(ECHO_BYTES), 10.0, ECHO_BYTES) for peer in peers
            )
            await asyncio.gather(*asked)
            times.append((time.perf_counter() - began) * 1000)
        return statistics.median(times)
    finally:
        await host.stop()


async def started(config: CoordinatorConfig, key: NodeKey) -> asyncio.Task[None]:
    task = asyncio.create_task(run_coordinator(config, key))
    while not config.node_file.exists():
        if task.done():
            await task
        await asyncio.sleep(0.02)
    return task


async def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="reelmesh-bench-") as name:
        folder = Path(name)
        async with await Anvil().start() as anvil:
            config, key, keys = await set_up(anvil, folder)
            task = await started(config, key)
            node = json.loads(config.node_file.read_text())
            deployment = Deployment.load(config.deployment)
            told = {
                "secrets": [k.export_secret().hex() for k in keys],
                "coordinator": node["peer_addrs"][0],
                "chain_id": deployment.chain_id,
                "market": deployment.market,
            }
            try:
                async with providers(told) as held:
                    bare = await baseline(held)
                    runs = [await one_run(config, held, folder) for _ in range(RUNS)]
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
    value = statistics.median(runs)
    return {
        "call_to_award_ms": {
            "value": round(value, 1),
            "unit": "ms",
            "baseline": round(bare, 1),
            "ratio": round(value / bare, 1),
            "target": TARGET_MS,
            "how": f"median of {RUNS} jobs: call to the last winner's award with {PROVIDERS} "
            f"providers, less the {WINDOW_S:g} s for which bids are held open; "
            f"all runs: {', '.join(f'{run:.0f}' for run in runs)} ms; "
            f"baseline: a bare 1 KiB request to the same {PROVIDERS} peers at once",
        }
    }


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    setup_logging("warning")
    if "--providers" in sys.argv[1:]:
        asyncio.run(provide())
    else:
        print(json.dumps(asyncio.run(measure()), indent=2))


if __name__ == "__main__":
    main()

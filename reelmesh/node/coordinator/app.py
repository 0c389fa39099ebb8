"""The coordinator, put together: it runs until cancelled, and its jobs go on at the next start."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from reelmesh import __version__
from reelmesh.contracts import chain
from reelmesh.contracts.chain import Sender
from reelmesh.contracts.deploy import Deployment
from reelmesh.contracts.eip712 import Domain
from reelmesh.contracts.market import MarketClient
from reelmesh.contracts.providers import ProvidersClient
from reelmesh.errors import ChainError, StorageError
from reelmesh.node.config import CoordinatorConfig
from reelmesh.node.coordinator.bids import BidDesk
from reelmesh.node.coordinator.control import ControlService, start_control, stop_control
from reelmesh.node.coordinator.jobs import Jobs
from reelmesh.node.coordinator.offers import live_offers
from reelmesh.node.coordinator.ports import load_ports, save_ports
from reelmesh.node.coordinator.services import Services
from reelmesh.node.coordinator.work import WorkDesk
from reelmesh.node.p2p.host import P2PHost
from reelmesh.node.p2p.network import MarketNetwork
from reelmesh.node.rpc.server import WorkServer
from reelmesh.node.storage.artifacts import ArtifactStore
from reelmesh.node.storage.db import open_database, sqlite_url
from reelmesh.node.storage.journal import Journal
from reelmesh.node.storage.reuse_index import ReuseIndex
from reelmesh.node.wallet.keys import NodeKey

log = structlog.stdlib.get_logger(__name__)


class HomeInUse(StorageError):
    """Another coordinator runs in this home folder."""


async def run_coordinator(config: CoordinatorConfig, key: NodeKey) -> None:
    """Run a coordinator until it is cancelled, gets SIGTERM or SIGINT, or is told to shut down.

    Args:
        config: Where it lives and what it speaks to.
        key: The buyer's key: pays for jobs, signs calls, awards and vouchers.

    Raises:
        ChainUnreachable, WrongChain, NotDeployed, BadDeploymentFile, CorruptState, HomeInUse,
        PortInUse, ListenFailed: each says what to do next.
    """
    config.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    socket = config.control_socket
    stop = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(_alone(config.home))
        services = await _open(config, key, stack)
        jobs = Jobs(services)
        await _listen(services, jobs, stack)
        await jobs.resume()
        stack.push_async_callback(jobs.stop)
        status = _Status(services, jobs)
        offers = partial(live_offers, services.network.ads)
        service = ControlService(config, jobs, status.tell, offers, stop.set)
        control = await start_control(service, socket)
        stack.push_async_callback(stop_control, control, socket)
        _say_ready(services, stack)
        with _signals(stop):
            await stop.wait()
        log.info("stopping")


class _Status:
    """This node on one screen."""

    def __init__(self, services: Services, jobs: Jobs) -> None:
        self._services = services
        self._jobs = jobs
        self._started_ms = services.clock_ms()

    async def tell(self) -> dict[str, Any]:
        services = self._services
        return {
            "version": __version__,
            "address": services.key.address,
            "chain_id": services.domain.chain_id,
            "market": services.domain.market,
            "started_at_ms": self._started_ms,
            "wallet": await self._wallet(),
            "peers": len(services.host.peers()),
            "providers_heard_of": len(services.network.ads),
            "peer_addrs": services.host.addrs,
            "grpc_target": services.server.target,
            "jobs": dict(self._jobs.count()),
        }

    async def _wallet(self) -> dict[str, str]:
        try:
            balance = await self._services.market.sender.balance()
            credit = await self._services.market.credit_of(self._services.key.address)
        except ChainError as error:
            return {"error": str(error)}
        return {"balance_wei": str(balance), "credit_wei": str(credit)}


async def _open(
    config: CoordinatorConfig, key: NodeKey, stack: contextlib.AsyncExitStack
) -> Services:
    """Chain, journal and artifacts; nothing listens yet."""
    deployment = Deployment.load(config.deployment)
    w3 = await chain.connect(config.rpc_url, config.chain_id)
    stack.push_async_callback(chain.disconnect, w3)
    await deployment.check(w3)
    url = config.database_url or sqlite_url(config.home / "coordinator.db")
    journal = Journal(await open_database(url))
    stack.push_async_callback(journal.close)
    await journal.open()
    host = P2PHost(key, load_ports(config).listen, config.bootstrap)
    sender = Sender(w3, key, confirmations=chain.confirmations_for(config.chain_id))
    market = MarketClient(w3, deployment.market, sender, first_block=deployment.block)
    folder = config.home / "artifacts"
    return Services(
        config=config,
        key=key,
        domain=Domain(deployment.chain_id, market.address),
        from_block=deployment.block,
        market=market,
        providers=ProvidersClient(w3, deployment.providers),
        host=host,
        network=MarketNetwork(host, key),
        store=ArtifactStore(config.artifacts_url or folder, cache=folder),
        journal=journal,
        kept=ReuseIndex(journal),
    )


async def _listen(services: Services, jobs: Jobs, stack: contextlib.AsyncExitStack) -> None:
    """Begin to answer bids and providers at work."""
    config = services.config
    services.server = WorkServer(
        services.key,
        WorkDesk(services, jobs.running),
        host=config.grpc_host,
        port=load_ports(config).grpc,
        certificate_file=config.home / "tls.pem",
        clock_ms=services.clock_ms,
    )
    services.network.serve_bids(BidDesk(services, jobs.running).take)
    await services.server.start()
    stack.push_async_callback(services.server.stop)
    await services.host.start()
    stack.push_async_callback(services.host.stop)
    save_ports(config, services.host.addrs, services.server.target)


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Hold the home's lock; the system lets go of it when the process ends, however it ends."""
    with (home / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise HomeInUse(
                f"another coordinator runs in {home}", "stop it first, or use another home"
            ) from error
        yield


def _say_ready(services: Services, stack: contextlib.AsyncExitStack) -> None:
    """Write node.json, whole or not at all; it goes when the node does."""
    config = services.config
    told = {
        "pid": os.getpid(),
        "address": services.key.address,
        "peer_addrs": services.host.addrs,
        "grpc_target": services.server.target,
        "control_socket": str(config.control_socket),
        "started_at_ms": services.clock_ms(),
    }
    staging = config.node_file.with_name("node.json.new")
    staging.write_text(json.dumps(told, indent=2))
    staging.replace(config.node_file)
    stack.callback(config.node_file.unlink, missing_ok=True)
    log.info("ready", address=services.key.address, addrs=services.host.addrs)


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """SIGTERM and SIGINT end the node in order. Elsewhere than in the main thread: nothing."""
    loop = asyncio.get_running_loop()
    taken = []
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(ValueError, NotImplementedError, RuntimeError):
            loop.add_signal_handler(number, stop.set)
            taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)

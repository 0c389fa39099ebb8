"""The provider, put together: it runs until cancelled, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time

from reelmesh.contracts import chain
from reelmesh.contracts.chain import Sender, Web3Client
from reelmesh.contracts.deploy import Deployment
from reelmesh.contracts.eip712 import Domain
from reelmesh.contracts.market import MarketClient
from reelmesh.contracts.providers import ProvidersClient
from reelmesh.errors import PeerError, UserError
from reelmesh.node.config import ProviderConfig
from reelmesh.node.logging import get_logger
from reelmesh.node.p2p.host import P2PHost
from reelmesh.node.p2p.network import MarketNetwork
from reelmesh.node.provider.bidding import Bidder, Market
from reelmesh.node.provider.gas import claim_gas_warning
from reelmesh.node.provider.home import alone, short
from reelmesh.node.provider.lanes import Attendant, Board, Lane
from reelmesh.node.provider.machine import Machine, open_machine
from reelmesh.node.provider.paymaster import Paymaster
from reelmesh.node.provider.session import JobSession, Node
from reelmesh.node.provider.state import JobRecord, ProviderState
from reelmesh.node.provider.status import write_json
from reelmesh.node.provider.work import Finished, Kit, LeaseRun
from reelmesh.node.rpc.certstore import load_or_make
from reelmesh.node.rpc.limits import RpcLimits
from reelmesh.node.storage.artifacts import ArtifactStore
from reelmesh.node.storage.db import sqlite_url
from reelmesh.node.wallet.keys import NodeKey
from reelmesh.proto import market_pb2
from reelmesh.scheduler.ids import ether

log = get_logger(__name__)

_AD_EVERY_S = 30.0
_AD_AT_MOST_EVERY_S = 2.0
_AD_LIFE_MS = 90_000
_STATUS_EVERY_S = 1.0
_VANISH_MS = 120_000
_KEEP_BYTES = 4 << 30
_KEEP_MS = 3_600_000
"""Artifacts beyond so many bytes go once they are an hour old: coordinators have theirs."""


class NotRegistered(UserError):
    """This node has no active stake, so that no coordinator would take its bids."""


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


async def run_provider(
    config: ProviderConfig, key: NodeKey, operator: NodeKey | None = None
) -> None:
    """Run a provider until cancelled.

    Args:
        key: The node's key: identity on the network, signer of bids and attestations.
        operator: The cold key, where it is at hand: registers the node when it is not, and pays
            the gas of claims. Without it the node's own account pays.

    Raises:
        NotRegistered, WorkerStartFailed, NothingToOffer, ChainUnreachable, WrongChain, NotDeployed,
        ListenFailed, CorruptState, HomeInUse: each says what to do next.
    """
    deployment = Deployment.load(config.deployment)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(alone(config.home))
        w3 = await chain.connect(config.rpc_url, config.chain_id)
        stack.push_async_callback(chain.disconnect, w3)
        await deployment.check(w3)
        await _register(w3, deployment, key, operator)
        state = await ProviderState.open(sqlite_url(config.home / "provider.db"))
        stack.push_async_callback(state.close)
        machine = await stack.enter_async_context(open_machine(config, config.home / "scratch"))
        await machine.measure()
        host = P2PHost(key, config.listen, config.bootstrap)
        network = MarketNetwork(host, key)
        depth = chain.confirmations_for(deployment.chain_id)
        sender = Sender(w3, operator or key, confirmations=depth)
        warning = await claim_gas_warning(sender)
        if warning:
            log.warning("claims_cannot_be_paid_for", why=warning)
        client = MarketClient(w3, deployment.market, sender, first_block=deployment.block)
        market = Market(deployment.chain_id, client, deployment.block, network)
        node = Node(
            key=key,
            certificate=load_or_make(config.home / "tls.pem", key, now_ms()),
            domain=Domain(deployment.chain_id, client.address),
            state=state,
            clock_ms=now_ms,
            limits=RpcLimits(),
        )
        provider = Provider(config, node, machine, market, host, warning=warning)
        await host.start()
        stack.push_async_callback(host.stop)
        await provider.run()


class Provider:
    """The running parts, and what they tell each other."""

    def __init__(
        self,
        config: ProviderConfig,
        node: Node,
        machine: Machine,
        market: Market,
        host: P2PHost,
        *,
        warning: str = "",
    ) -> None:
        self._config = config
        self._warning = warning
        self._node = node
        self._machine = machine
        self._market = market
        self._host = host
        self._started_ms = node.clock_ms()
        self._board = Board(_VANISH_MS, node.clock_ms)
        self._store = ArtifactStore(config.home / "artifacts")
        self._paymaster = Paymaster(
            market.client,
            node.state,
            node.key.address,
            from_block=market.from_block,
            clock_ms=node.clock_ms,
            finished=self._finished,
        )
        remembered: dict[str, Finished] = {}
        self._lanes = [
            Lane(
                self._board,
                Kit(worker, self._store, machine.device_class, remembered=remembered),
                node.state,
                node.clock_ms,
                stopped=self._stopped,
                resident=lambda worker=worker: worker.resident,  # type: ignore[misc]
                failed=machine.needs_more,
            )
            for worker in machine.workers
        ]
        self._bidder = Bidder(
            market,
            node,
            machine,
            self._board,
            slots=config.slots,
            uplink_mbps=config.uplink_mbps,
            busy_slots=self._busy,
        )
        self._closing: set[asyncio.Task[None]] = set()
        self._ad_due = asyncio.Event()
        self._trimming: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Work until cancelled; then give back what is in hand, and go."""
        await self._resume()
        await self._write_status()
        self._bidder.serve()
        self._host.on_peer.append(lambda _peer: self._ad_due.set())
        try:
            async with asyncio.TaskGroup() as group:
                for lane in self._lanes:
                    group.create_task(lane.serve(), name="lane")
                group.create_task(Attendant(self._board, self._lanes).serve(), name="attendant")
                group.create_task(self._paymaster.serve(), name="paymaster")
                group.create_task(self._advertise(), name="ads")
                group.create_task(self._tell(), name="status")
                self._ready()
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        finally:
            await self._bidder.stop()
            with contextlib.suppress(PeerError):
                await self._market.network.publish_ad(self._ad(accepting=False))
            for job in self._board.all():
                await job.close()
            self._config.node_file.unlink(missing_ok=True)
            await self._write_status()
            log.info("stopped", address=self._node.key.address)

    async def _resume(self) -> None:
        """Go on with the jobs that an earlier run of this node left."""
        for record in await self._node.state.unfinished():
            try:
                session = JobSession(record, self._node)
            except PeerError as error:
                log.warning("job_not_resumed", job=short(record.job_id), why=error.message)
                await self._node.state.save_job(record.stopped("not_resumed"))
                continue
            await self._board.add(session)
            log.info(
                "job_resumed", job=short(record.job_id), promised=ether(record.ledger.promised)
            )

    def _ready(self) -> None:
        write_json(
            self._config.node_file,
            {
                "pid": os.getpid(),
                "address": self._node.key.address,
                "peer_addrs": self._host.addrs,
                "started_at_ms": self._started_ms,
            },
        )
        log.info("ready", address=self._node.key.address, device=self._machine.device_name)

    async def _stopped(self, _job: JobSession) -> None:
        self._paymaster.wake()

    def _finished(self, record: JobRecord) -> None:
        """Nothing more is awaited from a job: forget its connection."""
        self._trimming = asyncio.create_task(self._store.trim(_KEEP_BYTES, _KEEP_MS), name="trim")
        session = self._board.drop(record.job_id)
        if session is not None:
            session.record = record  # a late save must not bring it back
            task = asyncio.create_task(session.close(), name="close")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _busy(self) -> int:
        return sum(lane.run is not None for lane in self._lanes)

    async def _advertise(self) -> None:
        """Every half minute, and soon after a new peer is there to hear it."""
        while True:
            self._ad_due.clear()
            with contextlib.suppress(PeerError):
                await self._market.network.publish_ad(self._ad(accepting=True))
            await asyncio.sleep(_AD_AT_MOST_EVERY_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_AD_EVERY_S):
                    await self._ad_due.wait()

    def _ad(self, *, accepting: bool) -> market_pb2.CapacityAd:
        now, policy = self._node.clock_ms(), self._machine.policy()
        return market_pb2.CapacityAd(
            chain_market=self._market.address,
            chain_id=self._market.chain_id,
            device_class=self._machine.device_class,
            slots=self._config.slots,
            memory_mb=self._machine.memory_mb,
            rates=[
                market_pb2.Rate(
                    stage=rate.stage,
                    stage_version=rate.stage_version,
                    model=rate.model,
                    model_hash=rate.model_hash,
                    seconds_per_unit=rate.seconds_per_unit,
                    price_per_unit=str(policy.floor(rate)),
                    memory_mb=rate.memory_mb,
                    resident=rate.resident,
                )
                for rate in self._machine.rates().values()
            ],
            issued_at_ms=now,
            expires_at_ms=now + _AD_LIFE_MS,
            accepting=accepting,
        )

    async def _tell(self) -> None:
        while True:
            await self._write_status()
            await asyncio.sleep(_STATUS_EVERY_S)

    async def _write_status(self) -> None:
        totals = await self._node.state.totals(self._node.clock_ms())
        policy = self._machine.policy()
        write_json(
            self._config.home / "status.json",
            {
                "address": self._node.key.address,
                "warning": self._warning,
                "device": self._machine.device_name,
                "slots": self._config.slots,
                "current": [_told(run) for lane in self._lanes for run in _under_way(lane)],
                "open_jobs": [job.record.job_id for job in self._board.working()],
                "tasks_last_hour": totals.done_last_hour,
                "tasks_in_all": totals.done,
                "tasks_failed": totals.failed,
                "jobs": totals.jobs,
                "earned_wei": str(totals.paid),
                "promised_wei": str(totals.promised),
                "prices": {
                    rate.offering: {
                        "price_per_unit_wei": str(policy.floor(rate)),
                        "seconds_per_unit": rate.seconds_per_unit,
                    }
                    for rate in self._machine.rates().values()
                },
                "updated_at_ms": self._node.clock_ms(),
            },
        )


def _under_way(lane: Lane) -> list[LeaseRun]:
    return [*lane.delivering, *([lane.run] if lane.run is not None else [])]


def _told(run: LeaseRun) -> dict[str, object]:
    return {
        "job": "0x" + run.grant.job_id.hex(),
        "subtask": run.grant.subtask,
        "done": f"{run.fraction:.0%}",
        "note": run.note,
    }


async def _register(
    w3: Web3Client, deployment: Deployment, key: NodeKey, operator: NodeKey | None
) -> None:
    """Make sure that there is a stake behind this node. Raises NotRegistered."""
    register = ProvidersClient(w3, deployment.providers, Sender(w3, operator) if operator else None)
    if await register.is_active(key.address):
        return
    stake = await register.min_stake()
    if operator is None:
        raise NotRegistered(
            f"node {key.address} is not registered with a stake of at least {stake} wei",
            "reelmesh provider register --operator ACCOUNT, then start it again",
        )
    tx = await register.register(key, stake)
    log.info("registered", node=key.address, stake=ether(stake), tx=tx.tx_hash, gas=tx.gas_used)

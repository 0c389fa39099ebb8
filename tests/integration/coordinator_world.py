"""A real coordinator on a real chain, with providers that are real on the wire and play their work.

The providers here have real keys, stakes, libp2p hosts, certificates and gRPC clients; what they
deliver is bytes made up from the subtask's name, since a coordinator does not look inside.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from reelmesh.contracts import chain, eip712
from reelmesh.contracts.anvil import Anvil
from reelmesh.contracts.chain import Sender
from reelmesh.contracts.deploy import Deployment
from reelmesh.contracts.eip712 import Attestation, Domain
from reelmesh.contracts.market import MarketClient
from reelmesh.contracts.providers import ProvidersClient
from reelmesh.contracts.terms import JobState as ChainJob
from reelmesh.errors import PeerError
from reelmesh.node.cli.control import ControlClient, Event, Order
from reelmesh.node.config import CoordinatorConfig
from reelmesh.node.coordinator.app import run_coordinator
from reelmesh.node.p2p.host import P2PHost
from reelmesh.node.p2p.network import MarketNetwork
from reelmesh.node.proof import artifacts_root
from reelmesh.node.rpc.certs import make_certificate
from reelmesh.node.rpc.client import WorkClient
from reelmesh.node.rpc.errors import CallTimedOut, Refused, Unreachable
from reelmesh.node.storage.artifacts import ArtifactStore
from reelmesh.node.wallet.keys import NodeKey, new_nonce
from reelmesh.proto import control_pb2, market_pb2, work_pb2
from reelmesh.scheduler.cost import REFERENCE
from reelmesh.scheduler.ids import JobId, SubtaskId, subtask_key
from reelmesh.scheduler.models import offering
from reelmesh.scheduler.spec import JobSpec, TextToVideo
from reelmesh.scheduler.stages import entry

T = TypeVar("T")
WAIT_S = 60.0
STAKE = 10**16
BUDGET = 4 * 10**15


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def spec(**changes: Any) -> JobSpec:
    """A small job: two chunks."""
    fields: dict[str, Any] = {"prompt": "a red circle", "seconds": 1.0, "width": 256, "height": 256}
    return TextToVideo(**{**fields, **changes})


async def fund(anvil: Anvil, address: str, amount: int = 10**21) -> None:
    w3 = await chain.connect(anvil.rpc_url)
    try:
        await w3.provider.make_request("anvil_setBalance", [address, hex(amount)])  # type: ignore[arg-type]
    finally:
        await chain.disconnect(w3)


class World:
    """One coordinator's home and the chain it lives on."""

    def __init__(self, anvil: Anvil, deployment: Deployment, home: Path, **config: Any) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.anvil = anvil
        self.deployment = deployment
        self.key = NodeKey.generate()
        self.home = home
        file = home.parent / f"{home.name}.deployment.json"
        deployment.save(file)
        fields: dict[str, Any] = {
            "home": home,
            "rpc_url": anvil.rpc_url,
            "chain_id": deployment.chain_id,
            "deployment": file,
            "bid_window_s": 1.5,
            "lease_s": 6.0,
            "claim_window_s": 60,
            "previews": False,
            "time_value_wei_per_s": 10**14,
        }
        self.config = CoordinatorConfig(**{**fields, **config})
        self.out = home.parent / f"{home.name}.out"
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Run the coordinator until it says that it is ready."""
        self.task = asyncio.create_task(run_coordinator(self.config, self.key))
        end = time.monotonic() + WAIT_S
        while not self.config.node_file.exists():
            if self.task.done():
                await self.task
            assert time.monotonic() < end, "the coordinator is not ready"
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    async def submit(
        self,
        budget: int = BUDGET,
        deadline_s: int = 600,
        request_id: str = "",
        name: str = "clip",
        **changes: Any,
    ) -> str:
        order = Order(spec(**changes).canonical().decode(), budget, deadline_s, self.out, name)
        async with ControlClient(self.config.control_socket) as client:
            if not request_id:
                return await client.submit(order)
            request = control_pb2.SubmitJobRequest(
                spec_json=order.spec_json,
                budget=str(budget),
                deadline_s=deadline_s,
                out_dir=str(self.out),
                name=name,
                request_id=request_id,
            )
            reply = await client._call(client._stub.SubmitJob, request, 30.0)
            return str(reply.job_id)

    async def watch(
        self, job_id: str, until: Callable[[Event], bool] | None = None, after: int = 0
    ) -> list[Event]:
        """The job's feed up to an event, or to its end."""
        events: list[Event] = []
        async with asyncio.timeout(WAIT_S), ControlClient(self.config.control_socket) as client:
            async for event in client.watch(job_id, after):
                events.append(event)
                if until is not None and until(event):
                    break
        return events

    async def show(self, job_id: str) -> dict[str, Any]:
        async with ControlClient(self.config.control_socket) as client:
            return await client.show(job_id)

    async def cancel(self, job_id: str) -> dict[str, Any]:
        async with ControlClient(self.config.control_socket) as client:
            return await client.cancel(job_id)

    def host_addrs(self) -> list[str]:
        told = json.loads(self.config.node_file.read_text())
        return [str(address) for address in told["peer_addrs"]]

    async def on_chain(self, job_id: str) -> ChainJob:
        w3 = await chain.connect(self.anvil.rpc_url)
        try:
            market = MarketClient(w3, self.deployment.market)
            return await market.job_state(bytes.fromhex(job_id[2:]))
        finally:
            await chain.disconnect(w3)


@asynccontextmanager
async def world(
    anvil: Anvil, deployment: Deployment, home: Path, **config: Any
) -> AsyncIterator[World]:
    """A funded coordinator, running."""
    made = World(anvil, deployment, home, **config)
    await fund(anvil, made.key.address)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


class Actor:
    """A provider that plays its work.

    Attributes:
        speed: Times the reference speed that it claims.
        price: Times the reference price that it asks.
        before_work: Awaited with each grant; may raise Dead to vanish for good.
        models: The production models that it offers, each with its files' hash.
        tamper: Changes an attestation before it is signed.
    """

    def __init__(self, world: World, *, price: float = 0.3, speed: float = 1.0) -> None:
        self.world = world
        self.key = NodeKey.generate()
        self.price = price
        self.models: dict[str, bytes] = {}
        self.speed = speed
        self.host = P2PHost(self.key)
        self.network = MarketNetwork(self.host, self.key)
        self.certificate = make_certificate(self.key, now_ms(), 86_400)
        self.store = ArtifactStore(world.home.parent / f"actor-{self.key.address[:10]}")
        self.work: dict[bytes, asyncio.Task[None]] = {}
        self.awards: list[market_pb2.Award] = []
        self.replies: list[market_pb2.BidReply] = []
        self.losses: list[market_pb2.Loss] = []
        self.done: list[str] = []
        self.vouchers: list[int] = []
        self.last_signature = b""
        self.consents = True
        self.files: list[Path] = []
        self.before_work: Callable[[work_pb2.Grant], Any] | None = None
        self.tamper: Callable[[Attestation], Attestation] = lambda attestation: attestation
        self.outputs_of = made_up

    async def start(self, *, staked: bool = True) -> None:
        if staked:
            await self.stake()
        await self.host.start()
        self.network.on_call(self.on_call)
        self.network.serve_awards(self.on_award)
        self.network.serve_losses(self.on_loss)
        (address,) = self.world.host_addrs()
        await self.host.keep_connected(address)
        await self.host.wait_connected(address.rpartition("/")[2])

    async def stop(self) -> None:
        for task in self.work.values():
            task.cancel()
        await asyncio.gather(*self.work.values(), return_exceptions=True)
        await self.host.stop()

    async def stake(self) -> None:
        operator = NodeKey.generate()
        await fund(self.world.anvil, operator.address)
        w3 = await chain.connect(self.world.anvil.rpc_url)
        try:
            address = self.world.deployment.providers
            client = ProvidersClient(w3, address, Sender(w3, operator))
            await client.register(self.key, STAKE)
        finally:
            await chain.disconnect(w3)

    def bid(self, call: market_pb2.Call, **changes: Any) -> market_pb2.Bid:
        called = {(s.stage, s.model): s.stage_version for s in call.subtasks}
        stages = {key: v for key, v in called.items() if key[1] in ("", *self.models)}
        fields: dict[str, Any] = {
            "job_id": call.job_id,
            "round": call.round,
            "stages": [
                market_pb2.StageBid(
                    stage=stage,
                    stage_version=version,
                    model=model,
                    model_hash=self.models.get(model, b""),
                    price_per_unit=str(
                        int(REFERENCE[offering(stage, model)].wei_per_unit * self.price)
                    ),
                    seconds_per_unit=REFERENCE[offering(stage, model)].seconds_per_unit
                    / self.speed
                    / 10,
                    memory_mb=100,
                )
                for (stage, model), version in stages.items()
            ],
            "slots": 1,
            "memory_mb": 64_000,
            "queue_seconds": 0.0,
            "uplink_mbps": 1000.0,
            "certificate_der": self.certificate.der,
            "device_class": "cpu-test",
            "issued_at_ms": now_ms(),
            "expires_at_ms": now_ms() + 60_000,
            "nonce": new_nonce(),
        }
        return market_pb2.Bid(**{**fields, **changes})

    async def on_call(self, _sender: str, call: market_pb2.Call, _via: str) -> None:
        with contextlib.suppress(PeerError):
            reply = await self.network.send_bid(call.coordinator_peer, self.bid(call))
            self.replies.append(reply)

    async def on_loss(self, _sender: str, loss: market_pb2.Loss) -> None:
        self.losses.append(loss)

    async def on_award(
        self, _sender: str, award: market_pb2.Award, _envelope: market_pb2.Envelope
    ) -> bool:
        self.awards.append(award)
        known = self.work.get(award.job_id)
        if known is None or known.done():
            self.work[award.job_id] = asyncio.create_task(self.serve(award))
        return True

    async def serve(self, award: market_pb2.Award) -> None:
        with contextlib.suppress(Dead):
            while True:
                try:
                    async with self.client(award) as client:
                        await self.serve_with(client, award.job_id)
                        return
                except PeerError:
                    await asyncio.sleep(0.1)

    def client(self, award: market_pb2.Award) -> WorkClient:
        return WorkClient(
            award.grpc_target,
            award.coordinator_certificate_der,
            self.certificate,
            coordinator=self.world.key.address,
        )

    async def serve_with(self, client: WorkClient, job_id: bytes) -> None:
        while True:
            reply = await client.lease(work_pb2.LeaseRequest(job_id=job_id, wait_ms=2_000))
            match reply.WhichOneof("what"):
                case "grant":
                    await self.run(client, reply.grant)
                case "settlement":
                    await self.agree(client, reply.settlement)
                case "closed":
                    return

    async def run(self, client: WorkClient, grant: work_pb2.Grant) -> None:
        if self.before_work is not None:
            await self.before_work(grant)
        for ref in grant.inputs:
            if not await self.store.has(ref.sha256):
                await client.fetch(grant.job_id, ref, self.store)
        refs = await self.make(grant)
        files = self.files or [await self.store.path(ref.sha256) for ref in refs]
        header = work_pb2.DeliverHeader(
            job_id=grant.job_id,
            subtask=grant.subtask,
            lease_token=grant.lease_token,
            outputs=refs,
        )

        async def on_reply(reply: work_pb2.DeliverReply) -> None:
            if reply.HasField("voucher"):
                self.take_voucher(reply.voucher)

        await insist(lambda: client.deliver(header, files, on_reply))
        attestation = self.tamper(self.attestation(grant, refs))
        request = work_pb2.AttestRequest(
            lease_token=grant.lease_token,
            subtask=grant.subtask,
            attestation=self.sign(attestation),
        )
        reply = await insist(lambda: client.attest(request))
        if reply.accepted:
            self.done.append(grant.subtask)
            self.take_voucher(reply.voucher)

    async def make(self, grant: work_pb2.Grant) -> list[work_pb2.ArtifactRef]:
        refs = []
        for name, kind in entry(grant.stage).outputs.items():
            data = self.outputs_of(grant)
            digest = await self.store.put_bytes(data)
            ref = work_pb2.ArtifactRef(name=name, sha256=digest, size=len(data), kind=kind)
            refs.append(ref)
        return refs

    def attestation(self, grant: work_pb2.Grant, refs: list[work_pb2.ArtifactRef]) -> Attestation:
        job_id = JobId("0x" + grant.job_id.hex())
        asked = json.loads(grant.params_json).get("model", "")
        model = entry(grant.stage).model is not None
        made_with = b"\x11" * 32 if model else bytes(32)
        return Attestation(
            job_id=grant.job_id,
            subtask=subtask_key(job_id, SubtaskId(grant.subtask)),
            attempt=grant.attempt,
            inputs_root=artifacts_root({ref.name: ref.sha256 for ref in grant.inputs}),
            outputs_root=artifacts_root({ref.name: ref.sha256 for ref in refs}),
            trajectory_root=bytes(32),
            stage=grant.stage,
            stage_version=grant.stage_version,
            model_hash=self.models.get(asked, made_with),
            device_class="cpu-test",
            started_at=now_ms() - 5,
            finished_at=now_ms(),
        )

    def sign(self, attestation: Attestation) -> work_pb2.SignedAttestation:
        values = dict(vars(attestation))
        values["started_at_ms"] = values.pop("started_at")
        values["finished_at_ms"] = values.pop("finished_at")
        signature = eip712.sign(self.domain(), attestation, self.key)
        return work_pb2.SignedAttestation(**values, signature=signature)

    async def agree(self, client: WorkClient, settlement: work_pb2.Settlement) -> None:
        if not self.consents:
            await asyncio.sleep(0.2)
            return
        consent = eip712.Consent(settlement.job_id, int(settlement.total))
        await client.consent(
            work_pb2.ConsentRequest(
                job_id=settlement.job_id,
                total=settlement.total,
                signature=eip712.sign(self.domain(), consent, self.key),
            )
        )

    def take_voucher(self, voucher: work_pb2.SignedVoucher) -> None:
        amount = int(voucher.amount)
        message = eip712.Voucher(voucher.job_id, self.key.address, amount)
        signer = eip712.recover(self.domain(), message, voucher.signature)
        assert signer == self.world.key.address
        self.vouchers.append(amount)
        self.last_signature = voucher.signature

    def domain(self) -> Domain:
        return Domain(self.world.deployment.chain_id, self.world.deployment.market)


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Ask again while nobody answers: the coordinator may be restarting."""
    while True:
        try:
            return await call()
        except (Unreachable, CallTimedOut):
            await asyncio.sleep(0.05)
        except Refused as error:
            if error.reason != "coordinator_storage":
                raise
            await asyncio.sleep(0.05)


class Dead(Exception):
    """This provider says nothing more."""


def made_up(grant: work_pb2.Grant) -> bytes:
    """The same bytes for the same subtask of the same job, whoever makes them."""
    seed = hashlib.sha256(grant.job_id + grant.subtask.encode()).digest()
    return seed * 3_000  # some chunks' worth


@asynccontextmanager
async def actors(world: World, *terms: dict[str, Any]) -> AsyncIterator[list[Actor]]:
    """Started providers, connected to the coordinator."""
    made = [Actor(world, **each) for each in terms]
    try:
        for actor in made:
            await actor.start()
        yield made
    finally:
        await asyncio.gather(*(actor.stop() for actor in made))

"""A local market from nothing: chain, contracts, accounts, stakes, nodes; and its end.

Everything lies below one folder, the devnet's root:

    devnet.json   deployment.json   password   keystore/   chain/state.json   logs/
    coordinator/  swift/  steady/  thrifty/        one home for each node
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from reelmesh.contracts.anvil import DEFAULT_CHAIN_ID, Anvil
from reelmesh.contracts.chain import Sender, connect, disconnect
from reelmesh.contracts.deploy import Deployment, deploy
from reelmesh.contracts.providers import ProvidersClient
from reelmesh.errors import UserError
from reelmesh.node.config import CoordinatorConfig, ProviderConfig
from reelmesh.node.devnet.processes import start_node, stop_processes, wait_ready
from reelmesh.node.devnet.profiles import PROVIDERS, Profile
from reelmesh.node.devnet.rates import keep_rates, take_rates
from reelmesh.node.devnet.state import STATE_FILE, DevnetState, ProcessState
from reelmesh.node.wallet.keys import NodeKey
from reelmesh.node.wallet.keystore import Keystore

ETHER = 10**18
MIN_STAKE = 10**16
UNBONDING_S = 60
BUYER = "buyer"
_SCRYPT_N = 2**12  # these keys guard play money only
_READY_S = 90.0
_MEASURE_S = 600.0

Told = Callable[[str, str], None]


class DevnetRuns(UserError):
    """A devnet is up in this folder already."""


class Devnet:
    """One local market. `async with` ends it; or keep it up detached and `down` it later.

    Args:
        root: Its folder. Made if missing.
        detached: Its processes outlive this one.
        profiles: Its providers.
        told: Called with (what, detail) at each step.
    """

    def __init__(
        self,
        root: Path,
        *,
        detached: bool = False,
        profiles: Sequence[Profile] = PROVIDERS,
        told: Told = lambda _what, _detail: None,
    ) -> None:
        self.root = root.absolute()
        self.profiles = tuple(profiles)
        self.anvil = Anvil()
        self._detached, self._told = detached, told
        self._started: list[ProcessState] = []
        self._store = Keystore(self.root / "keystore")

    async def __aenter__(self) -> DevnetState:
        return await self.up()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def chain_state(self) -> Path:
        """Where the chain is kept; complete once the devnet is closed."""
        return self.root / "chain" / "state.json"

    @property
    def names(self) -> dict[str, str]:
        """Address → name, of every node and operator."""
        return {account.address: account.name for account in self._store.list()}

    async def up(self) -> DevnetState:
        """Start everything; return when every node is ready. Ends all of it again on failure."""
        known = DevnetState.load(self.root)
        if known and any(state.process() for state in known.processes):
            raise DevnetRuns(f"a devnet is up in {self.root}", "end it: reelmesh devnet down")
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            state = await self._up()
            await self.anvil.let_go()
        except BaseException:
            await asyncio.shield(self.close())
            raise
        return state

    async def close(self) -> None:
        """End every process, the chain last, with its state written."""
        await stop_processes(self._started)
        self._started = []
        await self.anvil.stop()
        (self.root / STATE_FILE).unlink(missing_ok=True)

    async def start_coordinator(self) -> ProcessState:
        """Start the coordinator, again if need be, and wait until it is ready."""
        home = self.root / "coordinator"
        node = self._start("coordinator", BUYER, home)
        return await wait_ready(node, _READY_S)

    async def start_provider(self, profile: Profile) -> ProcessState:
        """Start a provider, again if need be; it is not ready yet."""
        home = self.root / profile.name
        home.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(take_rates, profile, home)
        return self._start("provider", profile.name, home)

    async def _up(self) -> DevnetState:
        log = self.root / "logs" / "chain.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        await self.anvil.start(self.chain_state, detached=self._detached, log_file=log)
        self._told("chain", f"local anvil at {self.anvil.rpc_url}, chain {DEFAULT_CHAIN_ID}")
        deployment = await self._prepare_chain()
        coordinator = await self._up_coordinator()
        providers = await self._up_providers(_peer(coordinator))
        pid = self.anvil.pid
        chain = ProcessState(
            name="chain",
            pid=pid,
            created_s=psutil.Process(pid).create_time(),
            home=self.chain_state.parent,
            log=log,
        )
        state = DevnetState(
            rpc_url=self.anvil.rpc_url,
            chain_id=deployment.chain_id,
            deployment=self._deployment,
            chain=chain,
            coordinator=coordinator,
            providers=tuple(providers),
        )
        state.save(self.root)
        return state

    @property
    def _deployment(self) -> Path:
        return self.root / "deployment.json"

    @property
    def _password(self) -> Path:
        return self.root / "password"

    async def _prepare_chain(self) -> Deployment:
        """Contracts on chain, accounts with coins, providers with stakes."""
        password = self._make_password()
        w3 = await connect(self.anvil.rpc_url, DEFAULT_CHAIN_ID)
        try:
            made = await deploy(
                Sender(w3, await self.anvil.funded_key()),
                min_stake=MIN_STAKE,
                unbonding_delay=UNBONDING_S,
                with_test_token=True,
            )
            made.save(self._deployment)
            self._told("contracts", f"Market {made.market}, Providers {made.providers}")
            buyer = await self._account(BUYER, password, ETHER)
            self._told("buyer", f"{buyer.address} with 1 ETH")
            for profile in self.profiles:
                node = await self._account(profile.name, password, ETHER // 10)
                operator = await self._account(f"{profile.name}-operator", password, ETHER)
                client = ProvidersClient(w3, made.providers, Sender(w3, operator))
                await client.register(node, MIN_STAKE)
        finally:
            await disconnect(w3)
        return made

    async def _account(self, name: str, password: str, wei: int) -> NodeKey:
        key = NodeKey.generate()
        await asyncio.to_thread(self._store.add, name, key, password, scrypt_n=_SCRYPT_N)
        await self.anvil.fund(key.address, wei)
        return key

    def _make_password(self) -> str:
        password = secrets.token_urlsafe(24)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with os.fdopen(os.open(self._password, flags, 0o600), "w") as file:
            file.write(password)
        return password

    async def _up_coordinator(self) -> ProcessState:
        home = self.root / "coordinator"
        # Fixed ports, so that a coordinator started again is found where it was.
        port, grpc_port = _free_ports(2)
        listen = (f"/ip4/127.0.0.1/tcp/{port}",)
        config = CoordinatorConfig(home=home, listen=listen, grpc_port=grpc_port, **self._common())
        config.save(home / "config.toml")
        ready = await self.start_coordinator()
        self._told("coordinator", f"{ready.address}, process {ready.pid}")
        return ready

    async def _up_providers(self, bootstrap: tuple[str, ...]) -> list[ProcessState]:
        """Start the providers: together, or one by one where each has yet to measure itself."""
        ready = []
        waiting: list[tuple[Profile, ProcessState]] = []
        for profile in self.profiles:
            home = self.root / profile.name
            self._provider_config(profile, home, bootstrap).save(home / "config.toml")
            measured = take_rates(profile, home)
            if not measured:
                self._told("measuring", f"how fast {profile.name} is (first start only)")
            node = await self.start_provider(profile)
            if measured:
                waiting.append((profile, node))
            else:
                ready.append(await self._ready(profile, node, _MEASURE_S))
        ready += [await self._ready(profile, node, _READY_S) for profile, node in waiting]
        return ready

    async def _ready(self, profile: Profile, node: ProcessState, within_s: float) -> ProcessState:
        ready = await wait_ready(node, within_s)
        await asyncio.to_thread(keep_rates, profile, node.home)
        detail = f"{profile.name} {ready.address}, process {ready.pid}: {profile.note}"
        self._told("provider", detail)
        return ready

    def _provider_config(
        self, profile: Profile, home: Path, bootstrap: tuple[str, ...]
    ) -> ProviderConfig:
        return ProviderConfig(
            home=home,
            bootstrap=bootstrap,
            threads=profile.threads,
            device="cpu",
            wei_per_cpu_second=profile.wei_per_cpu_second,
            margin=profile.margin,
            nice=profile.nice,
            operator=self._store.find(f"{profile.name}-operator").address,
            models=self.root.parent / "models",
            **self._common(),
        )

    def _common(self) -> dict[str, Any]:
        return {
            "rpc_url": self.anvil.rpc_url,
            "chain_id": DEFAULT_CHAIN_ID,
            "deployment": self._deployment,
        }

    def _start(self, kind: str, account: str, home: Path) -> ProcessState:
        arguments = [kind, "run", "--home", str(self.root), "--config", str(home / "config.toml")]
        arguments += ["--account", account, "--password-file", str(self._password)]
        log = self.root / "logs" / f"{home.name}.log"
        node = start_node(home.name, arguments, home, log, detached=self._detached)
        self._started.append(node)
        return node


async def end_devnet(state: DevnetState, root: Path) -> None:
    """End a detached devnet: its nodes, then its chain."""
    await stop_processes([*state.providers, state.coordinator])
    await stop_processes([state.chain])
    (root / STATE_FILE).unlink(missing_ok=True)


def _peer(node: ProcessState) -> tuple[str, ...]:
    import json

    told = json.loads((node.home / "node.json").read_text())
    return tuple(told["peer_addrs"])


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()

"""What every part of the coordinator shares."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reelmesh.contracts.eip712 import Domain
from reelmesh.contracts.market import MarketClient
from reelmesh.contracts.providers import ProvidersClient
from reelmesh.node.config import CoordinatorConfig
from reelmesh.node.rpc.server import WorkServer
from reelmesh.node.storage.artifacts import ArtifactStore
from reelmesh.node.storage.journal import Journal
from reelmesh.node.wallet.keys import NodeKey

if TYPE_CHECKING:
    from reelmesh.node.p2p.host import P2PHost
    from reelmesh.node.p2p.network import MarketNetwork

LOCAL_CHAINS = frozenset({1337, 31337})
"""Chain ids of chains that run on this machine: nothing is ever reorganised there."""


def now_ms() -> int:
    """The clock of a running node."""
    return time.time_ns() // 1_000_000


def confirmations_for(chain_id: int) -> int:
    """Blocks, its own included, after which a transaction counts."""
    return 1 if chain_id in LOCAL_CHAINS else 3


@dataclass
class Services:
    """The node's parts, made once at its start.

    Attributes:
        posting: Held from the choice of a job's nonce until its posting is decided, since the
            nonce is part of the job's id.
    """

    config: CoordinatorConfig
    key: NodeKey
    domain: Domain
    from_block: int
    market: MarketClient
    providers: ProvidersClient
    host: P2PHost
    network: MarketNetwork
    store: ArtifactStore
    journal: Journal
    clock_ms: Callable[[], int] = now_ms
    server: WorkServer = field(init=False)
    posting: asyncio.Lock = field(default_factory=asyncio.Lock)

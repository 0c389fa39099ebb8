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
from reelmesh.node.storage.reuse_index import ReuseIndex
from reelmesh.node.wallet.keys import NodeKey

if TYPE_CHECKING:
    from reelmesh.node.p2p.host import P2PHost
    from reelmesh.node.p2p.network import MarketNetwork


def now_ms() -> int:
    """The clock of a running node."""
    return time.time_ns() // 1_000_000


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
    kept: ReuseIndex
    clock_ms: Callable[[], int] = now_ms
    server: WorkServer = field(init=False)
    posting: asyncio.Lock = field(default_factory=asyncio.Lock)

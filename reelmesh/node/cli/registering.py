"""Registering a provider's node key with its operator's stake."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reelmesh.node.config import NodeConfig
    from reelmesh.node.wallet.keys import NodeKey


async def register_node(config: NodeConfig, node: NodeKey, operator: NodeKey, stake: int) -> str:
    """Stake for `node`; return the transaction's hash. Raises ChainError.

    Args:
        stake: Wei, sent by the operator.
    """
    from reelmesh.contracts.chain import Sender, connect, disconnect
    from reelmesh.contracts.deploy import Deployment
    from reelmesh.contracts.providers import ProvidersClient

    known = Deployment.load(config.deployment)
    w3 = await connect(config.rpc_url, config.chain_id)
    try:
        client = ProvidersClient(w3, known.providers, Sender(w3, operator))
        done = await client.register(node, stake)
        return done.tx_hash
    finally:
        await disconnect(w3)

"""A market node in a process of its own: echoes, gossips, and tells its address on stdout."""

from __future__ import annotations

import asyncio
import sys

from p2p_world import QUICK

from reelmesh.node.p2p.host import P2PHost
from reelmesh.node.wallet.keys import NodeKey


async def main(bootstrap: str) -> None:
    host = P2PHost(NodeKey.generate(), bootstrap=[bootstrap], settings=QUICK)

    async def echo(peer: str, data: bytes) -> bytes:
        return peer.encode() + b" " + data

    async def hear(_origin: str, data: bytes) -> None:
        await host.publish("/test/back", b"heard " + data)

    async def ignore(_origin: str, _data: bytes) -> None:
        return

    host.serve("/test/echo", echo)
    host.subscribe("/test/there", hear)
    host.subscribe("/test/back", ignore)
    await host.start()
    print(host.addrs[0], flush=True)
    # Ends with its parent, which holds the other end of stdin.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await host.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

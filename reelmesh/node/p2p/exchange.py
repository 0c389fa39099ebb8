"""One request, one reply, one stream: bounded in size, time and number per peer. Trio side.

Each of the two is an unsigned varint length and that many bytes. A request that is refused for
whatever reason (rate, size, time, a handler that failed) sees its stream reset, and no more.
"""

# ruff: noqa: BLE001 - what a peer makes go wrong ends its request alone
from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import structlog
import trio
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.io.exceptions import MessageTooLarge as FrameTooLarge
from libp2p.network.exceptions import SwarmException
from libp2p.network.stream.exceptions import StreamEOF, StreamReset
from libp2p.peer.id import ID
from libp2p.utils import encode_varint_prefixed
from libp2p.utils.varint import read_varint_prefixed_bytes_limited

from reelmesh.node.p2p.errors import (
    MessageTooLarge,
    PeerUnreachable,
    RequestRefused,
    RequestTimedOut,
)
from reelmesh.node.p2p.hardening import Dial, peer_of, reset_quietly
from reelmesh.node.p2p.limits import PeerRates, Slots
from reelmesh.node.p2p.metrics import Metrics
from reelmesh.node.p2p.settings import P2PSettings

log = structlog.stdlib.get_logger(__name__)

Handler = Callable[[str, bytes], Awaitable[bytes]]


class Exchange:
    """The request/response protocols of one host."""

    def __init__(self, host: IHost, dial: Dial, settings: P2PSettings, metrics: Metrics) -> None:
        self._host, self._dial, self._settings, self._metrics = host, dial, settings, metrics
        self._rates = PeerRates(settings.request_rate, settings.request_burst, time.monotonic)
        self._slots = Slots(settings.streams_per_peer, settings.streams_in_all)

    def serve(self, protocol: str, handler: Handler, max_request: int, max_reply: int) -> None:
        """Answer requests of `protocol` with `handler(peer id, request)`."""

        async def on_stream(stream: INetStream) -> None:
            peer = peer_of(stream)
            if not self._rates.take(peer) or not self._slots.acquire(peer):
                self._refuse(protocol, peer, "too many requests")
                await reset_quietly(stream)
                return
            try:
                await self._answer(stream, peer, protocol, handler, max_request, max_reply)
            finally:
                self._slots.release(peer)

        self._host.set_stream_handler(TProtocol(protocol), on_stream)

    async def _answer(
        self,
        stream: INetStream,
        peer: str,
        protocol: str,
        handler: Handler,
        max_request: int,
        max_reply: int,
    ) -> None:
        try:
            with trio.fail_after(self._settings.read_s):
                request = await read_varint_prefixed_bytes_limited(stream, max_request)
            with trio.fail_after(self._settings.handle_s):
                reply = await handler(peer, request)
            if len(reply) > max_reply:
                raise MessageTooLarge(f"the reply has {len(reply)} bytes, over {max_reply}")
            with trio.fail_after(self._settings.read_s):
                await stream.write(encode_varint_prefixed(reply))
                await stream.close()
            await self._wait_for_end(stream)
        except Exception as exc:
            self._refuse(protocol, peer, repr(exc)[:200])
            await reset_quietly(stream)
        else:
            self._metrics.add("requests_served")

    async def _wait_for_end(self, stream: INetStream) -> None:
        """Let the peer close its half; a stream left half open would stay in memory."""
        with trio.move_on_after(self._settings.read_s):
            try:
                if await stream.read(1):
                    raise RequestRefused("more bytes than one request")
            except (StreamEOF, StreamReset):
                return
        await reset_quietly(stream)

    async def request(
        self, peer: str, protocol: str, data: bytes, timeout_s: float, max_reply: int
    ) -> bytes:
        """Ask one peer; see `P2PHost.request` for what it raises."""
        stream: INetStream | None = None
        done = False
        try:
            with trio.fail_after(timeout_s):
                peer_id = ID.from_string(peer)
                await self._dial(peer_id)
                stream = await self._host.new_stream(peer_id, [TProtocol(protocol)])
                await stream.write(encode_varint_prefixed(data))
                reply = await read_varint_prefixed_bytes_limited(stream, max_reply)
                await stream.close()
                done = True
                return reply
        except trio.TooSlowError:
            raise RequestTimedOut(f"peer {peer} did not answer in {timeout_s:g} s") from None
        except FrameTooLarge as exc:
            raise MessageTooLarge(f"the reply of {peer} is over {max_reply} bytes") from exc
        except SwarmException as exc:
            raise PeerUnreachable(f"cannot reach peer {peer}: {exc}") from exc
        except Exception as exc:
            raise RequestRefused(f"peer {peer} refused the request on {protocol}") from exc
        finally:
            if stream is not None and not done:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 1.0):
                    await reset_quietly(stream)

    def _refuse(self, protocol: str, peer: str, why: str) -> None:
        self._metrics.add("requests_refused")
        log.debug("request_refused", protocol=protocol, peer=peer, why=why)

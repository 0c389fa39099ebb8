"""Every bound of the libp2p host in one place, with what it is for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class P2PSettings:
    """Sizes in bytes, times in seconds, rates per second and remote peer.

    Gossip carries at most about 10 messages a second over the whole network on a small machine
    before it drops them silently, so nothing large or frequent travels by it.
    """

    max_connections: int = 256
    max_connections_per_ip: int = 64
    max_connections_per_peer: int = 3
    max_kept: int = 128
    handshake_s: float = 5.0
    dial_s: float = 5.0

    max_gossip_bytes: int = 128 * 1024
    max_rpc_bytes: int = 512 * 1024
    max_messages_per_rpc: int = 64
    gossip_rate: float = 20.0
    gossip_burst: float = 100.0
    rpc_rate: float = 50.0
    rpc_burst: float = 300.0

    max_request_bytes: int = 320 * 1024
    max_reply_bytes: int = 1024 * 1024
    read_s: float = 5.0
    handle_s: float = 20.0
    streams_per_peer: int = 16
    streams_in_all: int = 256
    request_rate: float = 20.0
    request_burst: float = 60.0

    max_stream_buffer: int = 24 * 1024 * 1024
    max_connection_buffer: int = 48 * 1024 * 1024
    max_streams_per_connection: int = 256
    max_handled_per_peer: int = 48
    max_handled_in_all: int = 4096
    ban_s: float = 60.0

    health_interval_s: float = 2.0
    health_timeout_s: float = 4.0
    reconnect_s: float = 2.0
    reconnect_max_s: float = 30.0
    restart_s: float = 0.2
    restart_max_s: float = 10.0
    handler_queue: int = 256

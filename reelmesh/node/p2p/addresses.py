"""Multiaddrs that this network uses: TCP over IPv4, IPv6 or DNS, with the peer's id at the end."""

from __future__ import annotations

import errno
import socket
from typing import Final

from multiaddr import Multiaddr

from reelmesh.node.p2p.errors import BadMultiaddr, ListenFailed
from reelmesh.node.wallet.keys import BadPeerId, address_of_peer_id

MAX_CHARS: Final = 256
_HOSTS: Final = frozenset({"ip4", "ip6", "dns", "dns4", "dns6"})


def parse_peer_address(text: str) -> tuple[Multiaddr, str]:
    """Return the transport part and the peer id of "/ip4/…/tcp/…/p2p/…"; raises BadMultiaddr.

    The peer id must be that of a secp256k1 key: only such peers have an account.
    """
    address = _parse(text)
    names = [protocol.name for protocol in address.protocols()]
    if len(names) != 3 or names[0] not in _HOSTS or names[1:] != ["tcp", "p2p"]:
        raise BadMultiaddr(
            f"{text[:MAX_CHARS]!r} is not a peer's address",
            "it looks like /ip4/203.0.113.7/tcp/4001/p2p/16Uiu2…",
        )
    peer = str(address.value_for_protocol("p2p"))
    try:
        address_of_peer_id(peer)
    except BadPeerId as exc:
        raise BadMultiaddr(f"{text[:MAX_CHARS]!r}: {exc.message}", exc.hint) from exc
    return address.decapsulate(Multiaddr(f"/p2p/{peer}")), peer


def parse_listen_address(text: str) -> Multiaddr:
    """Check "/ip4/…/tcp/PORT" (port 0 takes a free one); raises BadMultiaddr."""
    address = _parse(text)
    names = [protocol.name for protocol in address.protocols()]
    if len(names) != 2 or names[0] not in ("ip4", "ip6") or names[1] != "tcp":
        raise BadMultiaddr(
            f"{text[:MAX_CHARS]!r} is not an address to listen on",
            "it looks like /ip4/0.0.0.0/tcp/4001",
        )
    return address


def dialable(listen: Multiaddr) -> list[str]:
    """What peers may dial for an address listened on: all-interfaces becomes real addresses."""
    text = str(listen)
    if text.startswith("/ip4/0.0.0.0/"):
        port = text.removeprefix("/ip4/0.0.0.0/")
        own = _default_route_address() or "127.0.0.1"
        return [f"/ip4/{ip}/{port}" for ip in dict.fromkeys((own, "127.0.0.1"))]
    if text.startswith("/ip6/::/"):
        return [text.replace("/ip6/::/", "/ip6/::1/", 1)]
    return [text]


def _default_route_address() -> str | None:
    """This machine's IPv4 address towards the world; connecting a UDP socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def check_port_free(address: Multiaddr) -> None:
    """Raise ListenFailed when a fixed port is taken or the address is not this machine's.

    libp2p listens with SO_REUSEPORT, under which two nodes of one user would share a port in
    silence; a bind without it tells.
    """
    family = socket.AF_INET if "ip4" in address else socket.AF_INET6
    host = str(address.value_for_protocol("ip4" if family == socket.AF_INET else "ip6"))
    port = int(str(address.value_for_protocol("tcp")))
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            taken = exc.errno == errno.EADDRINUSE
            raise ListenFailed(
                f"cannot listen on {address}: {exc.strerror}",
                "another program has this port; choose another" if taken else "choose another",
            ) from exc


def _parse(text: str) -> Multiaddr:
    if len(text) > MAX_CHARS:
        raise BadMultiaddr(f"an address has at most {MAX_CHARS} characters")
    try:
        return Multiaddr(text)
    except Exception as exc:  # multiaddr raises a family of its own and ValueError alike
        raise BadMultiaddr(f"{text!r} is not a multiaddr: {exc}"[:200]) from exc

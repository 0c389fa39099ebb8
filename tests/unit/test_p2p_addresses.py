"""Addresses of peers and to listen on."""

from __future__ import annotations

import pytest
from multiaddr import Multiaddr

from reelmesh.node.p2p.addresses import dialable, parse_listen_address, parse_peer_address
from reelmesh.node.p2p.errors import BadMultiaddr

PEER = "16Uiu2HAm2M1UikV7Jzyh1noZhENjR665CoPxrDa3yp2SSPEoYo9B"


@pytest.mark.parametrize(
    "transport", ["/ip4/203.0.113.7/tcp/4001", "/ip6/2001:db8::1/tcp/1", "/dns4/example.org/tcp/80"]
)
def test_peer_address(transport: str) -> None:
    assert parse_peer_address(f"{transport}/p2p/{PEER}") == (Multiaddr(transport), PEER)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/ip4/203.0.113.7/tcp/4001",
        f"/p2p/{PEER}",
        f"/ip4/203.0.113.7/udp/4001/p2p/{PEER}",
        f"/ip4/203.0.113.7/tcp/4001/ws/p2p/{PEER}",
        f"/ip4/1.2.3.4/tcp/1/p2p/{PEER}/p2p-circuit/p2p/{PEER}",
        "/unix/etc/passwd",
        "/ip4/999.1.1.1/tcp/1/p2p/" + PEER,
        "/ip4/1.1.1.1/tcp/70000/p2p/" + PEER,
        "/ip4/1.1.1.1/tcp/1/p2p/junk",
        "/ip4/1.1.1.1/tcp/1/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA",
    ],
)
def test_bad_peer_address(text: str) -> None:
    with pytest.raises(BadMultiaddr):
        parse_peer_address(text)


def test_listen_address() -> None:
    assert str(parse_listen_address("/ip4/0.0.0.0/tcp/0")) == "/ip4/0.0.0.0/tcp/0"
    for text in ("/ip4/0.0.0.0/udp/0", "/dns4/x/tcp/1", f"/ip4/1.1.1.1/tcp/1/p2p/{PEER}", "x"):
        with pytest.raises(BadMultiaddr):
            parse_listen_address(text)


def test_all_interfaces_are_told_as_addresses_that_can_be_dialled() -> None:
    told = dialable(Multiaddr("/ip4/0.0.0.0/tcp/77"))
    assert "/ip4/127.0.0.1/tcp/77" in told
    assert all("0.0.0.0/" not in text for text in told)
    assert dialable(Multiaddr("/ip4/10.0.0.1/tcp/77")) == ["/ip4/10.0.0.1/tcp/77"]

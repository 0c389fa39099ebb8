"""What can go wrong between peers, by what its reader can do about it."""

from __future__ import annotations

from reelmesh.errors import PeerError, UserError


class BadMultiaddr(UserError):
    """An address is not /ip4|ip6|dns4|dns6/…/tcp/PORT, with /p2p/PEER where one is needed."""


class ListenFailed(UserError):
    """No listen address could be bound: the port is taken or the address is not this machine's."""


class HostDown(PeerError):
    """The libp2p host is stopped, or is restarting after a crash. Try again in a moment."""


class PeerUnreachable(PeerError):
    """The peer could not be dialled, refused the connection, or went away."""


class RequestRefused(PeerError):
    """The peer closed the request's stream without an answer: it refused or failed."""


class RequestTimedOut(PeerError):
    """The peer did not answer in time."""


class MessageTooLarge(PeerError):
    """A request or reply is larger than its protocol's bound."""

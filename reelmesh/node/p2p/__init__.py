"""The node's libp2p side: a hardened host in a thread of its own, and the market on it."""

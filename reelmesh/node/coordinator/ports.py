"""The ports of the last run, taken again at the next, so that providers find their way back."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path

from multiaddr import Multiaddr

from reelmesh.errors import UserError
from reelmesh.node.config import CoordinatorConfig
from reelmesh.node.p2p.addresses import check_port_free

_FILE = "ports.json"


@dataclass(frozen=True)
class Ports:
    """Where to listen. `listen`: multiaddrs without /p2p; `grpc`: 0 for any free port."""

    listen: tuple[str, ...]
    grpc: int


def load_ports(config: CoordinatorConfig) -> Ports:
    """The configured ports; where one is 0, that of the last run if it is still free."""
    kept = _read(config.home / _FILE)
    grpc, last = config.grpc_port, kept.get("grpc")
    if grpc == 0 and isinstance(last, int) and _is_free(config.grpc_host, last):
        grpc = last
    known = kept.get("listen")
    listen = config.listen
    if isinstance(known, list) and len(known) == len(listen):
        listen = tuple(_again(new, str(old)) for new, old in zip(listen, known, strict=True))
    return Ports(listen, grpc)


def save_ports(config: CoordinatorConfig, addrs: list[str], target: str) -> None:
    """Remember where this run listens. `addrs` may end in /p2p/…; `target` is host:port."""
    listen = [address.partition("/p2p/")[0] for address in addrs]
    value = {"listen": listen, "grpc": int(target.rpartition(":")[2])}
    file = config.home / _FILE
    staging = file.with_name(f"{file.name}.new")
    staging.write_text(json.dumps(value))
    staging.replace(file)


def _read(file: Path) -> dict[str, object]:
    try:
        value = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _again(wanted: str, kept: str) -> str:
    """The kept address in place of one with port 0, if it is the same but for its port."""
    host, _, port = wanted.rpartition("/")
    if port != "0" or kept.rpartition("/")[0] != host:
        return wanted
    try:
        check_port_free(Multiaddr(kept))
    except (UserError, ValueError):
        return wanted
    return kept


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True

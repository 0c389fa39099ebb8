"""One screen each for a provider and a coordinator."""

from __future__ import annotations

import time
from typing import Any

from reelmesh import __version__
from reelmesh.node.cli.money import format_eth

_MONEY = ("balance", "credit", "earned", "escrowed", "paid", "pending", "staked", "stake")


def print_provider(told: dict[str, Any]) -> None:
    """Print what a provider does, did and earned."""
    print(f"provider   {'running' if told.get('running') else 'not running'}, {__version__}")
    _fields(told, skip={"running"})


def print_coordinator(told: dict[str, Any]) -> None:
    """Print a coordinator's network, wallet, peers and jobs."""
    print(f"coordinator running, {told.get('version', __version__)}")
    _fields(told, skip={"version"})


def _fields(told: dict[str, Any], skip: set[str], indent: str = "  ") -> None:
    for name, value in told.items():
        if name in skip or value in (None, "", [], {}):
            continue
        label = f"{indent}{name.removesuffix('_ms').removesuffix('_wei').replace('_', ' '):<20}"
        if isinstance(value, dict):
            print(label.rstrip())
            _fields(value, set(), indent + "  ")
        elif isinstance(value, list):
            print(f"{label} {', '.join(_one(name, item) for item in value)}")
        else:
            print(f"{label} {_one(name, value)}")


def _one(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_one(key, inner)}" for key, inner in value.items())
    if name.endswith("_wei") or name in _MONEY:
        return format_eth(value) if str(value).isdigit() else str(value)
    if name.endswith("_at_ms"):
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(int(value) / 1000))
    return str(value)

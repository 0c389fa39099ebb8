"""Measured speeds of this machine, kept from one devnet to the next, so that only the first waits.

A rate book says itself for which device, threads and stage versions it holds; a node measures again
whatever it does not find in it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from pathlib import Path

from reelmesh import __version__
from reelmesh.node.devnet.profiles import Profile

RATES_FILE = "rates.json"


def take_rates(profile: Profile, home: Path) -> bool:
    """Copy the kept rates of a profile into a node's home, unless it has some; True if it has."""
    there = home / RATES_FILE
    if not there.is_file() and _kept(profile).is_file():
        home.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_kept(profile), there)
    return there.is_file()


def keep_rates(profile: Profile, home: Path) -> None:
    """Keep the rates that a node has measured."""
    if (home / RATES_FILE).is_file():
        _kept(profile).parent.mkdir(parents=True, exist_ok=True)
        fresh = _kept(profile).with_suffix(f".{os.getpid()}")
        shutil.copyfile(home / RATES_FILE, fresh)
        fresh.replace(_kept(profile))


def _kept(profile: Profile) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reelmesh"
    machine = f"{platform.node()} {platform.machine()} {os.cpu_count()} {__version__}"
    where = hashlib.sha256(machine.encode()).hexdigest()[:12]
    return cache / "rates" / where / f"{profile.name}-{profile.threads}.json"

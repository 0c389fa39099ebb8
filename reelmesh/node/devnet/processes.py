"""A devnet's processes: started with a log each, ready when they say so, ended for certain."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from reelmesh.errors import ReelmeshError
from reelmesh.node.devnet.state import ProcessState

_POLL_S = 0.05
_TERM_S = 8.0
_KILL_S = 5.0
_SHOWN_LOG_LINES = 6


class NodeFailed(ReelmeshError):
    """A node of the devnet ended, or did not become ready in time."""


def start_node(
    name: str, arguments: Sequence[str], home: Path, log: Path, *, detached: bool
) -> ProcessState:
    """Start `reelmesh <arguments>` in a session of its own; it is not ready yet.

    Args:
        detached: It outlives this process; otherwise it ends when this process ends, however.
    """
    home.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    (home / "node.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "reelmesh", *arguments]
    if not detached:
        command += ["--die-with", str(os.getpid())]
    pid = _spawn(command, log)
    created = psutil.Process(pid).create_time()
    return ProcessState(name=name, pid=pid, created_s=created, home=home, log=log)


def _spawn(command: Sequence[str], log: Path) -> int:
    """Start a program in a session of its own, its output appended to `log`; return its id.

    Not by `subprocess` or asyncio, whose objects would have to outlive a detached process.
    """
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    environment = dict(os.environ)
    return os.posix_spawn(command[0], list(command), environment, file_actions=actions, setsid=True)


async def wait_ready(node: ProcessState, timeout_s: float) -> ProcessState:
    """Wait until the node wrote its `node.json`; return it with its address. Raises NodeFailed."""
    end = asyncio.get_running_loop().time() + timeout_s
    while asyncio.get_running_loop().time() < end:
        told = _node_json(node)
        if told is not None:
            return node.model_copy(update={"address": str(told["address"])})
        if node.process() is None:
            raise NodeFailed(f"{node.name} ended while starting{_last_lines(node.log)}", _see(node))
        await asyncio.sleep(_POLL_S)
    raise NodeFailed(f"{node.name} is not ready after {timeout_s:g} s", _see(node))


async def stop_processes(states: Sequence[ProcessState]) -> None:
    """End processes and all of theirs: asked first, killed after 8 seconds."""
    found = [(state, process) for state in states if (process := state.process())]
    families = [p for _, process in found for p in [process, *_children(process)]]
    for _, process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
    if await _gone(families, _TERM_S):
        return
    for process in families:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    await _gone(families, _KILL_S)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


async def _gone(processes: Sequence[psutil.Process], timeout_s: float) -> bool:
    end = asyncio.get_running_loop().time() + timeout_s
    while any(_alive(process) for process in processes):
        if asyncio.get_running_loop().time() >= end:
            return False
        await asyncio.sleep(_POLL_S)
    return True


def _alive(process: psutil.Process) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            with contextlib.suppress(psutil.TimeoutExpired):
                process.wait(0)  # our own child: take its exit code, so that it is gone
            return False
        return bool(process.is_running())
    except psutil.NoSuchProcess:
        return False


def _node_json(node: ProcessState) -> dict[str, object] | None:
    try:
        told = json.loads((node.home / "node.json").read_text())
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and told.get("pid") == node.pid else None


def _last_lines(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()[-_SHOWN_LOG_LINES:]
    except OSError:
        return ""
    return ": " + " | ".join(line.strip() for line in lines) if lines else ""


def _see(node: ProcessState) -> str:
    return f"see its log: {node.log}"

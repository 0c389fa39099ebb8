"""What a node's command line says to bad input: one line, the next step, a code; nothing is lost.

Each case runs the command in a process of its own, against a real chain.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from coordinator_world import spec, world

from reelmesh.contracts.anvil import Anvil
from reelmesh.contracts.deploy import Deployment
from reelmesh.node.config import CoordinatorConfig
from reelmesh.node.wallet.keystore import Keystore

DAMAGED = b"this was a database once" * 400


@dataclass
class Scene:
    """A home with an account, a configuration that would do, and the ports that are taken."""

    home: Path
    config: CoordinatorConfig
    taken: int

    def save(self, **changes: object) -> None:
        self.config.model_copy(update=changes).save(self.home / "c.toml")

    async def start(self) -> tuple[int, list[str]]:
        """Run the coordinator to its end; its code and the lines that it told."""
        words = ["coordinator", "run", "--config", str(self.home / "c.toml"), "--account", "buyer"]
        words += ["--password-file", str(self.home / "password"), "--home", str(self.home)]
        return await run(words)


async def run(words: list[str]) -> tuple[int, list[str]]:
    code = "import sys; from reelmesh.node.cli.app import run; run(sys.argv[1:])"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        *words,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        _, told = await process.communicate()
    assert process.returncode is not None
    lines = told.decode().strip().splitlines()
    return process.returncode, [line for line in lines if line[:1] != "2"]  # no log lines


@pytest.fixture
def scene(tmp_path: Path, anvil: Anvil, deployment: Deployment) -> Scene:
    for name, word in (("password", "correct horse"), ("wrong", "battery staple")):
        (tmp_path / name).write_text(word)
        (tmp_path / name).chmod(0o600)
    Keystore(tmp_path / "keystore").create("buyer", "correct horse", scrypt_n=2**14)
    deployment.save(tmp_path / "deployment.json")
    config = CoordinatorConfig(
        home=tmp_path / "coordinator",
        rpc_url=anvil.rpc_url,
        chain_id=deployment.chain_id,
        deployment=tmp_path / "deployment.json",
    )
    config.home.mkdir()
    return Scene(tmp_path, config, 0)


def no_chain(scene: Scene) -> None:
    scene.save(rpc_url="http://127.0.0.1:9")


def other_chain(scene: Scene) -> None:
    scene.save(chain_id=5)


def wrong_password(scene: Scene) -> None:
    scene.save()
    (scene.home / "wrong").replace(scene.home / "password")


def damaged_state(scene: Scene) -> None:
    scene.save()
    (scene.config.home / "coordinator.db").write_bytes(DAMAGED)


def taken_work_port(scene: Scene) -> None:
    scene.save(grpc_port=scene.taken)


def taken_peer_port(scene: Scene) -> None:
    scene.save(listen=(f"/ip4/127.0.0.1/tcp/{scene.taken}",))


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (no_chain, 4, "did not answer"),
        (other_chain, 4, "expected 5"),
        (wrong_password, 2, "password"),
        (damaged_state, 5, "is damaged"),
        (taken_work_port, 2, "in use"),
        (taken_peer_port, 2, "in use"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_a_node_that_cannot_start_says_why_and_what_next(
    scene: Scene, spoil: Callable[[Scene], None], code: int, said: str
) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        scene.taken = holder.getsockname()[1]
        spoil(scene)
        ended, lines = await scene.start()
    assert ended == code, lines
    assert lines[0].startswith("error: ")
    assert said in lines[0]
    assert [line.lstrip().startswith("next: ") for line in lines[1:]] == [True]
    assert not scene.config.node_file.exists()


async def test_a_damaged_state_file_is_kept_as_it_was(scene: Scene) -> None:
    damaged_state(scene)
    await scene.start()
    (kept,) = scene.config.home.glob("coordinator.db.corrupt-*")
    assert kept.read_bytes() == DAMAGED


async def test_watching_a_job_that_nobody_bids_on_ends_with_the_reason_and_a_code(
    anvil: Anvil, deployment: Deployment, tmp_path: Path
) -> None:
    async with world(anvil, deployment, tmp_path / "c", bid_window_s=0.2) as here:
        words = ["job", "submit", spec().prompt, "--size", "256x256", "--seconds", "1"]
        words += ["--budget", "4000000gwei", "--node", str(here.home), "--home", str(tmp_path)]
        code, lines = await run(words)
    assert code != 0
    assert any(line.startswith("error: ") for line in lines), lines
    assert any(line.lstrip().startswith("next: ") for line in lines), lines

"""The commands as a person types them, each a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from e2e_world import SPEC, check_video, gone, market

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

SMALL = ["--seconds", "3", "--size", "256x256"]


@asynccontextmanager
async def command(folder: Path, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `reelmesh <words>` with all of its temporary files below `folder`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "reelmesh",
        *words,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        # Where the tests run in the background of a shell, interrupts are ignored, in children too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def run(folder: Path, *words: str) -> tuple[int, str, str]:
    async with command(folder, *words) as process:
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


async def line_with(process: asyncio.subprocess.Process, *wanted: str) -> str:
    """Read its output up to the first line that has one of these words in it."""
    assert process.stdout is not None
    async for raw in process.stdout:
        line = raw.decode()
        if any(word in line for word in wanted):
            return line
    assert process.stderr is not None
    raise AssertionError(f"ended before {wanted}: {(await process.stderr.read()).decode()}")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: the control socket's must stay below 100 bytes."""
    with tempfile.TemporaryDirectory(prefix="rm-cmd-") as made:
        yield Path(made)


async def test_the_demo_makes_a_video_and_a_receipt_that_anyone_can_check(folder: Path) -> None:
    out = folder / "out"
    code, told, err = await run(folder, "demo", SPEC.prompt, *SMALL, "--out", str(out), "--json")
    assert code == 0, err
    job = json.loads(told)
    assert await gone(folder) == []
    check_video(out / "demo.mp4")
    assert len({s["provider"] for s in job["subtasks"]}) >= 2
    paid = sum(int(wei) for wei in job["paid"].values())
    assert paid > 0
    assert paid + int(job["refunded"]) + int(job["locked"]) == int(job["escrowed"])

    receipt, state = out / "demo.receipt.json", out / "demo.chain-state.json"
    offline = await run(folder, "receipt", "verify", str(receipt), "--json")
    on_chain = await run(
        folder, "receipt", "verify", str(receipt), "--chain-state", str(state), "--json"
    )
    assert (offline[0], on_chain[0]) == (0, 0), on_chain[1]
    assert "chain.ledger" in _unchecked(offline[1])
    assert _unchecked(on_chain[1]) == {"audits"}

    other = await run(folder, "receipt", "verify", str(receipt), "--video", str(state), "--json")
    assert other[0] == 1
    assert [c["name"] for c in json.loads(other[1])["checks"] if c["ok"] is False] == ["video.file"]

    body = bytearray(receipt.read_bytes())
    body[len(body) // 2] ^= 1
    (folder / "bent.json").write_bytes(body)
    bent = await run(folder, "receipt", "verify", str(folder / "bent.json"))
    assert bent[0] != 0
    assert "WRONG" in bent[1] or "error:" in bent[2]


def _unchecked(told: str) -> set[str]:
    return {check["name"] for check in json.loads(told)["checks"] if check["ok"] is None}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_a_demo_that_is_stopped_leaves_no_process_behind(
    folder: Path, number: signal.Signals
) -> None:
    words = ["demo", SPEC.prompt, *SMALL, "--out", str(folder / "out")]
    async with command(folder, *words) as process:
        await line_with(process, "leased")
        process.send_signal(number)
        code = await process.wait()
    assert code == (-signal.SIGKILL if number is signal.SIGKILL else 130)
    assert await gone(folder) == []


async def test_ctrl_c_stops_the_watching_and_not_the_job(folder: Path) -> None:
    async with market() as world:
        node = ["--node", str(world.root / "coordinator")]
        words = ["job", "submit", SPEC.prompt, *SMALL, "--out", str(folder / "out")]
        async with command(folder, *words, *node) as process:
            job_id = (await line_with(process, "job 0x")).split()[1]
            await line_with(process, "leased", "done")
            process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
        assert process.returncode == 130, out.decode()
        assert f"reelmesh job watch {job_id}" in err.decode()
        code, told, err_text = await run(folder, "job", "watch", job_id[:10], *node)
        assert code == 0, err_text
        assert "delivered" in told
        films = [f for f in (folder / "out").glob("*.mp4") if ".preview" not in f.name]
        check_video(films[0])


async def test_a_budget_that_cannot_do_is_refused_with_the_least_that_would(folder: Path) -> None:
    async with market(profiles=()) as world:
        node = ["--node", str(world.root / "coordinator")]
        words = ["job", "submit", SPEC.prompt, *SMALL, "--budget", "10wei"]
        code, _, err = await run(folder, *words, *node)
        assert code == 2
        assert "too low" in err
        assert "at least" in err
        code, told, _ = await run(folder, "job", "list", "--json", *node)
        assert code == 0
        assert not any(job["state"] == "posted" for job in json.loads(told))


async def estimated_from_live_ads(folder: Path, *home: str) -> None:
    """Every provider advertises within seconds; until then the cost model speaks."""
    line = ["job", "estimate", "a red ball moving left", "--quality", "auto", "--json", *home]
    while True:  # the test's own timeout ends it
        code, out, err = await run(folder, *line)
        assert code == 0, err
        told = json.loads(out)
        if told["price"]["providers"] == 3:
            break
    assert told["price"]["from"] == told["time"]["from"] == "live ads"
    assert 0 < int(told["price"]["wei"]) < int(told["least_budget"])
    assert told["energy"]["wh"] > 0
    assert told["depth"]["steps"] == 8


async def test_a_devnet_goes_up_serves_and_comes_down(folder: Path) -> None:
    home = ["--home", str(folder / "h")]
    up = await run(folder, "devnet", "up", "--json", *home)
    try:
        assert up[0] == 0, up[2]
        status = await run(folder, "devnet", "status", "--json", *home)
        assert json.loads(status[1])["up"] is True
        told = await run(folder, "coordinator", "status", "--json", *home)
        assert told[0] == 0, told[2]
        await estimated_from_live_ads(folder, *home)
        again = await run(folder, "devnet", "up", *home)
        assert again[0] == 2
        assert "devnet down" in again[2]
    finally:
        down = await run(folder, "devnet", "down", *home)
    assert down[0] == 0
    assert await gone(folder) == []

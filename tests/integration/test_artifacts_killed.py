"""A process that is killed while it writes leaves no half object behind."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from reelmesh.node.storage.artifacts import ArtifactStore

WRITER = """
import asyncio, sys
from pathlib import Path
from reelmesh.node.storage.artifacts import ArtifactStore

async def main():
    store = ArtifactStore(Path(sys.argv[1]))
    await store.put_bytes(b"whole")
    async with store.writer() as writer:
        await writer.write(b"half" * 100_000)
        print("written", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_killed_while_writing(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"written\n"
    # a store that opens meanwhile leaves a living process's file alone
    store = ArtifactStore(tmp_path)
    assert len(list((tmp_path / "incoming").iterdir())) == 1
    process.send_signal(signal.SIGKILL)
    await process.wait()

    store = ArtifactStore(tmp_path)
    assert list((tmp_path / "incoming").iterdir()) == []
    objects = [file for file in (tmp_path / "objects").glob("??/*") if file.is_file()]
    assert [file.read_bytes() for file in objects] == [b"whole"]
    await store.verify(objects[0].name)

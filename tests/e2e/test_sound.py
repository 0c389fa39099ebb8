"""A prompt becomes a video that is heard, through the whole market, by the buyer's command."""

from __future__ import annotations

import tempfile
from pathlib import Path

import av
import numpy as np
import pytest
from e2e_world import market
from test_commands import run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PROMPT = "a big red ball bouncing over a white background"


async def test_a_bounce_is_heard_when_it_is_seen() -> None:
    folder = Path(tempfile.mkdtemp(prefix="rm-sound-"))
    async with market() as world:
        words = ["job", "submit", PROMPT, "--audio", "--audio-style", "wooden", "--seconds", "2"]
        words += ["--size", "256x256", "--fps", "12", "--steps", "8", "--seed", "3", "--json"]
        node = ["--node", str(world.root / "coordinator")]
        code, _, err = await run(folder, *words, "--out", str(folder), "--name", "film", *node)
        assert code == 0, err
    code, told, _ = await run(folder, "receipt", "verify", str(folder / "film.receipt.json"))
    assert code == 0, told
    with av.open(str(folder / "film.mp4")) as film:
        assert [stream.codec_context.name for stream in film.streams] == ["h264", "aac"]
        lengths = [float(stream.duration * stream.time_base) for stream in film.streams]
        assert abs(lengths[0] - lengths[1]) <= 1 / 12
        assert sum(1 for _ in film.decode(video=0)) == 24
    with av.open(str(folder / "film.mp4")) as film:
        sound = np.concatenate([frame.to_ndarray() for frame in film.decode(audio=0)], axis=1)
    level = np.abs(sound).max(axis=0)
    # The model's ball comes down at a third of the way.
    hit = np.argmax(level > 0.5 * level.max()) / 48_000
    assert hit == pytest.approx(23 / 12 / 3, abs=2 / 24)
    assert level.max() < 1

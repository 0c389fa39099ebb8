"""A preview is made in a process of its own, of frames that nobody vouches for."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from reelmesh.node.stages import StageFailed
from reelmesh.node.stages.frames import write_frames
from reelmesh.node.worker.preview import make_preview
from reelmesh.scheduler.stages.preview import PreviewParams

PARAMS = PreviewParams(seconds=4.0, width=384, height=216)


async def test_all_frames_are_shown_at_the_videos_own_pace(tmp_path: Path) -> None:
    clip = np.zeros((16, 64, 64, 3), np.uint8)
    clip[:, :, :, 2] = 200
    for i in range(16):
        clip[i, 20:40, 3 * i : 3 * i + 12] = (240, 30, 30)
    frames = write_frames(tmp_path / "frames.mkv", clip)
    await make_preview(frames, tmp_path / "shown.mp4", PARAMS)
    with av.open(str(tmp_path / "shown.mp4")) as film:
        stream = film.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (384, 216, 4)
        shown = [frame.to_ndarray(format="rgb24") for frame in film.decode(stream)]
    assert len(shown) == 16
    reds = [np.argwhere(picture[..., 0] > 150)[:, 1].mean() for picture in shown]
    assert all(a < b for a, b in pairwise(reds))


@pytest.mark.parametrize("content", [b"", b"not a video at all", b"#EXTM3U\n/etc/passwd\n"])
async def test_frames_that_are_none_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "frames.mkv").write_bytes(content)
    with pytest.raises(StageFailed) as caught:
        await make_preview(tmp_path / "frames.mkv", tmp_path / "shown.mp4", PARAMS)
    assert caught.value.message
    assert "\n" not in caught.value.message

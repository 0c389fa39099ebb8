"""One JPEG of frames out of videos: a row for each, its caption above it.

    python scripts/contact_sheet.py sheet.jpg "a red ball=out/a.mp4" out/b.mp4 [--frames 6]

A video is PATH, or CAPTION=PATH; without a caption it is shown by its file's name. Frames are
spread evenly from the first to the last. The JPEG is at most --kb in size: its quality, then its
width, is lowered until it fits.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""[height, width, 3] RGB."""

WIDTH, GAP, LINE = 960, 4, 20
PAPER, INK = 255, (30, 30, 30)


@dataclass(frozen=True)
class Row:
    """A video's caption, and its frames; they may differ in size from those of other rows."""

    caption: str
    frames: Sequence[Picture]


def spread(path: Path, count: int) -> list[Picture]:
    """`count` frames of a video, evenly from the first to the last; all, where there are fewer."""
    with av.open(str(path)) as container:
        total = sum(1 for _ in container.decode(video=0))
    wanted = {round(i * (total - 1) / max(count - 1, 1)) for i in range(count)}
    with av.open(str(path)) as container:
        frames = enumerate(container.decode(video=0))
        return [frame.to_ndarray(format="rgb24") for i, frame in frames if i in wanted]


def sheet(rows: Sequence[Row], width: int = WIDTH) -> Picture:
    """All rows below each other; the frames of each fill the width."""
    return np.vstack([part for row in rows for part in (_caption(row, width), _strip(row, width))])


def _caption(row: Row, width: int) -> Picture:
    line = np.full((LINE, width, 3), PAPER, np.uint8)
    cv2.putText(line, row.caption, (3, LINE - 6), INK, cv2.FontFace("sans"), 13)
    return line


def _strip(row: Row, width: int) -> Picture:
    count = len(row.frames)
    each = (width - GAP * (count - 1)) // count
    height, across = row.frames[0].shape[:2]
    tall = max(1, round(each * height / across))
    strip = np.full((tall + GAP, width, 3), PAPER, np.uint8)
    for i, frame in enumerate(row.frames):
        left = i * (each + GAP)
        small = cv2.resize(frame, (each, tall), interpolation=cv2.INTER_AREA)
        strip[:tall, left : left + each] = small
    return strip


def save(page: Picture, path: Path, kb: int = 150) -> None:
    """Write a JPEG of at most `kb` KiB. Raises ValueError where even a small one is larger."""
    for scale in (1.0, 0.8, 0.64, 0.5):
        small = cv2.resize(page, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for quality in (88, 80, 70):
            how = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
            _, data = cv2.imencode(".jpg", small[..., ::-1], how)
            if data.nbytes <= kb << 10:
                path.write_bytes(data.tobytes())
                return
    raise ValueError(f"{path.name} does not fit into {kb} KiB: show fewer rows or frames")


def _row(argument: str, count: int) -> Row:
    caption, _, file = argument.rpartition("=")
    path = Path(file)
    return Row(caption or path.stem, spread(path, count))


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sheet", type=Path, help="JPEG to write")
    parser.add_argument("videos", nargs="+", help="PATH or CAPTION=PATH")
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--kb", type=int, default=150)
    asked = parser.parse_args()
    rows = [_row(video, asked.frames) for video in asked.videos]
    save(sheet(rows, asked.width), asked.sheet, asked.kb)
    print(f"{asked.sheet}: {len(rows)} videos, {asked.sheet.stat().st_size >> 10} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

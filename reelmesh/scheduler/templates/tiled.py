"""Any size: what becomes of a clip's key frames where a video is not of the first sizes.

refine ─┬→ interpolate-0 ─┬→ upscale_tile-0 ─┬→ join_tiles-0 ─┐
        │                 ├→ upscale_tile-1 ─┘                │
        │                 ├→ upscale_tile-2 ─┬→ join_tiles-1 ─┤
        │                 └→ upscale_tile-3 ─┘                │
        └→ interpolate-1 ─→ …                                 ┴→ (assemble)

Above about 1600 pixels a chunk's frames go through another `refine` on their way to its tiles.
Only small frames and finely coded tiles travel: raw frames of the finished size stay inside a
subtask.
"""

from __future__ import annotations

from itertools import pairwise

from reelmesh.scheduler.plan import Subtask, build_subtask
from reelmesh.scheduler.sizes import TILE_SIDE, quarter, tile_counts, timeline_size
from reelmesh.scheduler.spec import JobSpec
from reelmesh.scheduler.templates.cutting import CHUNK_FRAMES, cuts

WINDOW_FRAMES = 2 * CHUNK_FRAMES
"""Frames of one `interpolate`: each tile of each chunk takes a whole window as its input."""


def enlarge(
    spec: JobSpec,
    keys: Subtask,
    count: int,
    shape: tuple[int, int],
    crf: int,
    tile_side: int = TILE_SIDE,
) -> tuple[list[Subtask], list[Subtask]]:
    """From key frames to segments: (what stands between, segments in their order).

    Args:
        keys: makes `count` key frames that span the whole video.
        shape: their width and height, in pixels.
        crf: of the finished video.
        tile_side: the most pixels along a tile's side.
    """
    small, large = timeline_size(spec.width, spec.height), quarter(spec.width, spec.height)
    refined = _refine("refine", keys, (0, count), shape, small)
    between: list[Subtask] = [refined]
    segments: list[Subtask] = []
    for first, (start, stop) in enumerate(pairwise(cuts(spec.frames, WINDOW_FRAMES))):
        when = {"start": start, "stop": stop, "total": spec.frames}
        window = build_subtask(
            f"interpolate-{first}", "interpolate", {**when, "side": max(small)}, {"frames": refined}
        )
        between.append(window)
        for part in pairwise(cuts(stop - start, CHUNK_FRAMES)):
            number = len(segments)
            source, frames = window, part
            if small != large:
                source = _refine(f"refine-{number}", window, part, small, large)
                frames = (0, part[1] - part[0])
                between.append(source)
            tiles, segment = _chunk(spec, source, frames, number, crf, tile_side)
            between += tiles
            segments.append(segment)
    return between, segments


def _refine(
    name: str,
    frames: Subtask,
    part: tuple[int, int],
    before: tuple[int, int],
    after: tuple[int, int],
) -> Subtask:
    params = {"start": part[0], "stop": part[1]}
    params |= {"from_width": before[0], "from_height": before[1]}
    params |= {"width": after[0], "height": after[1]}
    return build_subtask(name, "refine", params, {"frames": frames})


def _chunk(
    spec: JobSpec, source: Subtask, part: tuple[int, int], number: int, crf: int, tile_side: int
) -> tuple[list[Subtask], Subtask]:
    """Frames part[0]..part[1] of a source: their tiles, and segment `number`."""
    start, stop = part
    columns, rows = tile_counts(spec.width, spec.height, tile_side)
    count = columns * rows
    grid = {"width": spec.width, "height": spec.height, "columns": columns, "rows": rows}
    tiles = [
        build_subtask(
            f"upscale_tile-{count * number + tile}",
            "upscale_tile",
            {**grid, "start": start, "stop": stop, "tile": tile, "sparse": True},
            {"frames": source},
        )
        for tile in range(count)
    ]
    segment = build_subtask(
        f"join_tiles-{number}",
        "join_tiles",
        {**grid, "fps": spec.fps, "crf": crf, "frames": stop - start},
        {f"tile-{i}": tile for i, tile in enumerate(tiles)},
    )
    return tiles, segment

"""image→video: a video that begins with the buyer's picture, in windows that run in parallel.

encode_text ──┬→ animate-0 → decode-0 ─┬→ anchor-0 ─┬→ upscale-0 → …
encode_image ─┼→ animate-1 → decode-1 ─┼→ anchor-1 ─┴→ …
              └→ …                     ┼→ …
                                       └→ anchor (the small clip: preview and sound)

A clip of the model lasts 2.5 s. A longer video is made from several, each drawn from its own noise
and overlapping the next by half a second. Each window of the timeline is made from all clips,
wherever it is made: neighbouring windows agree to the bit on every frame that both could make.
"""

from __future__ import annotations

from itertools import pairwise

from reelmesh.scheduler.complexity import loop_params
from reelmesh.scheduler.plan import Plan, Subtask, build_subtask
from reelmesh.scheduler.sizes import box, is_first_size
from reelmesh.scheduler.spec import ImageToVideo
from reelmesh.scheduler.stages.anchor import clips_for
from reelmesh.scheduler.stages.encode_image import PICTURE_SIZE
from reelmesh.scheduler.templates import tiled
from reelmesh.scheduler.templates.cutting import CHUNK_FRAMES, cuts
from reelmesh.scheduler.templates.sound import Clip, shown_prompt, soundtrack
from reelmesh.scheduler.templates.text_to_video import chunks, join

WINDOW_FRAMES = 4 * CHUNK_FRAMES
"""Two seconds at 24 frames a second."""
SMALL_FPS = 12
CRF = 4
"""Much finer than for drawn shapes: on the grain of a photograph that hardly moves, the key frame
that begins each segment would be seen as a pulse."""
LARGE_CRF = 13
"""For frames in tiles, whose grain is finer, and whose bytes are many."""


def plan(spec: ImageToVideo) -> Plan:
    """Cut a spec into subtasks."""
    chain, given = _clips(spec)
    small, count = _small(spec, given), round(spec.seconds * SMALL_FPS)
    shape = box(spec.width, spec.height, PICTURE_SIZE)
    if is_first_size(spec.width, spec.height):
        between, encoded = _windows(spec, given)
    else:
        between, encoded = tiled.enlarge(spec, small, count, shape, LARGE_CRF)
    video = join(spec, encoded)
    sound = soundtrack(spec, Clip(small, count, shape), video)
    tasks = (*chain, small, *between, *encoded, video, *sound)
    return Plan(spec_hash=spec.spec_hash(), subtasks=tasks)


def _windows(spec: ImageToVideo, given: dict[str, Subtask]) -> tuple[list[Subtask], list[Subtask]]:
    """What stands between the clips and the segments, at the first sizes; the segments."""
    timeline = {**_shape(spec), "total": spec.frames, "fps": spec.fps}
    windows: list[Subtask] = []
    enlarged: list[Subtask] = []
    encoded: list[Subtask] = []
    for i, (start, stop) in enumerate(pairwise(cuts(spec.frames, WINDOW_FRAMES))):
        params = {"start": start, "stop": stop, **timeline}
        window = build_subtask(f"anchor-{i}", "anchor", params, given)
        windows.append(window)
        more, most = chunks(spec, window, stop - start, CHUNK_FRAMES, first=len(enlarged), crf=CRF)
        enlarged += more
        encoded += most
    return [*windows, *enlarged], encoded


def _small(spec: ImageToVideo, given: dict[str, Subtask]) -> Subtask:
    """The whole timeline with few frames a second: what is shown first, and listened to."""
    frames = round(spec.seconds * SMALL_FPS)
    timeline = {"start": 0, "stop": frames, "total": frames, "fps": SMALL_FPS}
    return build_subtask("anchor", "anchor", {**timeline, **_shape(spec)}, given)


def _shape(spec: ImageToVideo) -> dict[str, int]:
    return {"clips": clips_for(spec.seconds), "width": spec.width, "height": spec.height}


def _clips(spec: ImageToVideo) -> tuple[list[Subtask], dict[str, Subtask]]:
    """The subtasks up to the clips, and the inputs that every window takes of them."""
    size = {"width": spec.width, "height": spec.height}
    text = build_subtask("encode_text", "encode_text", {"prompt": shown_prompt(spec)}, {})
    picture = build_subtask("encode_image", "encode_image", size, {}, {"image": spec.image})
    loop = loop_params(spec)
    loop |= {"start": 0, "stop": loop["steps"]}
    tasks, given = [text, picture], {"picture": picture}
    for i in range(clips_for(spec.seconds)):
        drawn = build_subtask(
            f"animate-{i}",
            "animate",
            {**loop, "seed": (spec.seed + i) % 2**32},
            {"features": text, "frames": picture},
        )
        clip = build_subtask(f"decode-{i}", "decode", {"frames": 16}, {"latent": drawn})
        tasks += [drawn, clip]
        given[f"clip-{i}"] = clip
    return tasks, given

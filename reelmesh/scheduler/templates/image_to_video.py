"""image→video: a clip that begins with the buyer's picture, then the timeline in parallel windows.

encode_text ──┐
encode_image ─┴→ animate-0 → animate-1 → decode → anchor ─┬→ interpolate-0 ─┬→ upscale-0 → …
                                                          ├→ interpolate-1 ─┴→ …
                                                          └→ …

The model's clip has a beginning and an end (a thing that moves left comes to the left side), so one
clip spans the whole video. Each window of the timeline is made from all of the clip's key frames,
wherever it is made: neighbouring windows agree to the bit on every frame that both could make.
"""

from __future__ import annotations

from itertools import pairwise

from reelmesh.scheduler.complexity import depth_of, loop_params
from reelmesh.scheduler.plan import Plan, Subtask, build_subtask
from reelmesh.scheduler.sizes import box, is_first_size
from reelmesh.scheduler.spec import ImageToVideo
from reelmesh.scheduler.stages.decode import SKELETON_FRAMES
from reelmesh.scheduler.stages.encode_image import PICTURE_SIZE
from reelmesh.scheduler.templates import tiled
from reelmesh.scheduler.templates.cutting import CHUNK_FRAMES, cuts
from reelmesh.scheduler.templates.sound import shown_prompt, soundtrack
from reelmesh.scheduler.templates.text_to_video import chunks, join

WINDOW_FRAMES = 4 * CHUNK_FRAMES
"""Two seconds at 24 frames a second."""
CRF = 13
"""Finer than for drawn shapes: on the grain of a photograph that hardly moves, the key frame that
begins each segment would be seen as a pulse."""


def plan(spec: ImageToVideo) -> Plan:
    """Cut a spec into subtasks."""
    chain = _clip(spec)
    if is_first_size(spec.width, spec.height):
        between, encoded = _windows(spec, chain[-1])
    else:
        shape = box(spec.width, spec.height, PICTURE_SIZE)
        between, encoded = tiled.enlarge(spec, chain[-1], SKELETON_FRAMES, shape, CRF)
    video = join(spec, encoded)
    sound = soundtrack(spec, chain[-1], SKELETON_FRAMES, video)
    tasks = (*chain, *between, *encoded, video, *sound)
    return Plan(spec_hash=spec.spec_hash(), subtasks=tasks)


def _windows(spec: ImageToVideo, keys: Subtask) -> tuple[list[Subtask], list[Subtask]]:
    """What stands between the key frames and the segments, at the first sizes; the segments."""
    windows: list[Subtask] = []
    enlarged: list[Subtask] = []
    encoded: list[Subtask] = []
    for i, (start, stop) in enumerate(pairwise(cuts(spec.frames, WINDOW_FRAMES))):
        window = build_subtask(
            f"interpolate-{i}",
            "interpolate",
            {"start": start, "stop": stop, "total": spec.frames, "side": PICTURE_SIZE},
            {"frames": keys},
        )
        windows.append(window)
        more, most = chunks(spec, window, stop - start, CHUNK_FRAMES, first=len(enlarged), crf=CRF)
        enlarged += more
        encoded += most
    return [*windows, *enlarged], encoded


def _clip(spec: ImageToVideo) -> list[Subtask]:
    size = {"width": spec.width, "height": spec.height}
    text = build_subtask("encode_text", "encode_text", {"prompt": shown_prompt(spec)}, {})
    picture = build_subtask("encode_image", "encode_image", size, {}, {"image": spec.image})
    loop = loop_params(spec)
    steps = depth_of(spec).steps
    half = steps // 2
    given = {"features": text, "frames": picture}
    first = build_subtask("animate-0", "animate", {**loop, "start": 0, "stop": half}, given)
    second = build_subtask(
        "animate-1",
        "animate",
        {**loop, "start": half, "stop": steps},
        {**given, "latent": first},
    )
    small = build_subtask("decode", "decode", {"frames": 16}, {"latent": second})
    keys = build_subtask("anchor", "anchor", size, {"frames": small, "picture": picture})
    return [text, picture, first, second, small, keys]

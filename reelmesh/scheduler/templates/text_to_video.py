"""text→video: one chain to a small clip, then many chunks in parallel, then one MP4.

encode_text → skeleton-0 → skeleton-1 → decode → interpolate ─┬→ upscale-0 → encode_video-0 ─┐
                                                              ├→ upscale-1 → encode_video-1 ─┤
                                                              └→ …                           ┴→ assemble

That is how it goes at the sizes of the first version. At any other size the chain ends in `decode`,
and `tiled` says how it goes on.
"""  # noqa: E501 (a picture)

from __future__ import annotations

from itertools import pairwise

from reelmesh.scheduler.complexity import depth_of, loop_params
from reelmesh.scheduler.plan import Plan, Subtask, build_subtask
from reelmesh.scheduler.sizes import TILE_SIDE, is_first_size
from reelmesh.scheduler.spec import GeneratedSpec, JobSpec
from reelmesh.scheduler.stages.decode import SKELETON_FRAMES, SKELETON_SIZE
from reelmesh.scheduler.stages.entry import MIB
from reelmesh.scheduler.templates import tiled
from reelmesh.scheduler.templates.cutting import CHUNK_FRAMES, cuts
from reelmesh.scheduler.templates.sound import Clip, shown_prompt, soundtrack

CRF = 18
"""Visually lossless for x264."""


def plan(
    spec: GeneratedSpec, *, chunk_frames: int = CHUNK_FRAMES, tile_side: int = TILE_SIDE
) -> Plan:
    """Cut a spec into subtasks.

    Args:
        chunk_frames: the most frames in one upscale subtask, 1..240. Half a second is small enough
            that unequal providers finish together, and large enough that moving it costs little.
        tile_side: the most pixels along a tile's side, where the size is none of the first.
    """
    if not 1 <= chunk_frames <= 240:
        raise ValueError("chunk_frames must be from 1 to 240")
    chain = _clip(spec)
    small, timeline = chain[-1], None
    if is_first_size(spec.width, spec.height):
        timeline = _timeline(spec, small)
        chain.append(timeline)
        sparse = depth_of(spec).sparse
        enlarged, encoded = chunks(spec, timeline, spec.frames, chunk_frames, sparse=sparse)
    else:
        enlarged, encoded = tiled.enlarge(
            spec, small, SKELETON_FRAMES, (SKELETON_SIZE, SKELETON_SIZE), CRF, tile_side
        )
    video = join(spec, encoded)
    clip = Clip(small, SKELETON_FRAMES, (SKELETON_SIZE, SKELETON_SIZE), timeline)
    sound = soundtrack(spec, clip, video)
    return Plan(spec_hash=spec.spec_hash(), subtasks=(*chain, *enlarged, *encoded, video, *sound))


def _clip(spec: GeneratedSpec) -> list[Subtask]:
    text = build_subtask("encode_text", "encode_text", {"prompt": shown_prompt(spec)}, {})
    loop = loop_params(spec)
    steps = depth_of(spec).steps
    half = steps // 2
    first = build_subtask(
        "skeleton-0", "skeleton", {**loop, "start": 0, "stop": half}, {"features": text}
    )
    second = build_subtask(
        "skeleton-1",
        "skeleton",
        {**loop, "start": half, "stop": steps},
        {"features": text, "latent": first},
    )
    small = build_subtask("decode", "decode", {"frames": 16}, {"latent": second})
    return [text, first, second, small]


def _timeline(spec: GeneratedSpec, small: Subtask) -> Subtask:
    whole = {"start": 0, "stop": spec.frames, "total": spec.frames}
    return build_subtask("interpolate", "interpolate", whole, {"frames": small})


def chunks(
    spec: JobSpec,
    smooth: Subtask,
    frames: int,
    most: int,
    first: int = 0,
    crf: int = CRF,
    *,
    sparse: bool = False,
) -> tuple[list[Subtask], list[Subtask]]:
    """Upscaling and encoding of a subtask's `frames` frames, in chunks of at most `most`.

    Args:
        first: the number of the first chunk, where other chunks of the video come before.
        sparse: only what has detail goes through the upscaler's network.
    """
    enlarged, encoded = [], []
    size = {"width": spec.width, "height": spec.height}
    how = {"sparse": True} if sparse else {}
    for i, (start, stop) in enumerate(pairwise(cuts(frames, most)), start=first):
        params = {**size, "start": start, "stop": stop, **how}
        chunk = build_subtask(f"upscale-{i}", "upscale", params, {"frames": smooth})
        enlarged.append(chunk)
        encode = {**size, "fps": spec.fps, "crf": crf, "frames": stop - start}
        encoded.append(
            build_subtask(f"encode_video-{i}", "encode_video", encode, {"frames": chunk})
        )
    return enlarged, encoded


def join(spec: JobSpec, encoded: list[Subtask]) -> Subtask:
    """The last subtask: all segments in one MP4."""
    params = {"fps": spec.fps, "segments": len(encoded)}
    # Left out where it always was: at the first sizes, for chunks of half a second.
    most = max(segment.bytes_out for segment in encoded)
    if not is_first_size(spec.width, spec.height) or most > 4 * MIB:
        params["segment_mb"] = -(-most // MIB)
    return build_subtask(
        "assemble",
        "assemble",
        params,
        {f"segment-{i}": segment for i, segment in enumerate(encoded)},
    )

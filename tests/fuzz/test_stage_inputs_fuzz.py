"""Whatever bytes arrive as an artifact, a stage says "bad_input" or reads them; nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reelmesh.node.stages import StageFailed, load_stage
from reelmesh.node.stages.base import StageContext
from reelmesh.node.stages.encode_text import FEATURES_SPEC
from reelmesh.node.stages.frames import read_frames, write_frames
from reelmesh.node.stages.media import MediaLimits
from reelmesh.node.stages.stills import read_still
from reelmesh.node.stages.tensors import read_tensors, write_tensors

EXAMPLES = settings(max_examples=60, deadline=None)
Edit = tuple[float, bytes, int]
edits = st.lists(
    st.tuples(st.floats(0, 1), st.binary(max_size=12), st.integers(0, 40)), min_size=1, max_size=5
)


def edited(data: bytes, changes: list[Edit]) -> bytes:
    """Replaces, inserts and removes bytes at the given shares of the length."""
    for where, new, removed in changes:
        at = int(where * len(data))
        data = data[:at] + new + data[at + removed :]
    return data


def survives(data: bytes, read: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "artifact"
        path.write_bytes(data)
        failure = None
        try:
            read(path)
        except StageFailed as error:
            failure = error
    if failure is not None:
        assert failure.reason == "bad_input"
        assert "\n" not in failure.message


@lru_cache
def good_frames() -> bytes:
    pictures = np.random.default_rng(0).integers(0, 256, (4, 32, 48, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        return write_frames(Path(folder) / "a", pictures).read_bytes()


@lru_cache
def good_features() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = write_tensors(Path(folder) / "a", {"features": torch.zeros(3, 384)})
        return path.read_bytes()


@lru_cache
def good_segment() -> bytes:
    params = SimpleNamespace(fps=24, crf=30, frames=4, width=48, height=32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames"
        path.write_bytes(good_frames())
        context = StageContext(torch.device("cpu"), Path(folder))
        out = load_stage("encode_video").run(params, {"frames": path}, context)
        return out["segment"].read_bytes()


def assemble(path: Path) -> None:
    context = StageContext(torch.device("cpu"), path.parent)
    params = SimpleNamespace(fps=24, segments=2)
    good = path.parent / "good"
    good.write_bytes(good_segment())
    load_stage("assemble").run(params, {"segment-0": good, "segment-1": path}, context)


@EXAMPLES
@given(edits)
def test_edited_frames(changes: list[Edit]) -> None:
    survives(edited(good_frames(), changes), lambda path: read_frames(path, MediaLimits(8)))


@EXAMPLES
@given(edits)
def test_edited_segments(changes: list[Edit]) -> None:
    survives(edited(good_segment(), changes), assemble)


@EXAMPLES
@given(edits)
def test_edited_features(changes: list[Edit]) -> None:
    survives(edited(good_features(), changes), lambda path: read_tensors(path, FEATURES_SPEC))


@EXAMPLES
@given(st.binary(max_size=4096))
def test_any_bytes(data: bytes) -> None:
    survives(data, lambda path: read_frames(path, MediaLimits(8)))
    survives(data, assemble)
    survives(data, lambda path: read_tensors(path, FEATURES_SPEC))


@lru_cache
def good_still(ending: str) -> bytes:
    picture = np.random.default_rng(3).integers(0, 256, (24, 36, 4), dtype=np.uint8)
    if ending == ".jpg":
        picture = picture[..., :3]
    return cv2.imencode(ending, picture)[1].tobytes()


@EXAMPLES
@given(st.sampled_from([".png", ".jpg", ".webp"]), edits)
def test_edited_stills(ending: str, changes: list[Edit]) -> None:
    survives(edited(good_still(ending), changes), read_still)


@EXAMPLES
@given(st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"RIFF"]), st.binary(max_size=200))
def test_bytes_that_begin_as_a_still(start: bytes, rest: bytes) -> None:
    survives(start + rest, read_still)

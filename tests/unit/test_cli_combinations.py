"""What cannot be made as asked is refused in one plain line with the next step, at no cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from reelmesh.errors import UserError
from reelmesh.node.cli.asking import build_request
from reelmesh.node.cli.estimating import estimate_job
from reelmesh.node.cli.options import JobOptions
from reelmesh.scheduler.camera import parse_orbit
from reelmesh.scheduler.models import MODELS
from reelmesh.scheduler.spec import parse_spec


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of grey, in H.264."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(48):
            picture = np.full((48, 64, 3), 128, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())
    return path


NAN = float("nan")
UNFIT: list[tuple[Mapping[str, Any], str, str]] = [
    ({"image": Path("p.png")}, "a picture or a video, not both", "leave one out"),
    ({"extend": 1.0, "orbit": "-5:5"}, "--extend and --orbit are two jobs", "one after the other"),
    ({"extend": 9.0}, "--extend takes 0.5 to 4 seconds", "--extend 2"),
    ({"extend": NAN}, "--extend takes 0.5 to 4 seconds", "--extend 2"),
    ({"extend": 1.0, "start": 5.0}, "the video ends at 2 s", "earlier --start"),
    ({"extend": 1.0, "audio_model": "ltx-2"}, "--audio-model means nothing", "leave it out"),
    ({"extend": 1.0, "audio": True}, "--audio means nothing for extend video", "leave it out"),
    ({"retime": 0.3}, "--retime takes 0.25 to 4, in steps", "half as fast"),
    ({"retime": NAN}, "--retime takes 0.25 to 4", "half as fast"),
    ({"retime": 4.0}, "would be 0.5 s long", "slower --retime"),
    ({"orbit": "-5:5", "start": NAN}, "--start is a second of the video", "say 0"),
    ({"orbit": "-5:5", "start": 5.0}, "the video ends at 2 s", "earlier --start"),
    ({"orbit": "-5:5", "seconds": 9.0}, "the video has only 2 s", "fewer --seconds"),
    ({"orbit": "-5:5", "start": 1.5}, "the video has only 0.5 s", "at least 1 s is needed"),
    ({"orbit": "-5:5", "views": 7}, "7 views a second do not fit 24", "divides fps"),
    ({"orbit": "-5:5", "size": "1920x1080"}, "width is not valid", "multiples of 64"),
]


@pytest.mark.parametrize(("asked", "says", "hint"), UNFIT)
def test_what_does_not_go_together_is_told(
    clip: Path, asked: Mapping[str, Any], says: str, hint: str
) -> None:
    with pytest.raises(UserError, match=says) as caught:
        build_request(JobOptions(video=clip, **asked))
    assert hint in caught.value.hint


def test_a_walk_takes_what_there_is(clip: Path) -> None:
    assert build_request(JobOptions(video=clip, orbit="-5:5")).spec.seconds == 2.0


@pytest.mark.parametrize("model", sorted(MODELS))
def test_a_production_model_can_be_estimated(model: str) -> None:
    spec: dict[str, object] = {
        "prompt": "a fox",
        "width": 512,
        "height": 512,
        "seconds": 2.0,
        "model": model,
    }
    kind = MODELS[model].kinds[0]
    source: dict[str, object] = {"sha256": "ab" * 32, "size": 9}
    if kind == "image_to_video":
        spec |= {"image": {**source, "kind": "picture"}}
    if kind == "video_to_4d":
        spec |= {"video": {**source, "kind": "footage"}}
        spec |= {"camera": parse_orbit("-5:5", 2.0).model_dump(mode="json")}
    told = estimate_job(parse_spec({**spec, "kind": kind}))
    assert told["time"]["seconds"] > 0
    assert told["energy"]["wh"] > 0

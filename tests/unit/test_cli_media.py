"""A buyer's picture on the command line: named by its hash, and the video takes its shape."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest

from reelmesh.node.cli.asking import build_request
from reelmesh.node.cli.media import warnings
from reelmesh.node.cli.options import JobOptions
from reelmesh.node.cli.submitting import InvalidOption
from reelmesh.scheduler.camera import InvalidCamera, parse_orbit
from reelmesh.scheduler.spec import ImageToVideo


def png(path: Path, width: int, height: int) -> Path:
    """A header and an end are all that the command line looks at."""
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height)
    path.write_bytes(head + bytes(9) + b"\0\0\0\0IEND\xaeB`\x82")
    return path


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (4000, 3000, (512, 384)),
        (1080, 1920, (256, 512)),
        (100, 100, (512, 512)),
        (5000, 20, (512, 256)),
    ],
)
def test_the_video_takes_the_pictures_shape(
    tmp_path: Path, width: int, height: int, size: tuple[int, int]
) -> None:
    image = png(tmp_path / "a.png", width, height)
    request = build_request(JobOptions(prompt="it moves left", image=image, seconds=10.0))
    spec = request.spec
    assert isinstance(spec, ImageToVideo)
    assert (spec.width, spec.height) == size
    assert spec.image.sha256 == hashlib.sha256(image.read_bytes()).hexdigest()
    assert spec.image.size == image.stat().st_size
    assert request.sources == {"image": image}
    asked = build_request(JobOptions(prompt="it moves left", size="768x256", image=image)).spec
    assert (asked.width, asked.height) == (768, 256)


def test_a_picture_that_is_cut_short_costs_nothing(tmp_path: Path) -> None:
    image = png(tmp_path / "a.png", 100, 100)
    image.write_bytes(image.read_bytes()[:-20])
    with pytest.raises(InvalidOption, match="cut short"):
        build_request(JobOptions(prompt="it moves", image=image))


def test_too_many_pixels_are_refused_before_anything_is_posted(tmp_path: Path) -> None:
    image = png(tmp_path / "a.png", 12000, 12000)
    with pytest.raises(InvalidOption, match="50 megapixels"):
        build_request(JobOptions(prompt="it moves", image=image))


def test_the_buyer_is_told_what_the_model_cannot_do() -> None:
    assert len(warnings("the ball moves left")) == 1
    assert "photograph" in warnings("the ball moves left")[0]
    assert "names no motion" in warnings("a lovely day")[1]


def test_a_prompt_beyond_the_models_world_is_told_and_a_way_out_offered() -> None:
    plain = build_request(JobOptions(prompt="a small red ball moving up over black"))
    assert plain.notes == ()
    [cat] = build_request(JobOptions(prompt="a cat walking on grass")).notes
    assert "does not know: cat, walking" in cat
    assert "reelmesh model list" in cat


@pytest.mark.parametrize("picture", [True, False])
def test_a_prompt_in_another_language_is_told(picture: bool) -> None:
    told = warnings("ein roter Ball bewegt sich nach links", picture=picture)[-1]
    assert "German" in told
    assert "English only" in told
    assert "reelmesh model list" in told


@pytest.mark.parametrize("seconds", [0.0, 0.05, -3.0, 30.0, 1e300, float("inf"), float("nan")])
def test_an_orbit_over_no_real_time_is_refused_plainly(seconds: float) -> None:
    with pytest.raises(InvalidCamera):
        parse_orbit("-15:15", seconds)

"""The job's spec: what is taken, what is refused in plain words, and a hash that never moves."""

from __future__ import annotations

import hashlib
import json

import pytest

from reelmesh.scheduler.sources import Footage, Picture
from reelmesh.scheduler.spec import MAX_PROMPT, InvalidSpec, TextToVideo, parse_spec


def test_a_prompt_alone_is_a_whole_spec() -> None:
    spec = parse_spec({"prompt": "a red ball"})
    assert (spec.seconds, spec.fps, spec.width, spec.height) == (4.0, 24, 512, 512)
    assert spec.frames == 96


def test_the_hash_is_sha256_of_sorted_compact_json() -> None:
    spec = parse_spec({"prompt": "é", "seconds": 4.0, "seed": 7})
    plain = {
        "version": 1,
        "kind": "text_to_video",
        "prompt": "é",
        "seconds": 4,
        "fps": 24,
        "width": 512,
        "height": 512,
        "steps": 20,
        "guidance": 2,
        "seed": 7,
    }
    data = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert spec.canonical() == data
    assert spec.spec_hash() == hashlib.sha256(data).hexdigest()


def test_equal_prompts_hash_equal_however_they_are_typed() -> None:
    composed, decomposed = "caf\u00e9", " cafe\u0301  "
    assert (
        parse_spec({"prompt": composed}).spec_hash()
        == parse_spec({"prompt": decomposed}).spec_hash()
    )


def test_a_round_trip_through_its_own_bytes() -> None:
    spec = parse_spec({"prompt": "a blue star", "seconds": 2.5, "width": 1024})
    assert parse_spec(spec.canonical()) == spec


def test_the_longest_prompt_is_taken_and_one_more_is_not() -> None:
    assert TextToVideo(prompt="x" * MAX_PROMPT).prompt == "x" * MAX_PROMPT
    with pytest.raises(InvalidSpec, match="301 characters; at most 300"):
        parse_spec({"prompt": "x" * (MAX_PROMPT + 1)})


@pytest.mark.parametrize("prompt", ["", "   ", "\t\n"])
def test_an_empty_prompt_says_what_to_write(prompt: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_spec({"prompt": prompt})
    assert caught.value.message == "The prompt is empty"
    assert "say in one line" in caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("bad", ["a\nb", "a\x00b", "a\u202eb", "a\u2028b", "a\ud800", "\ue000"])
def test_a_prompt_of_odd_characters_is_refused(bad: str) -> None:
    with pytest.raises(InvalidSpec, match="control character"):
        parse_spec({"prompt": bad})


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("seconds", 0.5, "1 to 20 seconds"),
        ("seconds", 21, "1 to 20 seconds"),
        ("seconds", "4", "a number is wanted"),
        ("seconds", float("nan"), "finite"),
        ("fps", 11, "12 to 60"),
        ("fps", 24.5, "12 to 60"),
        ("width", 501, "multiple of 2"),
        ("width", 126, "even number from 128 to 3840"),
        ("height", 3842, "even number from 128 to 3840"),
        ("height", 512.0, "even number"),
        ("steps", 3, "4 to 50"),
        ("guidance", True, "a number is wanted"),
        ("seed", -1, "whole number"),
        ("seed", 2**32, "whole number"),
        ("seed", True, "whole number"),
        ("kind", "video_to_song", "text_to_video"),
        ("kind", ["text_to_video"], "text_to_video"),
        ("image", {"sha256": "0" * 64, "size": 9}, "unknown field 'image'"),
        ("version", 2, "version 1"),
        ("prompt", 3, "say in one line"),
        ("colour", "red", "unknown field 'colour'"),
    ],
)
def test_a_bad_field_is_named_with_the_next_step(field: str, value: object, says: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_spec({"prompt": "a red ball", field: value})
    assert field in str(caught.value)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"prompt":"a","prompt":"b"}', "twice"),
        ('{"prompt":"a","seconds":NaN}', "NaN"),
        (b"\xff\xfe\xfd", "UTF-8"),
        ("[" * 8000, "nested too deep|not JSON"),  # whichever limit the interpreter has
        (" " * 9000, "longer than 8192"),
        ('{"seed":1}', "no prompt"),
    ],
)
def test_bad_json_is_refused_in_one_line(text: str | bytes, says: str) -> None:
    with pytest.raises(InvalidSpec, match=says):
        parse_spec(text)


IMAGE = {"kind": "image_to_video", "prompt": "it moves left"}
PICTURE = {"sha256": "ab" * 32, "size": 1000}


def test_a_kind_names_the_media_that_the_buyer_brings() -> None:
    spec = parse_spec({**IMAGE, "image": PICTURE})
    assert spec.sources() == {"image": Picture(**PICTURE)}
    assert parse_spec(spec.canonical()) == spec
    assert spec.spec_hash() != parse_spec({"prompt": "it moves left"}).spec_hash()
    assert parse_spec({"prompt": "it moves left"}).sources() == {}


@pytest.mark.parametrize(
    "image",
    [
        None,
        "photo.png",
        {},
        {**PICTURE, "size": 0},
        {**PICTURE, "size": 64 * 2**20 + 1},
        {**PICTURE, "size": "9"},
        {**PICTURE, "kind": "footage"},
        {**PICTURE, "sha256": "AB" * 32},
        {**PICTURE, "path": "/etc/passwd"},
    ],
)
def test_a_source_that_is_none_is_refused_in_one_line(image: object) -> None:
    with pytest.raises(InvalidSpec, match="image") as caught:
        parse_spec({**IMAGE, "image": image})
    assert "64 MiB" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_video_may_be_larger_than_a_picture() -> None:
    assert Footage(sha256="ab" * 32, size=2**30).size == 2**30
    with pytest.raises(ValueError, match="1024 MiB"):
        Footage(sha256="ab" * 32, size=2**30 + 1)


@pytest.mark.parametrize(
    ("width", "height"), [(1920, 1080), (3840, 2160), (2160, 3840), (854, 480), (128, 3840)]
)
def test_any_even_size_up_to_4k_is_taken(width: int, height: int) -> None:
    spec = parse_spec({"prompt": "x", "width": width, "height": height})
    assert (spec.width, spec.height) == (width, height)


def test_more_pixels_than_4k_are_refused() -> None:
    with pytest.raises(InvalidSpec, match="3840x2162 is more than 3840x2160 in all") as caught:
        parse_spec({"prompt": "x", "width": 3840, "height": 2162})
    assert "at most 3840x2160" in caught.value.hint

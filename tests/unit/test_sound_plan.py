"""What a prompt says aloud, and how a plan with sound is made."""

from __future__ import annotations

from typing import Any

import pytest

from reelmesh.node.cli.sounding import drawn_words, sound_notes
from reelmesh.scheduler.canonical import canonical
from reelmesh.scheduler.cost import least_budget
from reelmesh.scheduler.plan import Plan, parse_plan
from reelmesh.scheduler.quotes import MAX_SPOKEN, picture_words, spoken_words
from reelmesh.scheduler.spec import InvalidSpec, parse_spec
from reelmesh.scheduler.stages import entry, parse_params
from reelmesh.scheduler.stages.encode_frames import EncodeFramesParams
from reelmesh.scheduler.templates import make_plan
from reelmesh.scheduler.templates.sound import ambience

BALL = "a red ball bouncing over a white background"
IMAGE = {"kind": "image_to_video", "image": {"sha256": "ab" * 32, "size": 5000}}


@pytest.mark.parametrize(
    ("prompt", "seen", "said"),
    [
        (BALL, BALL, ""),
        ('a red ball says "hello there"', "a red ball", "hello there."),
        ('a red ball saying: "Hi!" over a white wall', "a red ball over a white wall", "Hi!"),
        ("a star that whispers softly “good night”", "a star", "good night."),
        ('a ball, and cries "one" then shouts "two?"', "a ball then", "one. two?"),
        ("a ring's edge, it's spinning", "a ring's edge, it's spinning", ""),
        ('"only words"', "", "only words."),
        ('a ball "…"', "a ball", ""),
        ("une balle dit «déjà vu»", "une balle dit", "deja vu."),
        ('a ball says "$(rm -rf /) `x` | <speak>"', "a ball", "rm -rf x speak."),
    ],
)
def test_what_is_said_is_told_from_what_is_seen(prompt: str, seen: str, said: str) -> None:
    assert (picture_words(prompt), spoken_words(prompt)) == (seen, said)


def test_a_long_line_is_cut_to_what_the_stage_takes() -> None:
    said = spoken_words(f'a ball says "{"word " * 55}"')
    assert len(said) <= MAX_SPOKEN
    parse_params("speech", {"text": said, "style": "soft", "seconds": 2.0})


def plan_of(**fields: Any) -> Plan:
    return make_plan(parse_spec({"prompt": BALL, "seconds": 2, **fields}))


def test_without_sound_nothing_changes() -> None:
    assert plan_of(audio=False, audio_style="natural").plan_hash() == plan_of().plan_hash()
    assert b"audio" not in parse_spec({"prompt": BALL, "audio": False}).canonical()
    quoted = plan_of(prompt='a red ball says "hi"')
    assert quoted["encode_text"].params["prompt"] == 'a red ball says "hi"'


@pytest.mark.parametrize("more", [{}, IMAGE])
def test_sound_comes_after_the_picture_and_only_there(more: dict[str, Any]) -> None:
    silent, loud = plan_of(**more), plan_of(**more, audio=True, audio_style="wooden")
    count = len(silent.subtasks)
    assert loud.subtasks[:count] == silent.subtasks
    assert [task.id for task in loud.subtasks[count:]] == ["find_events", "render_sound", "mux"]
    assert {ref.name: ref.subtask for ref in loud.final().inputs} == {
        "video": "assemble",
        "sound": "render_sound",
    }
    assert loud["render_sound"].params["style"] == "wooden"
    assert list(entry("mux").outputs.values()) == ["video"]
    assert parse_plan(canonical(loud)) == loud


def test_a_quoted_line_is_spoken_and_not_drawn() -> None:
    made = plan_of(prompt='a red ball says "hello there"', audio=True)
    assert made["encode_text"].params["prompt"] == "a red ball"
    assert made["speech"].params["text"] == "hello there."
    assert {ref.name for ref in made["render_sound"].inputs} == {"events", "speech"}
    assert parse_plan(canonical(made)) == made


@pytest.mark.parametrize("seconds", [1, 1.3, 20])
@pytest.mark.parametrize("fps", [12, 60])
def test_every_length_gives_a_valid_plan(seconds: float, fps: int) -> None:
    made = plan_of(prompt='a ball says "x"', seconds=seconds, fps=fps, audio=True)
    assert parse_plan(canonical(made)) == made
    by_model = plan_of(seconds=min(seconds, 10), fps=fps, **LTX)
    frames = by_model["encode_frames"].params["frames"]
    assert int(str(frames)) / 24 >= min(seconds, 10)


SAID = 'a red ball says "hello there"'
LTX: dict[str, Any] = {"audio": True, "audio_model": "ltx-2"}


def test_a_model_reads_the_whole_prompt_looks_at_the_clip_and_makes_its_sound() -> None:
    silent, made = plan_of(prompt="a red ball"), plan_of(prompt=SAID, **LTX, seed=5, steps=9)
    assert parse_plan(canonical(made)) == made
    assert made["encode_text"].params["prompt"] == "a red ball"
    track = made.subtasks[len(silent.subtasks) :]
    assert [task.id for task in track] == [
        *("encode_prompt_sound", "encode_frames", "denoise_audio-0", "denoise_audio-1"),
        *("decode_audio", "mux"),
    ]
    assert {task.model for task in track[:-1]} == {"ltx-2"}
    assert made["encode_prompt_sound"].params["prompt"] == SAID
    # The timeline that the picture is made from: each of its frames at 24 a second.
    assert [ref.subtask for ref in made["encode_frames"].inputs] == ["interpolate"]
    seen = {"width": 512, "height": 512, "frames": 49, "model": "ltx-2"}
    assert made["encode_frames"].params == {**seen, "count": 48, "fps": 24, "total": 48}
    loop = {**seen, "seed": 5, "steps": 9, "guidance": 4.0}
    assert made["denoise_audio-0"].params == {**loop, "start": 0, "stop": 4}
    assert made["denoise_audio-1"].params == {**loop, "start": 4, "stop": 9}
    assert {ref.name: ref.subtask for ref in made["denoise_audio-1"].inputs} == {
        "features": "encode_prompt_sound",
        "clip": "encode_frames",
        "latent": "denoise_audio-0",
    }
    assert made["decode_audio"].params == {**seen, "seconds": 2.0}
    assert {ref.name: ref.subtask for ref in made.final().inputs} == {
        "video": "assemble",
        "sound": "decode_audio",
    }
    assert least_budget(made) > least_budget(silent)


@pytest.mark.parametrize(
    ("fields", "size", "count"),
    [
        ({"width": 1920, "height": 1080, "fps": 60}, (512, 512), 48),
        ({**IMAGE, "width": 640, "height": 384}, (512, 320), 48),
        ({**IMAGE, "width": 1080, "height": 1920, "seconds": 10, "fps": 30}, (288, 512), 240),
        ({**IMAGE, "width": 3840, "height": 128, "fps": 12}, (512, 32), 48),
    ],
)
def test_a_clip_of_few_frames_is_made_smooth_and_keeps_its_shape(
    fields: dict[str, Any], size: tuple[int, int], count: int
) -> None:
    made = plan_of(**fields, **LTX)
    assert parse_plan(canonical(made)) == made
    assert made["timeline"].params["total"] == count
    seen = made["encode_frames"].params
    assert (seen["width"], seen["height"], seen["count"]) == (*size, count)
    assert [ref.subtask for ref in made["encode_frames"].inputs] == ["timeline"]


def test_a_clip_of_a_model_that_makes_no_sound_gets_one_as_it_is() -> None:
    wan = {"model": "wan-t2v", "width": 832, "height": 480, "seconds": 4}
    silent, made = plan_of(**wan, prompt="a red ball"), plan_of(**wan, **LTX, prompt=SAID)
    assert made.subtasks[: len(silent.subtasks)] == silent.subtasks
    assert [ref.subtask for ref in made["encode_frames"].inputs] == ["decode_latent"]
    seen = made["encode_frames"].params
    assert (seen["width"], seen["height"], seen["count"], seen["frames"]) == (512, 288, 65, 97)
    assert (seen["fps"], seen["total"]) == (24, 96)


def test_without_a_model_of_sound_the_hash_stays() -> None:
    plain = parse_spec({"prompt": BALL, "audio": True, "audio_model": "embedded"})
    assert b"audio_model" not in plain.canonical()
    assert plain == parse_spec({"prompt": BALL, "audio": True})
    # Written down before there was such a field.
    before = '{"audio":true,"fps":24,"guidance":2,"height":512,"kind":"text_to_video",'
    before += f'"prompt":"{BALL}","seconds":4,"seed":0,"steps":20,"version":1,"width":512}}'
    assert plain.canonical().decode() == before
    named = parse_spec({"prompt": BALL, **LTX})
    assert parse_spec(named.canonical()) == named
    assert named.spec_hash() != plain.spec_hash()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"audio_model": "ltx-2"}, "no sound is asked for"),
        ({**LTX, "audio_model": "sora"}, "no model that makes sound for pictures is named 'sora'"),
        ({**LTX, "audio_model": "wan-t2v"}, "there is ltx-2"),
        ({**LTX, "audio_model": ""}, "there is ltx-2"),
        ({**LTX, "audio_model": 7}, "audio_model"),
        ({**LTX, "audio_style": "metallic"}, "audio_style goes with the built-in sound"),
        ({**LTX, "seconds": 10.5}, "for at most 10.0 seconds"),
        ({**LTX, "model": "ltx-2"}, "makes its own sound"),
        ({**LTX, "model": "sora"}, "no model is named 'sora'"),
        ({"audio": True, "model": "wan-t2v"}, "or with an audio_model"),
    ],
)
def test_a_model_of_sound_that_does_not_fit_is_refused_in_one_line(
    fields: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidSpec, match=says) as caught:
        parse_spec({"prompt": BALL, **fields})
    assert caught.value.hint


def test_frames_are_looked_at_at_the_moment_that_they_show() -> None:
    """Four frames over a second of 25: the model's 24 a second each see the nearest."""
    size = {"model": "ltx-2", "width": 64, "height": 64, "frames": 25}
    params = parse_params("encode_frames", {**size, "count": 4, "fps": 25, "total": 25})
    assert isinstance(params, EncodeFramesParams)
    for number in range(25):
        shown = [place * 24 / 25 / 3 for place in range(4)]
        nearest = min(range(4), key=lambda place: abs(shown[place] - number / 24))
        assert params.source(number) == nearest


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"audio_style": "metallic"}, "no sound is asked for"),
        ({"audio": True, "audio_style": "loud"}, "audio_style"),
        ({"audio": 1}, "audio"),
        ({"audio": True, "prompt": '"hello"'}, "nothing to be seen"),
    ],
)
def test_sound_that_makes_no_sense_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidSpec, match=says) as caught:
        parse_spec({"prompt": BALL, **fields})
    assert caught.value.hint


@pytest.mark.parametrize(
    ("prompt", "heard"),
    [
        (BALL, "room"),
        ("a red ball over the sea", "sea"),
        ("a blue star in the night sky", "night"),
        ("a dark blue ball over a sky blue background", "room"),
        ('a ball says "rain"', "room"),
        ("a ring in the rain by the sea", "rain"),
        ("a cat in outer space", "space"),
    ],
)
def test_surroundings_follow_the_words_of_the_picture(prompt: str, heard: str) -> None:
    assert ambience(prompt) == heard


def test_a_preview_and_a_repair_go_with_sound() -> None:
    preview = plan_of(prompt='a red ball says "hi"', audio=True, layer="preview")
    assert preview["encode_text"].params["prompt"] == "a red ball"
    assert "sound" not in {name for task in preview.subtasks for name in entry(task.stage).outputs}
    repair = {"start": 0.5, "stop": 1.0, "seed": 9}
    by_model = plan_of(prompt=SAID, **LTX, layer="preview")
    assert by_model.final().stage == "preview"
    assert "denoise_audio" not in {task.stage for task in by_model.subtasks}
    mended = plan_of(prompt=SAID, **LTX, repair=repair)
    assert {"encode_frames_again", "denoise_audio_again-1"} <= {task.id for task in mended.subtasks}
    again = plan_of(prompt='a red ball says "hi"', audio=True, repair=repair)
    assert again.final().stage == "mux"
    assert {"find_events_again", "speech"} <= {task.id for task in again.subtasks}


@pytest.mark.parametrize("size", [(512, 512), (640, 360), (3840, 2160)])
def test_every_size_takes_sound(size: tuple[int, int]) -> None:
    made = plan_of(width=size[0], height=size[1], audio=True)
    assert made.final().stage == "mux"
    assert parse_plan(canonical(made)) == made


@pytest.mark.parametrize(
    ("prompt", "audio", "says"),
    [
        (BALL, True, ()),
        ('a ball says "hi"', False, ("only with --audio",)),
        ('a ball says "hi"', True, ("flite",)),
        (f'a ball says "{"word " * 40}"', True, ("flite", "faster")),
    ],
)
def test_a_buyer_is_told_what_becomes_of_a_line(
    prompt: str, audio: bool, says: tuple[str, ...]
) -> None:
    notes = sound_notes(prompt, audio=audio, seconds=4.0)
    assert len(notes) == len(says)
    assert all(word in note for word, note in zip(says, notes, strict=True))
    assert drawn_words('a ball says "hi"', audio=True) == "a ball"
    (told,) = sound_notes(prompt, audio=True, seconds=1.0, model="ltx-2")
    assert "ltx-2" in told
    assert "flite" not in told

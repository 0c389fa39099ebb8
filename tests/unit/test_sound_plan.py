"""What a prompt says aloud, and how a plan with sound is made."""

from __future__ import annotations

from typing import Any

import pytest

from reelmesh.node.cli.sounding import drawn_words, sound_notes
from reelmesh.scheduler.canonical import canonical
from reelmesh.scheduler.plan import Plan, parse_plan
from reelmesh.scheduler.quotes import MAX_SPOKEN, picture_words, spoken_words
from reelmesh.scheduler.spec import InvalidSpec, parse_spec
from reelmesh.scheduler.stages import entry, parse_params
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

"""Which prompts ask for the same clip, by their words."""

from __future__ import annotations

import pytest

from reelmesh.node.stages.tiny_t2v.likeness import ask_for_the_same

BALL = "a large red ball moving left over a blue background"
PAIR = "a red ball above a blue square on a white background"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (BALL, BALL),
        (BALL, "A big crimson ball drifting left on a navy backdrop!"),
        (BALL, "on dark blue a giant scarlet sphere is moving to the left"),
        (
            "a small red ball moving in a circle over a white background",
            "on white a tiny red ball is orbiting",
        ),
        (PAIR, "on a white screen, a red circle is over a blue box"),
        ("a red ball wearing a hat", "red sphere wearing hat"),
    ],
)
def test_the_same_in_other_words(one: str, other: str) -> None:
    assert ask_for_the_same(one, other)
    assert ask_for_the_same(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (BALL, BALL.replace("red", "blue")),
        (BALL, BALL.replace("left", "right")),
        (BALL, BALL.replace("large", "small")),
        (BALL, BALL.replace("large ", "")),
        (BALL, BALL.replace("ball", "star")),
        (BALL, BALL.replace("blue", "white")),
        (BALL, f"{BALL}, very fast"),
        (BALL, f"{BALL}, the camera zooms in"),
        ("a large red ball over a blue background", "a large blue ball over a red background"),
        (PAIR, "a blue ball above a red square on a white background"),
        (PAIR, "a red square above a blue ball on a white background"),
        (PAIR, "a red ball below a blue square on a white background"),
        (PAIR, "a blue square above a red ball on a white background"),
        (PAIR, PAIR.replace("above", "and")),
        ("a red ball with a blue outline", "a blue ball with a red outline"),
        ("a big red ball bouncing", "a big red ball not bouncing"),
        ("a big red ball bouncing", "a big red ball that isn't bouncing"),
        ("a red star moving up, then down", "a red star moving down, then up"),
        ("a red ball wearing a hat", "a red ball wearing a coat"),
        ("a red ball at the top", "a red ball at the bottom"),
        ("two red balls bouncing", "a red ball bouncing"),
        ("a fox runs through snow", "a fox runs through snow"),  # no shape is read
        ("", ""),
    ],
)
def test_another_thing_or_nothing_that_is_known(one: str, other: str) -> None:
    assert not ask_for_the_same(one, other)
    assert not ask_for_the_same(other, one)

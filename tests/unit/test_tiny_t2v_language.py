"""A prompt in another language is told apart, and English is never taken for one."""

from __future__ import annotations

import random

import pytest

from reelmesh.node.stages.tiny_t2v.language import other_language
from reelmesh.node.stages.tiny_t2v.world import all_scenes
from scripts.train_tiny_t2v.captions import caption
from scripts.train_tiny_t2v.prompts import FREE

OTHER = {
    "ein roter Ball bewegt sich nach links": "German",
    "pelota roja": "Spanish",
    "un ballon rouge qui rebondit": "French",
    "le chat marche dans le jardin": "French",
    "una palla rossa che si muove verso sinistra": "Italian",
    "um quadrado azul sobe": "Portuguese",
    "een rode bal beweegt naar links": "Dutch",
    "czerwona piłka skacze na czarnym tle": "Polish",
    "kırmızı bir top sola hareket ediyor": "Turkish",
    "punainen pallo liikkuu vasemmalle": "Finnish",
    "en rød bold hopper på en hvid baggrund": "Danish or Norwegian",
    "nyekundu mpira unaruka": "not English",
    "красный мяч движется влево": "in Cyrillic script",
    "一个红色的球在弹跳": "Chinese or Japanese",
    "赤いボールが跳ねる": "Japanese",
    "빨간 공이 왼쪽으로 움직인다": "Korean",
    "كرة حمراء تتحرك": "in Arabic script",
}
ENGLISH = """zebra
red
la la land
crème brûlée on a table
café noir
le mans race
el niño storm
Björk singing
Eiffel tower timelapse
zooming kaleidoscope fractals
chocolate labradoodle puppies frolicking
cyberpunk skyscrapers drizzling neon
Der Spiegel headquarters
blooming chrysanthemum macro
a man says "guten Tag, mein Freund, wie geht es dir" to the camera
4K!!! 1234
"""


@pytest.mark.parametrize(("prompt", "language"), OTHER.items())
def test_other_languages_are_named(prompt: str, language: str) -> None:
    assert other_language(prompt) == language


@pytest.mark.parametrize("prompt", ENGLISH.splitlines())
def test_borrowed_words_and_names_are_english(prompt: str) -> None:
    assert other_language(prompt) is None


def test_no_caption_of_the_model_counts_as_another_language() -> None:
    rng, scenes = random.Random(1), all_scenes()
    texts = [caption(rng.choice(scenes), rng)[0] for _ in range(300)] + [p for p, _ in FREE]
    assert [t for t in texts if other_language(t)] == []


@pytest.mark.parametrize("prompt", ["", " ", "!!!", "\x00", "a" * 5000, "\ud800"])
def test_never_raises(prompt: str) -> None:
    assert other_language(prompt) is None

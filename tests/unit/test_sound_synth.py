"""The sound of events: in time, in place, as loud as wanted, never cut off, always the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from reelmesh.node.stages import StageFailed, load_stage
from reelmesh.node.stages.base import StageContext
from reelmesh.node.stages.events import Events, Motion, SoundEvent, write_events
from reelmesh.node.stages.sounds import RATE, read_sound, to_pcm, write_sound
from reelmesh.node.stages.synth.air import surroundings
from reelmesh.node.stages.synth.loudness import CEILING, limited, loudness
from reelmesh.node.stages.synth.mix import QUIET_LUFS, TARGET_LUFS, mixed
from reelmesh.node.stages.torch_setup import prepare_torch
from reelmesh.scheduler.stages import parse_params

STYLES = ("natural", "wooden", "metallic", "cartoon", "soft")
AMBIENCES = ("room", "wind", "sea", "rain", "forest", "night", "space", "city")


def hit(time: float, x: float = 0.5, strength: float = 0.5, kind: str = "impact") -> SoundEvent:
    return SoundEvent.model_validate(
        {"time": time, "kind": kind, "strength": strength, "x": x, "y": 0.7, "size": 0.2}
    )


def first_loud(sound: NDArray[np.float64]) -> float:
    """When the first hit is heard, s."""
    level = np.abs(sound).max(axis=0)
    return int(np.argmax(level > 0.3 * level.max())) / RATE


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("kind", ["impact", "step", "appear"])
def test_a_hit_is_heard_when_it_is_seen(style: str, kind: str) -> None:
    sound = mixed(Events(seconds=2.0, events=(hit(1.0, kind=kind),)), 2.0, style, "room", 1, None)
    assert sound.shape == (2, 2 * RATE)
    assert first_loud(sound) == pytest.approx(1.0, abs=0.02)
    assert np.abs(sound).max() <= CEILING + 1e-9
    assert loudness(sound) == pytest.approx(TARGET_LUFS, abs=2.5)


@pytest.mark.parametrize(("x", "louder"), [(0.05, 0), (0.95, 1)])
def test_a_hit_is_heard_where_it_is_seen(x: float, louder: int) -> None:
    sound = mixed(Events(seconds=1.0, events=(hit(0.3, x),)), 1.0, "wooden", "room", 1, None)
    power = (sound**2).sum(axis=1)
    assert power[louder] > 3 * power[1 - louder]


def test_fast_motion_rushes_louder_than_slow_motion() -> None:
    speed = tuple(np.repeat([0.1, 2.0], 30))
    way = Motion(size=0.2, x=tuple(np.linspace(0.1, 0.9, 60)), speed=speed)
    sound = mixed(Events(seconds=2.0, paths=(way,)), 2.0, "natural", "room", 1, None)
    slow, fast = sound[:, RATE // 4 : RATE // 2], sound[:, -RATE // 2 : -RATE // 4]
    assert (fast**2).mean() > 30 * (slow**2).mean()
    assert fast[1].std() > fast[0].std()


@pytest.mark.parametrize("ambience", AMBIENCES)
def test_where_nothing_happens_only_the_surroundings_are_heard(ambience: str) -> None:
    still = Motion(size=0.2, x=(0.5, 0.5), speed=(0.0, 0.004))
    sound = mixed(Events(seconds=1.5, paths=(still,)), 1.5, "natural", ambience, 1, None)
    assert loudness(sound) < QUIET_LUFS + 12
    assert np.abs(sound[:, [0, -1]]).max() < 1e-3
    assert not np.array_equal(surroundings(ambience, RATE, 1), surroundings(ambience, RATE, 2))


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.builds(
            hit,
            st.floats(0, 1),
            st.floats(0, 1),
            st.floats(0, 1),
            st.sampled_from(["impact", "step", "appear", "vanish"]),
        ),
        max_size=6,
    ),
    st.sampled_from(STYLES),
    st.floats(0, 100),
)
def test_nothing_is_ever_cut_off(events: list[SoundEvent], style: str, speed: float) -> None:
    ordered = tuple(sorted(events, key=lambda event: event.time))
    way = Motion(size=1.0, x=(0.0, 1.0), speed=(0.0, speed))
    sound = mixed(Events(seconds=1.0, events=ordered, paths=(way,)), 1.0, style, "sea", 3, None)
    assert np.isfinite(sound).all()
    assert np.abs(sound).max() <= CEILING + 1e-9


def test_loudness_of_a_known_tone() -> None:
    """BS.1770: a full-scale 997 Hz sine on one channel reads -3.01 LUFS."""
    tone = np.sin(2 * np.pi * 997 * np.arange(5 * RATE) / RATE)
    assert loudness(np.stack([tone, 0 * tone])) == pytest.approx(-3.01, abs=0.1)
    assert loudness(np.zeros((2, RATE))) == -np.inf


def test_limiting_leaves_what_is_quiet_alone() -> None:
    quiet = 0.5 * np.sin(np.arange(RATE) / 9)[None]
    assert np.array_equal(limited(quiet), quiet)
    assert np.abs(limited(4 * quiet)).max() <= CEILING + 1e-9


def test_all_else_steps_back_while_somebody_speaks() -> None:
    way = Motion(size=0.3, x=(0.5, 0.5), speed=(1.0, 1.0))
    events = Events(seconds=3.0, paths=(way,))
    tone = 0.5 * np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE)
    both = mixed(events, 3.0, "natural", "room", 1, tone)
    spectrum = np.abs(np.fft.rfft(both[0, int(0.5 * RATE) : int(1.2 * RATE)]))
    after = np.abs(np.fft.rfft(both[0, int(2 * RATE) : int(2.7 * RATE)]))
    above = slice(700, 1400)  # 1 to 2 kHz, free of the tone
    assert spectrum[above].mean() < 0.6 * after[above].mean()
    assert np.abs(both).max() <= CEILING + 1e-9
    assert np.abs(both[:, : int(0.28 * RATE)]).max() < 0.2


def sound_file(folder: Path, threads: int, seed: int = 4) -> bytes:
    folder.mkdir()
    way = Motion(size=0.2, x=(0.2, 0.8), speed=(0.5, 1.5))
    events = Events(seconds=1.0, events=(hit(0.25), hit(0.75, 0.9)), paths=(way,))
    path = write_events(folder / "events.json", events)
    prepare_torch(threads)
    asked = {"seconds": 1.0, "style": "metallic", "ambience": "night", "seed": seed}
    stage = load_stage("render_sound")
    context = StageContext(torch.device("cpu"), folder)
    made = stage.run(parse_params("render_sound", asked), {"events": path}, context)
    prepare_torch(1)
    return made["sound"].read_bytes()


def test_the_same_events_give_the_same_bytes_on_one_thread_and_on_two(tmp_path: Path) -> None:
    once = sound_file(tmp_path / "1", 1)
    assert sound_file(tmp_path / "2", 2) == once
    assert sound_file(tmp_path / "3", 1, seed=5) != once
    pcm = read_sound(tmp_path / "1" / "sound.flac")
    assert pcm.shape == (2, RATE)
    assert np.abs(pcm).max() < 32767 * 0.83


def test_sound_is_kept_exactly(tmp_path: Path) -> None:
    pcm = np.random.default_rng(1).integers(-32767, 32767, (2, 5000), dtype=np.int16)
    for kept in (pcm, pcm[:1]):
        assert np.array_equal(read_sound(write_sound(tmp_path / "a.flac", kept)), kept)
    assert np.array_equal(to_pcm(np.array([[2.0, -2.0]])), [[32767, -32767]])


def test_sound_that_is_too_long_or_not_sound_is_refused(tmp_path: Path) -> None:
    long = write_sound(tmp_path / "a.flac", np.zeros((1, RATE), np.int16))
    with pytest.raises(StageFailed, match="longer"):
        read_sound(long, 0.5)
    data = long.read_bytes()
    for bad in (b"", b"RIFF" + data, data[:30], b"fLaC" + bytes(60)):
        (tmp_path / "bad").write_bytes(bad)
        with pytest.raises(StageFailed) as caught:
            read_sound(tmp_path / "bad")
        assert caught.value.reason == "bad_input"


def test_events_of_another_length_are_refused(tmp_path: Path) -> None:
    path = write_events(tmp_path / "e.json", Events(seconds=2.0))
    asked = {"seconds": 1.0, "style": "soft", "ambience": "sea", "seed": 0}
    with pytest.raises(StageFailed, match="not of"):
        load_stage("render_sound").run(
            parse_params("render_sound", asked),
            {"events": path},
            StageContext(torch.device("cpu"), tmp_path),
        )

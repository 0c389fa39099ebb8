"""Events, ways, surroundings and a spoken line → the finished stereo sound."""

from __future__ import annotations

import numpy as np

from reelmesh.node.stages.events import Events, SoundEvent
from reelmesh.node.stages.sounds import RATE, Sound

from .air import surroundings, whoosh
from .impact import chime, step, struck
from .loudness import limited, loudness
from .noise import Signal, curve, generator, shaped, white

TARGET_LUFS = -18.0
QUIET_LUFS = -46.0  # surroundings, and a scene in which nothing moves
SPEECH_AT_S = 0.3
_LEAST_SPEED = 0.04  # shorter sides a second: slower is the shaking of a still thing
_BRISK, _BRISK_LUFS = 0.5, -24.0  # a speed, and how loud a scene of nothing but it is
_MOST_DRIVE_DB = 12.0  # into the limiter; more would flatten every hit
_DUCKED = 0.35  # what else is heard while somebody speaks
_ECHO = 0.12
_WIDTH = 0.8  # of the way to a side that a thing at the picture's border is heard at

_MAKERS = {"impact": struck, "step": step, "appear": chime, "vanish": chime}


def mixed(
    events: Events, seconds: float, style: str, ambience: str, seed: int, speech: Signal | None
) -> Sound:
    """The finished sound: [2, seconds x 48000], peaks below the ceiling.

    Where something hits or speaks it has about -18 LUFS; moves alone are quieter, by their speed.

    speech: [samples] of a spoken line, or None.
    """
    samples = round(seconds * RATE)
    scene = _hits(events, style, seed, samples)
    if scene.any():
        scene += _ECHO * _echo(scene, seed)
    scene += _ways(events, style, seed, samples)
    target = _target(events)
    around = surroundings(ambience, samples, seed) * 10 ** (QUIET_LUFS / 20)
    if speech is not None:
        voice = _placed_voice(speech, events, samples)
        below = scene if target is None else _to_loudness(scene, target)
        scene, around = (below + around) * _duck(voice) + voice, np.zeros_like(scene)
        target = TARGET_LUFS
    return around if target is None else _mastered(scene, around, target)


def _target(events: Events) -> float | None:
    """How loud the scene is to be, LUFS: moves alone by their speed; None where nothing moves."""
    if events.events:
        return TARGET_LUFS
    fastest = max((max(path.speed) for path in events.paths), default=0.0)
    if fastest < _LEAST_SPEED:
        return None
    return min(TARGET_LUFS, _BRISK_LUFS + 12 * float(np.log10(fastest / _BRISK)))


def _mastered(scene: Sound, around: Sound, target: float) -> Sound:
    """At the wanted loudness; what limiting takes away is turned up again, within reason."""
    wanted, gain_db = _to_loudness(scene, target) + around, 0.0
    sound = limited(wanted)
    for _ in range(4):
        lost = target - loudness(sound)
        if lost < 0.3 or gain_db >= _MOST_DRIVE_DB:
            break
        gain_db = min(_MOST_DRIVE_DB, gain_db + 1.5 * lost)
        sound = limited(wanted * 10 ** (gain_db / 20))
    return sound


def _to_loudness(sound: Sound, target: float) -> Sound:
    found = loudness(sound)
    gain = target - found if np.isfinite(found) else 0.0
    return sound * 10 ** (gain / 20)


def _sides(x: Signal | float) -> Sound:
    """Gains left and right for a place 0..1 from the left, of equal power everywhere."""
    angle = (0.5 + _WIDTH * (np.asarray(x) - 0.5)) * np.pi / 2
    return np.stack([np.cos(angle), np.sin(angle)])


def _hits(events: Events, style: str, seed: int, samples: int) -> Sound:
    out = np.zeros((2, samples))
    for number, event in enumerate(events.events):
        start = round(event.time * RATE)
        sound = _sound_of(event, style, seed, number)[: max(0, samples - start)]
        out[:, start : start + len(sound)] += _sides(event.x)[:, None] * sound
    return out


def _sound_of(event: SoundEvent, style: str, seed: int, number: int) -> Signal:
    sound = _MAKERS[event.kind](style, event.size, event.strength, seed, number)
    if event.kind == "vanish":
        length = int(0.25 * RATE)
        return sound[:length] * np.linspace(1, 0, length)
    return sound


def _ways(events: Events, style: str, seed: int, samples: int) -> Sound:
    out = np.zeros((2, samples))
    for number, path in enumerate(events.paths):
        speed = np.array(path.speed)
        if speed.max() < _LEAST_SPEED:
            continue
        rush = whoosh(style, speed, path.size, samples, seed, number)
        out += _sides(curve(np.array(path.x), samples)) * rush
    return out


def _echo(dry: Sound, seed: int) -> Sound:
    """A small room, different on either side, as noise that dies away."""
    length = int(0.3 * RATE)
    t = np.arange(length) / RATE
    size = 1 << (dry.shape[1] + length).bit_length()
    wet = np.empty_like(dry)
    for side in (0, 1):
        noise = white(generator(seed, 4, side), length) * np.exp(-t / 0.05)
        tail = shaped(noise * (t > 0.008), lambda f: 1 / (1 + (f / 3500) ** 2))
        tail /= np.sqrt((tail**2).sum())
        both = np.fft.rfft(dry[side], size) * np.fft.rfft(tail, size)
        wet[side] = np.fft.irfft(both, size)[: dry.shape[1]]
    return wet


def _placed_voice(speech: Signal, events: Events, samples: int) -> Sound:
    """The line from SPEECH_AT_S on, half way to where the first thing is, at full loudness."""
    start = min(round(SPEECH_AT_S * RATE), max(0, samples - 1))
    said = speech[: samples - start]
    x = float(np.mean(events.paths[0].x)) if events.paths else 0.5
    out = np.zeros((2, samples))
    out[:, start : start + len(said)] = _sides(0.5 + 0.5 * (x - 0.5))[:, None] * said
    return _to_loudness(out, TARGET_LUFS)


def _duck(voice: Sound) -> Signal:
    """Gain over time for all else: down shortly before words, up again after them."""
    block = RATE // 50
    power = np.abs(voice).max(axis=0)
    count = -(-len(power) // block)
    peaks = np.pad(power, (0, count * block - len(power))).reshape(count, block).max(axis=1)
    speaking = np.pad((peaks > 0.02).astype(float), 15)
    held = np.lib.stride_tricks.sliding_window_view(speaking, 25).max(axis=1)
    window = np.hanning(9)[1:-1]
    soft = np.convolve(held, window / window.sum(), mode="same")[: count + 6]
    return curve(1 - (1 - _DUCKED) * soft[3 : 3 + count], voice.shape[1])

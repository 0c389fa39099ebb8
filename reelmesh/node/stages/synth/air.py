"""Air: the rush of what moves, and what surrounds a scene."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from reelmesh.node.stages.sounds import RATE

from .noise import Signal, curve, generator, moving_band, shaped, white

_SLOW_S = 0.08  # speed is heard smoothed over so long: a rush has no edges
_STYLE_PITCH = {"natural": 1.0, "wooden": 0.8, "metallic": 1.8, "cartoon": 1.5, "soft": 0.5}


def whoosh(style: str, speed: Signal, size: float, samples: int, seed: int, number: int) -> Signal:
    """The rush of a thing on its way, louder and higher the faster it goes: [samples].

    Args:
        speed: in shorter sides of the picture a second, at equal steps over the whole.
    """
    felt = curve(_smooth(speed, samples), samples)
    pitch = 320 * _STYLE_PITCH[style] * (0.2 / float(np.clip(size, 0.05, 0.5))) ** 0.5
    middle = pitch * (1 + 1.6 * np.minimum(speed, 4.0))
    noise = moving_band(white(generator(seed, 2, number), samples), middle, 0.7)
    loud = np.minimum(felt, 4.0) ** 1.5 * (0.5 + 2 * min(size, 0.5))
    return 0.16 * loud * noise * _ends(samples)


def _smooth(values: Signal, samples: int) -> Signal:
    step_s = samples / RATE / max(1, len(values) - 1)
    reach = max(1, round(_SLOW_S / step_s))
    window = np.hanning(2 * reach + 3)
    wide = np.pad(values, reach + 1, mode="edge")
    return np.convolve(wide, window / window.sum(), mode="valid")


def _ends(samples: int) -> Signal:
    fade = np.ones(samples)
    n = min(samples // 2, int(0.15 * RATE))
    rise = 0.5 - 0.5 * np.cos(np.linspace(0, np.pi, n))
    fade[:n], fade[samples - n :] = rise, rise[::-1]
    return fade


def surroundings(kind: str, samples: int, seed: int) -> Signal:
    """What is faintly heard all along: [2, samples], of root mean square 1 or so."""
    sides = [_KINDS[kind](generator(seed, 3, side), samples) for side in (0, 1)]
    both = np.stack(sides)
    both /= max(1e-9, float(np.sqrt(np.mean(both**2))))
    return both * _ends(samples)


def _slope(low: float, high: float, fall: float) -> Callable[[Signal], Signal]:
    """Noise between two frequencies that falls by `fall` in amplitude a doubling (1: pink²)."""

    def gain(f: Signal) -> Signal:
        at = np.maximum(f, 1.0)
        return (at / 100) ** -fall / (1 + (low / at) ** 4) / (1 + (at / high) ** 4)

    return gain


def _swell(chance: np.random.Generator, samples: int, every_s: float, depth: float) -> Signal:
    """A slow, irregular loudness around 1."""
    count = max(4, int(samples / RATE / every_s) + 4)
    knots = 1 + depth * (2 * chance.random(count) - 1)
    return _smooth(curve(knots, 8 * count), samples)


def _rise_and_fall(
    gain: Callable[[Signal], Signal], every_s: float, depth: float
) -> Callable[[np.random.Generator, int], Signal]:
    def made(chance: np.random.Generator, samples: int) -> Signal:
        noise = shaped(white(chance, samples), gain)
        return noise * curve(_swell(chance, samples, every_s, depth), samples)

    return made


def _night(chance: np.random.Generator, samples: int) -> Signal:
    """Crickets: a high tone in soft pulses, over still air."""
    t = np.arange(samples) / RATE
    out = 0.6 * _rms(shaped(white(chance, samples), _slope(60, 500, 1.0)))
    for _ in range(3):
        tone, rate, phase = chance.random(3)
        pulses = np.maximum(0, np.sin(2 * np.pi * (14 + 4 * rate) * t)) ** 2
        song = 0.5 + 0.5 * np.sin(2 * np.pi * (0.7 * t + phase))
        out += 0.25 * pulses * song * np.sin(2 * np.pi * (3900 + 900 * tone) * t)
    return out


def _space(chance: np.random.Generator, samples: int) -> Signal:
    """A low drone, slightly out of tune with itself."""
    t = np.arange(samples) / RATE
    out = 0.3 * _rms(shaped(white(chance, samples), _slope(40, 250, 1.0)))
    for ratio in (1.0, 1.498, 2.01, 3.02):
        detuned = 55 * ratio * (1 + 0.004 * (chance.random() - 0.5))
        out += np.sin(2 * np.pi * detuned * t + 6.28 * chance.random()) / ratio
    return out


def _forest(chance: np.random.Generator, samples: int) -> Signal:
    """Leaves, and soft birds."""
    t = np.arange(samples) / RATE
    out = _rms(_rise_and_fall(_slope(300, 4000, 0.6), 1.1, 0.4)(chance, samples))
    for _ in range(max(1, int(samples / RATE / 1.5))):
        start, tone, length = chance.random(3)
        at = t - start * samples / RATE
        within = (at > 0) & (at < 0.35 + 0.2 * length)
        shape = np.sin(np.pi * np.clip(at / (0.35 + 0.2 * length), 0, 1)) ** 2 * within
        bend = 2600 + 1200 * tone + 300 * np.sin(2 * np.pi * 7 * at)
        out += 0.5 * shape * np.sin(2 * np.pi * np.cumsum(bend) / RATE)
    return out


def _rms(signal: Signal) -> Signal:
    level: Signal = signal / max(1e-9, float(np.sqrt(np.mean(signal**2))))
    return level


_KINDS: dict[str, Callable[[np.random.Generator, int], Signal]] = {
    "room": _rise_and_fall(_slope(60, 900, 0.9), 1.5, 0.1),
    "wind": _rise_and_fall(_slope(90, 700, 0.6), 0.9, 0.6),
    "sea": _rise_and_fall(_slope(80, 2500, 0.5), 2.2, 0.7),
    "rain": _rise_and_fall(_slope(900, 9000, 0.1), 1.5, 0.1),
    "city": _rise_and_fall(_slope(40, 350, 0.8), 1.3, 0.3),
    "forest": _forest,
    "night": _night,
    "space": _space,
}

"""Struck things: a short push on a body that rings in its own modes.

Each style is a body: frequency ratios of its modes, how loud and how long each rings (an ideal
bar's are 1 : 2.76 : 5.40, a bell's have a minor third, a drum's are 1 : 1.59 : 2.14). A larger
thing is lower. A harder hit is shorter, and so brighter: the push is a half sine, whose spectrum
falls above the inverse of its length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reelmesh.node.stages.sounds import RATE

from .noise import Signal, generator, shaped, white

SECONDS = 1.6


@dataclass(frozen=True)
class _Body:
    """pitch: factor. modes: (ratio, loudness, seconds to fall by 60 dB). thud: share of noise.

    glide: by how much the pitch is higher at first; wobble: share by which it swings.
    push_s: how long the softest and the hardest hit last.
    """

    pitch: float
    modes: tuple[tuple[float, float, float], ...]
    thud: float
    push_s: tuple[float, float]
    glide: float = 0.0
    wobble: float = 0.0


_BODIES = {
    "natural": _Body(
        0.8,
        ((1.0, 1.0, 0.45), (1.59, 0.5, 0.28), (2.14, 0.35, 0.18), (2.65, 0.2, 0.12)),
        0.5,
        (0.004, 0.0012),
        glide=0.35,
    ),
    "wooden": _Body(
        2.4,
        ((1.0, 1.0, 0.22), (2.76, 0.55, 0.12), (5.4, 0.3, 0.06), (8.93, 0.12, 0.04)),
        0.35,
        (0.0012, 0.0004),
    ),
    "metallic": _Body(
        2.0,
        (
            (0.5, 0.4, 2.4),
            (1.0, 1.0, 1.9),
            (1.19, 0.7, 1.6),
            (1.51, 0.4, 1.2),
            (2.0, 0.7, 1.0),
            (2.67, 0.35, 0.7),
            (3.98, 0.25, 0.5),
            (5.3, 0.15, 0.35),
        ),
        0.12,
        (0.0008, 0.0002),
    ),
    "cartoon": _Body(
        1.3,
        ((1.0, 1.0, 0.75), (2.0, 0.45, 0.55), (3.0, 0.25, 0.4)),
        0.2,
        (0.0016, 0.0006),
        glide=-0.45,
        wobble=0.1,
    ),
    "soft": _Body(0.5, ((1.0, 1.0, 0.3), (1.59, 0.25, 0.15)), 0.25, (0.009, 0.005), glide=0.2),
}


def struck(style: str, size: float, strength: float, seed: int, number: int) -> Signal:
    """One hit, from the instant of contact on; its peak is about `strength`.

    Args:
        size: the thing's radius in shorter sides of the picture.
        strength: 0..1.
        number: of the hit; no two sound quite the same.
    """
    body, chance = _BODIES[style], generator(seed, 1, number)
    samples = int(SECONDS * RATE)
    pitch = body.pitch * float(np.clip(58 / max(size, 0.01), 90, 900))
    pitch *= 1 + 0.03 * (chance.random() - 0.5)
    push_s = body.push_s[0] + (body.push_s[1] - body.push_s[0]) * strength
    ringing = _ring(body, pitch, push_s, chance, samples)
    hit = ringing / np.abs(ringing).max() + body.thud * _thud(pitch, push_s, chance, samples)
    peak: Signal = hit / np.abs(hit).max() * (0.15 + 0.85 * strength)
    return peak


def step(style: str, size: float, strength: float, seed: int, number: int) -> Signal:
    """A footfall: a heel's thump, and the sole shortly after."""
    heel = struck(style, size * 1.3, 0.6 * strength, seed, 2 * number)
    sole = struck(style, size * 0.7, 0.3 * strength, seed, 2 * number + 1)
    later, fade = int(0.045 * RATE), np.exp(-np.arange(len(heel)) / (0.05 * RATE))
    heel[later:] += 0.5 * sole[:-later]
    return heel * fade


def chime(style: str, size: float, strength: float, seed: int, number: int) -> Signal:
    """Something out of nothing: two tones, a fifth apart."""
    low = struck(style, size, strength, seed, 2 * number)
    high = struck(style, size / 1.5, strength, seed, 2 * number + 1)
    later = int(0.07 * RATE)
    low[later:] += 0.7 * high[:-later]
    return low * 0.6


def _ring(
    body: _Body, pitch: float, push_s: float, chance: np.random.Generator, samples: int
) -> Signal:
    t = np.arange(samples) / RATE
    # A squashed ball's pitch falls as it gets round again; a spring's rises and swings.
    bend = 1 + body.glide * np.exp(-t / 0.03) + body.wobble * np.sin(2 * np.pi * 9 * t) * (t > 0.05)
    turns = np.cumsum(bend) / RATE
    out = np.zeros(samples)
    for ratio, loudness, falls_s in body.modes:
        frequency = pitch * ratio * (1 + 0.01 * (chance.random() - 0.5))
        if frequency > 0.42 * RATE:
            continue
        bright = 1 / (1 + (2 * frequency * push_s) ** 2)
        wave = np.sin(2 * np.pi * frequency * turns)
        out += loudness * bright * np.exp(-6.9 * t / falls_s) * wave
    # The push itself takes its time.
    rise = min(samples, max(2, int(push_s * RATE)))
    out[:rise] *= np.sin(np.linspace(0, np.pi / 2, rise))
    end = int(0.1 * RATE)
    out[-end:] *= np.linspace(1, 0, end)
    return out


def _thud(pitch: float, push_s: float, chance: np.random.Generator, samples: int) -> Signal:
    """The contact's own noise: dull and short."""
    length = min(samples, int(0.12 * RATE))
    edge = min(0.8 / push_s, 9000)
    noise = shaped(white(chance, length), lambda f: 1 / (1 + (f / edge) ** 4) * (f > 40))
    noise *= np.exp(-np.arange(length) / RATE / (0.012 + 2 / pitch))
    rise = max(2, int(0.0005 * RATE))
    noise[:rise] *= np.linspace(0, 1, rise)
    noise *= 0.5 + 0.5 * np.cos(np.linspace(0, np.pi, length))
    return np.pad(noise / max(1e-9, float(np.abs(noise).max())), (0, samples - length))

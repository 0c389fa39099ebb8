"""Noise with a given spectrum."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from reelmesh.node.stages.sounds import RATE

Signal = NDArray[np.float64]

_BLOCK, _HOP = 2048, 1024


def generator(seed: int, *what: int) -> np.random.Generator:
    """A source of chance for one part of a sound; other parts do not change what it gives."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, hash_of(what)], np.uint64)))


def hash_of(numbers: tuple[int, ...]) -> int:
    """A small mixing of whole numbers, the same on every machine."""
    mixed = 0x9E3779B97F4A7C15
    for number in numbers:
        mixed = ((mixed ^ (number & 0xFFFFFFFF)) * 0xBF58476D1CE4E5B9) % 2**64
    return mixed


def white(chance: np.random.Generator, samples: int) -> Signal:
    """Evenly spread values of mean square 1."""
    return (chance.random(samples) * 2 - 1) * 3**0.5


def shaped(noise: Signal, gain: Callable[[Signal], Signal]) -> Signal:
    """A signal filtered as a whole. gain: frequencies in Hz → factors."""
    size = 1 << (len(noise) - 1).bit_length()
    spectrum = np.fft.rfft(noise, size)
    frequency: Signal = np.fft.rfftfreq(size, 1 / RATE).astype(np.float64)
    filtered: Signal = np.fft.irfft(spectrum * gain(frequency), size)
    return filtered[: len(noise)]


def moving_band(noise: Signal, centre: Signal, octaves: float) -> Signal:
    """Noise through a band that moves.

    Args:
        centre: [any] Hz, at equal steps over the signal's length.
        octaves: half the band's width.
    """
    count = -(-len(noise) // _HOP) + 1
    padded = np.pad(noise, (_HOP, count * _HOP + _BLOCK - len(noise)))
    # Applied before and after: what the filter wraps around a block's ends is faded out.
    window = np.sqrt(np.hanning(_BLOCK + 1)[:-1])
    frequency = np.maximum(np.fft.rfftfreq(_BLOCK, 1 / RATE), 1.0)
    at = np.linspace(0, 1, len(centre))
    middles = np.interp(np.arange(count) * _HOP / len(noise), at, centre)
    out = np.zeros(len(padded))
    for i, middle in enumerate(middles):
        gain = np.exp(-0.5 * (np.log2(frequency / middle) / octaves) ** 2)
        block = padded[i * _HOP : i * _HOP + _BLOCK] * window
        passed = np.fft.irfft(np.fft.rfft(block) * gain, _BLOCK)
        out[i * _HOP : i * _HOP + _BLOCK] += window * passed
    return out[_HOP : _HOP + len(noise)]


def curve(values: Signal, samples: int) -> Signal:
    """Values at equal steps, drawn out over so many samples."""
    if len(values) == 1:
        return np.full(samples, values[0])
    return np.interp(np.linspace(0, len(values) - 1, samples), np.arange(len(values)), values)

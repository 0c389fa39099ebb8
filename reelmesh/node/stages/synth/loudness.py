"""How loud a sound is (ITU-R BS.1770-4), and holding peaks below a ceiling."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from reelmesh.node.stages.sounds import RATE, Sound

CEILING = 0.82  # of full scale: what AAC adds stays below 1
_BLOCK, _HOP = int(0.4 * RATE), int(0.1 * RATE)
_ABSOLUTE, _RELATIVE = -70.0, -10.0  # gates, LUFS and LU
_LOOK = int(0.004 * RATE)  # the limiter turns down so long before a peak and after it

# The two filters of BS.1770 at 48 kHz, as b0 b1 b2 a1 a2: the head, then the low cut.
_SHELF = (
    1.53512485958697,
    -2.69169618940638,
    1.19839281085285,
    -1.69065929318241,
    0.73248077421585,
)
_CUT = (1.0, -2.0, 1.0, -1.99004745483398, 0.99007225036621)


def _weight(frequency: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """How strongly each frequency counts: |shelf x cut|."""
    z = np.exp(-2j * np.pi * frequency / RATE)
    gain = np.ones(len(frequency))
    for b0, b1, b2, a1, a2 in (_SHELF, _CUT):
        gain = gain * np.abs((b0 + b1 * z + b2 * z * z) / (1 + a1 * z + a2 * z * z))
    return gain


def loudness(sound: Sound) -> float:
    """Integrated loudness in LUFS of [channels, samples]; -inf for silence."""
    size = 1 << (sound.shape[1] - 1).bit_length()
    weights = _weight(np.fft.rfftfreq(size, 1 / RATE))
    heard = np.fft.irfft(np.fft.rfft(sound, size) * weights, size)[:, : sound.shape[1]]
    sums = np.concatenate([[0.0], np.cumsum((heard**2).sum(axis=0))])
    starts = np.arange(0, max(1, sound.shape[1] - _BLOCK + 1), _HOP)
    stops = np.minimum(starts + _BLOCK, sound.shape[1])
    power = np.maximum((sums[stops] - sums[starts]) / (stops - starts), 1e-20)
    power = power[_lufs(power) > _ABSOLUTE]
    if not len(power):
        return -np.inf
    power = power[_lufs(power) > _lufs(power.mean()) + _RELATIVE]
    return float(_lufs(power.mean()))


def _lufs(power: NDArray[np.float64]) -> NDArray[np.float64]:
    return -0.691 + 10 * np.log10(power)


def limited(sound: Sound) -> Sound:
    """The same, turned down around each peak above the ceiling, smoothly: nothing is cut off."""
    need = np.minimum(1.0, CEILING / np.maximum(np.abs(sound).max(axis=0), 1e-12))
    if need.min() >= 1.0:
        return sound
    window = np.hanning(2 * _LOOK + 3)[1:-1]
    # The lowest gain within reach, then smoothed over the same reach: never above what is needed.
    lowest = cv2.erode(need[None], np.ones((1, 2 * len(window) + 1)))[0]
    wide = np.pad(lowest, len(window) // 2, mode="edge")
    gain = np.convolve(wide, window / window.sum(), mode="valid")
    held: Sound = sound * np.minimum(gain, need)
    return held

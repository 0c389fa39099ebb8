"""Reads the weights of plain convolution chains from ncnn's .param and .bin files.

Format (ncnn wiki, "param and model file structure"): the .param file is text, one layer a
line; the .bin file holds, for each layer that has weights and in the same order, its
arrays. A convolution's weights begin with a flag word: 0x01306B47 means float16 padded to
four bytes, 0 means float32. Biases and PReLU slopes are bare float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reelmesh.errors import StorageError

_MAGIC = "7767517"
_FLOAT16 = 0x01306B47
_FLOAT32 = 0
_MAX_WEIGHTS = 1 << 26

Array = NDArray[np.float32]


class BadWeights(StorageError):
    """A weights file is missing, altered, or not in the form it should have."""


@dataclass(frozen=True, slots=True)
class Convolution:
    """A 3x3 convolution, padding 1: weight [out, in, 3, 3], bias [out]."""

    weight: Array
    bias: Array


@dataclass(frozen=True, slots=True)
class PRelu:
    """One slope a channel: [channels]."""

    slope: Array


Layer = Convolution | PRelu


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int, dtype: str) -> NDArray[np.generic]:
        size = count * np.dtype(dtype).itemsize
        if not 0 < count <= _MAX_WEIGHTS or self._at + size > len(self._data):
            raise BadWeights("the weights file is shorter than its description says")
        out = np.frombuffer(self._data, dtype, count, self._at)
        self._at += size
        return out

    def weights(self, count: int) -> Array:
        flag = int(self.take(1, "<u4")[0])
        if flag == _FLOAT16:
            out = self.take(count, "<f2").astype(np.float32)
            self._at += -self._at % 4
            return out
        if flag == _FLOAT32:
            return self.floats(count)
        raise BadWeights(f"the weights file has an unknown storage flag {flag:#x}")

    def floats(self, count: int) -> Array:
        return self.take(count, "<f4").astype(np.float32)

    def left(self) -> int:
        return len(self._data) - self._at


def read_layers(param: str, data: bytes) -> list[Layer]:
    """The convolutions and PReLUs of a network, in order.

    Layers without weights are passed over: the caller knows the network's shape.

    Raises:
        BadWeights: not an ncnn network, a convolution that is not a plain 3x3, or a size
            that does not fit the data exactly.
    """
    lines = param.splitlines()
    if len(lines) < 2 or lines[0].strip() != _MAGIC:
        raise BadWeights("this is not an ncnn .param file")
    reader = _Reader(data)
    layers: list[Layer] = []
    for line in lines[2:]:
        words = line.split()
        if words and words[0] == "Convolution":
            layers.append(_convolution(_options(words), reader))
        elif words and words[0] == "PReLU":
            layers.append(PRelu(reader.floats(_options(words).get(0, 0))))
    if reader.left():
        raise BadWeights(f"the weights file has {reader.left()} bytes too many")
    return layers


def _options(words: list[str]) -> dict[int, int]:
    pairs = (word.split("=", 1) for word in words[4:] if "=" in word)
    try:
        return {int(key): int(value) for key, value in pairs}
    except ValueError as error:
        raise BadWeights(f"cannot read the layer {words[1]}") from error


def _convolution(options: dict[int, int], reader: _Reader) -> Convolution:
    outputs, size = options.get(0, 0), options.get(6, 0)
    plain = options.get(1) == 3 and options.get(4) == 1 and options.get(5) == 1
    if not plain or outputs <= 0 or size <= 0 or size % (outputs * 9):
        raise BadWeights("only 3x3 convolutions with padding 1 and a bias are known")
    weight = reader.weights(size).reshape(outputs, -1, 3, 3)
    return Convolution(weight, reader.floats(outputs))

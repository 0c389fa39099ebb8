"""What the denoiser reads of a prompt, by numpy alone.

`TinyT2V.condition(text_features(prompt))` on a CPU, up to float32's rounding. For comparing
prompts, where loading torch would cost many times what is computed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load
from tokenizers import Tokenizer

from .released import (
    MAX_TOKENS,
    TextEncoderMissing,
    WeightsDamaged,
    checked_prompt,
    encoder_folder,
    read_weights,
)

Array = NDArray[np.float32]

_WORDS = "embeddings.word_embeddings.weight"
_TEXT_HEADS, _ENCODER_HEADS = 4, 12
_TEXT_EPS, _ENCODER_EPS = 1e-5, 1e-12


class PromptReader:
    """MiniLM (a BERT: Devlin et al. 2018) and the model's text resampler, loaded once.

    Raises TextEncoderMissing, WeightsDamaged.
    """

    def __init__(self) -> None:
        folder = encoder_folder()
        try:
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            file = cast("Any", safe_open(folder / "model.safetensors", framework="np"))
            self._encoder: Mapping[str, Array] = {
                name: file.get_tensor(name) for name in file.offset_keys() if name != _WORDS
            }
            self._words = file.get_slice(_WORDS)  # of its 30522 rows few are read
        except Exception as error:  # the tokenizer raises no type of its own
            raise TextEncoderMissing(
                f"the text encoder cannot be read: {error}", "run: make setup"
            ) from error
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.no_padding()
        try:
            shipped = load(read_weights()[0])
        except SafetensorError as error:
            raise WeightsDamaged(f"the weights: {error}", "reinstall reelmesh") from error
        start = "denoiser.text."
        self._text = {
            name.removeprefix(start): one.astype(np.float32)
            for name, one in shipped.items()
            if name.startswith(start)
        }

    def condition(self, prompt: str) -> Array:
        """float32 [8, 256]; beyond 64 tokens the prompt is cut. Raises PromptRefused."""
        ids = self._tokenizer.encode(checked_prompt(prompt)).ids
        words = np.concatenate([self._words[number : number + 1] for number in ids])
        return self._resampled(self._encoded(words))

    def _encoded(self, words: Array) -> Array:
        """Word embeddings [T, 384] → last hidden states [T, 384]."""
        w = self._encoder
        x = words + w["embeddings.token_type_embeddings.weight"][0]
        x = x + w["embeddings.position_embeddings.weight"][: len(x)]
        x = _normed(x, _ENCODER_EPS, w, "embeddings.LayerNorm")
        layer = 0
        while (at := f"encoder.layer.{layer}.") + "output.dense.weight" in w:
            q, k, v = (_linear(x, w, f"{at}attention.self.{n}") for n in ("query", "key", "value"))
            y = _linear(_attended(q, k, v, _ENCODER_HEADS), w, f"{at}attention.output.dense")
            x = _normed(x + y, _ENCODER_EPS, w, f"{at}attention.output.LayerNorm")
            y = _linear(_gelu(_linear(x, w, f"{at}intermediate.dense")), w, f"{at}output.dense")
            x = _normed(x + y, _ENCODER_EPS, w, f"{at}output.LayerNorm")
            layer += 1
        return x

    def _resampled(self, features: Array) -> Array:
        """As `denoiser.TextResampler`."""
        w = self._text
        x = _normed(_linear(features, w, "enter"), _TEXT_EPS)
        k, v = np.split(_linear(x, w, "key_value"), 2, axis=1)
        y = _linear(_attended(w["queries"], k, v, _TEXT_HEADS), w, "mix")
        y = y + _linear(_gelu(_linear(_normed(y, _TEXT_EPS), w, "up")), w, "down")
        return _normed(y, _TEXT_EPS)


def distance(one: Array, other: Array) -> float:
    """The length of two conditions' difference by their mean length, three decimals.

    0 is the same condition, and so the same clip.
    """
    length = math.sqrt(float(np.linalg.norm(one)) * float(np.linalg.norm(other)))
    return round(float(np.linalg.norm(one - other)) / length, 3)


def _linear(x: Array, weights: Mapping[str, Array], name: str) -> Array:
    y: Array = x @ weights[f"{name}.weight"].T
    return y + weights[f"{name}.bias"] if f"{name}.bias" in weights else y


def _normed(
    x: Array, eps: float, weights: Mapping[str, Array] | None = None, name: str = ""
) -> Array:
    mean, spread = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    y: Array = (x - mean) / np.sqrt(spread + np.float32(eps))
    return y if weights is None else y * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _attended(q: Array, k: Array, v: Array, heads: int) -> Array:
    """Scaled dot-product attention, unmasked: [Q, d], [T, d], [T, d] → [Q, d]."""
    each = q.shape[1] // heads
    a, b, c = (one.reshape(len(one), heads, each).transpose(1, 0, 2) for one in (q, k, v))
    scores = a @ b.transpose(0, 2, 1) / np.float32(math.sqrt(each))
    share = np.exp(scores - scores.max(-1, keepdims=True))
    out: Array = (share / share.sum(-1, keepdims=True)) @ c
    return out.transpose(1, 0, 2).reshape(q.shape)


_erf = np.frompyfunc(math.erf, 1, 1)


def _gelu(x: Array) -> Array:
    y: Array = x * (0.5 + 0.5 * _erf(x / math.sqrt(2)).astype(np.float32))
    return y

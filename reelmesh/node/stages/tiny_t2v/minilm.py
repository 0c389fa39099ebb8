"""MiniLM's token states without the transformers package, which takes seconds to load.

For comparing prompts alone: the same numbers as `text.text_features` to within rounding, and so
nothing that an attested result may rest on.
"""

from __future__ import annotations

import json
from functools import lru_cache

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from .text import MAX_TOKENS, encoder_folder

_EPS = 1e-12


@lru_cache(maxsize=1)
def _parts() -> tuple[Tokenizer, dict[str, Tensor], int, int]:
    folder = encoder_folder()
    shape = json.loads((folder / "config.json").read_text())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    weights = load_file(folder / "model.safetensors")
    return tokenizer, weights, shape["num_hidden_layers"], shape["num_attention_heads"]


@torch.inference_mode()
def token_states(prompt: str) -> Tensor:
    """float32 [T, 384] of one prompt, cut at 64 tokens. Raises TextEncoderMissing."""
    tokenizer, w, layers, heads = _parts()
    ids = torch.tensor(tokenizer.encode(prompt).ids)
    x = (
        w["embeddings.word_embeddings.weight"][ids]
        + w["embeddings.position_embeddings.weight"][: len(ids)]
        + w["embeddings.token_type_embeddings.weight"][0]
    )
    x = _norm(x, w, "embeddings.LayerNorm")
    for number in range(layers):
        at = f"encoder.layer.{number}"
        query, key, value = (
            _linear(x, w, f"{at}.attention.self.{name}")
            .reshape(len(ids), heads, -1)
            .transpose(0, 1)
            for name in ("query", "key", "value")
        )
        seen = F.scaled_dot_product_attention(query, key, value).transpose(0, 1).flatten(1)
        x = _norm(
            x + _linear(seen, w, f"{at}.attention.output.dense"),
            w,
            f"{at}.attention.output.LayerNorm",
        )
        inner = F.gelu(_linear(x, w, f"{at}.intermediate.dense"))
        x = _norm(x + _linear(inner, w, f"{at}.output.dense"), w, f"{at}.output.LayerNorm")
    return x


def _linear(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def _norm(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], _EPS)

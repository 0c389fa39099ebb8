"""encode_text: prompt → MiniLM token states."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .base import NO_MODEL, StageContext, StageFailed, model_id
from .tensors import TensorSpec, tensor_bytes, write_tensors
from .tiny_t2v import PromptRefused, text_features
from .tiny_t2v.released import MAX_TOKENS, encoder_folder
from .tiny_t2v.text import FEATURES

#: What this stage writes and `skeleton` reads.
FEATURES_SPEC = {"features": TensorSpec([(1, MAX_TOKENS), (FEATURES, FEATURES)], torch.float32)}


class EncodeText:
    """Output `features`: safetensors, `features` float32 [T <= 64, 384], every token real."""

    name = "encode_text"
    version = 1

    def __init__(self) -> None:
        self.model_hash = NO_MODEL

    def load(self, device: torch.device) -> None:
        """Loads MiniLM and names its weights by their sha256."""
        if self.model_hash != NO_MODEL:
            return
        text_features("a", device)
        digest = hashlib.sha256()
        for path in sorted(encoder_folder().rglob("*")):
            if path.suffix == ".safetensors" or path.name == "tokenizer.json":
                digest.update(path.read_bytes())
        self.model_hash = model_id(digest.digest(), "float32")

    def run(
        self,
        params: Any,
        inputs: Mapping[str, Path],  # noqa: ARG002
        ctx: StageContext,
    ) -> dict[str, Path]:
        """Encodes `params.prompt`."""
        ctx.progress(0.0, "reading the prompt")
        try:
            features = text_features(params.prompt, ctx.device)
        except PromptRefused as error:
            raise StageFailed("bad_params", error.message, error.hint) from error
        ctx.step(tensor_bytes(features))
        out = write_tensors(ctx.workdir / "features.safetensors", {"features": features})
        ctx.progress(1.0)
        return {"features": out}

"""encode_prompt: prompt and negative prompt → the text features of a production model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, UMT5EncoderModel

from .base import StageContext
from .production import LOCAL, ProductionStage, place
from .tensors import TensorSpec, tensor_bytes, write_tensors

MAX_TOKENS = 512
MAX_WIDTH = 8192
_TEXT = TensorSpec([(1, 1), (1, MAX_TOKENS), (1, MAX_WIDTH)], torch.float32, limit=1e6)

#: What this stage writes and `denoise` reads: float32 [1, tokens, width], real tokens alone.
TEXT_SPEC = {"prompt": _TEXT, "negative": _TEXT}


class EncodePrompt(ProductionStage):
    """Wan: UMT5 encoder. Output `features`: safetensors `prompt` and `negative`.

    The trajectory holds one digest for each of the two texts.
    """

    name = "encode_prompt"

    def _load(self, device: torch.device) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(
            self.folder("tokenizer"), local_files_only=True, trust_remote_code=False
        )
        encoder = UMT5EncoderModel.from_pretrained(
            self.folder("text_encoder"), dtype=self.dtype_on(device), **LOCAL
        )
        self._encoder: Any = place(encoder, device)

    @torch.no_grad()
    def run(
        self,
        params: Any,
        inputs: Mapping[str, Path],  # noqa: ARG002
        ctx: StageContext,
    ) -> dict[str, Path]:
        """Encodes both texts. Raises StageCancelled."""
        texts = {"prompt": params.prompt, "negative": params.negative}
        features = {}
        for number, (name, text) in enumerate(texts.items()):
            ctx.progress(number / 2, f"reading the {name}")
            features[name] = self._encode(text)
            ctx.step(tensor_bytes(features[name]))
        out = write_tensors(ctx.workdir / "features.safetensors", features)
        ctx.progress(1.0)
        return {"features": out}

    def _encode(self, text: str) -> Tensor:
        """float32 [1, tokens, width] on the CPU, without padding.

        The batch is padded to the full length as in training, so that its shape, and with it the
        arithmetic, is the same for every text.
        """
        found = self._tokenizer(
            [text],
            padding="max_length",
            max_length=MAX_TOKENS,
            truncation=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        mask = found.attention_mask
        states = self._encoder(found.input_ids.to(self.device), mask.to(self.device))
        real = int(mask.gt(0).sum())
        hidden: Tensor = states.last_hidden_state[:, : max(1, real)]
        return hidden.float().cpu()

    def sample(self, folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:  # noqa: ARG002
        """One prompt."""
        return {"prompt": "a red fox runs through deep snow", "negative": "blurred"}, {}

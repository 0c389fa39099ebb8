"""encode_prompt, LTX-2: both texts, for the denoiser's two halves: video and sound."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
from torch import Tensor
from transformers import AutoTokenizer, Gemma3ForConditionalGeneration

from reelmesh.node.stages.base import StageContext
from reelmesh.node.stages.production import LOCAL, ProductionStage, place
from reelmesh.node.stages.tensors import tensor_bytes, write_tensors

from .network import TEXT_TOKENS, Pair


class EncodePrompt(ProductionStage):
    """Gemma 3's layers, all of them, through the model's two connectors.

    Output `features`: see `network.TEXT_SPEC`. The trajectory holds one digest for each text.
    """

    name = "encode_prompt"

    def _load(self, device: torch.device) -> None:
        tokenizer: Any = AutoTokenizer.from_pretrained(
            self.folder("tokenizer"), local_files_only=True, trust_remote_code=False
        )
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self._tokenizer = tokenizer
        dtype = self.dtype_on(device)
        encoder = Gemma3ForConditionalGeneration.from_pretrained(
            self.folder("text_encoder"), dtype=dtype, **LOCAL
        )
        connectors = LTX2TextConnectors.from_pretrained(
            self.folder("connectors"), torch_dtype=dtype, **LOCAL
        )
        if not connectors.config.video_connector_num_learnable_registers:
            raise ValueError("its connectors leave places empty, which is not known here")
        self._encoder: Any = place(encoder, device)
        self._connectors: Any = place(connectors, device)

    @torch.no_grad()
    def run(
        self,
        params: Any,
        inputs: Mapping[str, Path],  # noqa: ARG002
        ctx: StageContext,
    ) -> dict[str, Path]:
        """Encodes both texts. Raises StageCancelled."""
        texts = {"prompt": params.prompt, "negative": params.negative}
        features: dict[str, Tensor] = {}
        for number, (name, text) in enumerate(texts.items()):
            ctx.progress(number / 2, f"reading the {name}")
            video, audio = self._encode(text)
            features |= {f"{name}_video": video, f"{name}_audio": audio}
            ctx.step(tensor_bytes(video) + tensor_bytes(audio))
        out = write_tensors(ctx.workdir / "features.safetensors", features)
        ctx.progress(1.0)
        return {"features": out}

    def _encode(self, text: str) -> Pair:
        """float32 [1, tokens, width] twice, on the CPU.

        Every place is filled: what is no word is one of the connectors' registers.
        """
        found = self._tokenizer(
            [text.strip()],
            padding="max_length",
            max_length=TEXT_TOKENS,
            truncation=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        ids, mask = found.input_ids.to(self.device), found.attention_mask.to(self.device)
        # The layers alone: the scores of the next word are of no use here.
        states = self._encoder.model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        layers = torch.stack(states.hidden_states, dim=-1).flatten(2, 3)
        video, audio, _ = self._connectors(layers, mask, padding_side="left")
        return video.float().cpu(), audio.float().cpu()

    def sample(self, folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:  # noqa: ARG002
        """One prompt."""
        return {"prompt": "a red fox runs through deep snow", "negative": "blurred"}, {}

"""MiniLM token states: the text half of the model's condition."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .released import MAX_TOKENS, checked_prompt, encoder_folder
from .threads import one_thread

FEATURES = 384


@lru_cache(maxsize=2)
def _encoder(device: str) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    folder = encoder_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True, attn_implementation="eager")
    return tokenizer, model.eval().requires_grad_(False).to(device, torch.float32)


@torch.inference_mode()
def text_features(prompt: str, device: torch.device | str = "cpu") -> Tensor:
    """MiniLM's last hidden states for one prompt.

    Args:
        prompt: any text that is not blank; beyond 64 tokens it is cut.
        device: where to compute.

    Returns:
        float32 [T, 384] with 3 <= T <= 64, on `device`; the mask is all ones.

    Raises:
        PromptRefused: the prompt is blank. TextEncoderMissing: the package is absent.
    """
    checked_prompt(prompt)
    tokenizer, model = _encoder(str(device))
    batch = tokenizer(prompt, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
    with one_thread():
        states: Tensor = model(**{k: v.to(device) for k, v in batch.items()}).last_hidden_state
    return states[0].clone()

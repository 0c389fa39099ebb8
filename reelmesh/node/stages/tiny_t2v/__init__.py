"""The embedded text-to-video model: 16 frames of 64x64 from a prompt.

    features = text_features("a big red ball bouncing on white", "cpu")
    model = load("cpu")
    z = model.denoise(model.init_latent(7), model.condition(features))
    frames = model.decode(z)            # uint8 [16, 64, 64, 3]

`understands` needs no torch; the other names bring it in when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .wide import understands
from .world import Understanding

if TYPE_CHECKING:
    from .model import (
        GUIDANCE,
        STEPS,
        Cancelled,
        DenoiseRefused,
        TinyT2V,
        load,
    )
    from .released import MAX_TOKENS, PromptRefused, TextEncoderMissing, WeightsDamaged
    from .text import text_features

__all__ = [
    "GUIDANCE",
    "MAX_TOKENS",
    "STEPS",
    "Cancelled",
    "DenoiseRefused",
    "PromptRefused",
    "TextEncoderMissing",
    "TinyT2V",
    "Understanding",
    "WeightsDamaged",
    "load",
    "text_features",
    "understands",
]
_ELSEWHERE = {
    "MAX_TOKENS": "released",
    "PromptRefused": "released",
    "TextEncoderMissing": "released",
    "WeightsDamaged": "released",
    "text_features": "text",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_ELSEWHERE.get(name, 'model')}"), name)

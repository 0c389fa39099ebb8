"""What the stages `skeleton` and `decode` share: the resident tiny text-to-video model."""

from __future__ import annotations

from functools import lru_cache

import torch

from . import tiny_t2v
from .base import NO_MODEL, model_id
from .tensors import TensorSpec, exactly


@lru_cache(maxsize=4)
def _shared(device: str) -> tiny_t2v.TinyT2V:
    return tiny_t2v.load(device, torch.float32)


class TinyModelStage:
    """Loads the embedded model once.

    It computes in float32 on every device: a step is audited against a re-run, and the
    model is so small that half precision would save next to nothing.
    """

    def __init__(self) -> None:
        self.model_hash = NO_MODEL
        self._model: tiny_t2v.TinyT2V | None = None

    def load(self, device: torch.device) -> None:
        """Makes the model resident. Raises WeightsDamaged."""
        if self._model is None:
            self._model = _shared(str(device))
            self.model_hash = model_id(bytes.fromhex(self._model.model_hash), "float32")

    @property
    def model(self) -> tiny_t2v.TinyT2V:
        """The resident model; `load` comes first."""
        if self._model is None:
            raise RuntimeError("load() was not called")
        return self._model

    def latent_spec(self) -> dict[str, TensorSpec]:
        """What a "latent" artifact of this model holds."""
        return {"latent": exactly(*self.model.latent_shape)}

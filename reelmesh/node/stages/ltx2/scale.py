"""Between the autoencoder's latents and the denoiser's, which have mean 0 and deviation 1."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from reelmesh.node.models.checking import read_json

_NAMES = ("latents_mean", "latents_std")


@dataclass(frozen=True)
class Scale:
    """mean, std: float32, one value a channel, in the shape that they are set against."""

    mean: Tensor
    std: Tensor
    factor: float = 1.0

    @classmethod
    def read(cls, folder: Path) -> Scale:
        """Of the video autoencoder in a folder, without its weights. Raises KeyError."""
        found: dict[str, Tensor] = {}
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                here: Any = set(file.keys())
                found |= {name: file.get_tensor(name) for name in _NAMES if name in here}
        config = read_json(folder / "config.json", Path("config.json"))
        return cls.of(found["latents_mean"], found["latents_std"], config)

    @classmethod
    def of(cls, mean: Tensor, std: Tensor, config: Any) -> Scale:
        """Of the video autoencoder's own values."""
        a, b = (one.detach().float().cpu().view(1, -1, 1, 1, 1) for one in (mean, std))
        return cls(a, b, float(config.get("scaling_factor", 1.0)))

    def to_autoencoder(self, latent: Tensor) -> Tensor:
        """From the denoiser's."""
        return latent * self.std / self.factor + self.mean

    def to_denoiser(self, latent: Tensor) -> Tensor:
        """From the autoencoder's."""
        return (latent - self.mean) * self.factor / self.std

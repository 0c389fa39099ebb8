"""encode_first_frame: the buyer's picture → what a production model begins its clip with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor
from transformers import CLIPVisionModel

from reelmesh.node.models.checking import read_json

from .base import StageContext, one_thread_opencv
from .frames import Picture
from .production import LOCAL, ProductionStage, channels, place
from .stills import read_still
from .tensors import TensorSpec, tensor_bytes, write_tensors

_MAX_PLACES = 1025
_MAX_WIDTH = 8192


def condition_spec(params: Any) -> dict[str, TensorSpec]:
    """What `denoise` reads: `latent` float32 [1, 4 + channels, time, height, width], `seen`
    float32 [1, places, width]. The latent's first four channels say which frames are given."""
    known = params.known
    time = (params.frames - 1) // known.frame_stride + 1
    height, width = params.height // known.latent_stride, params.width // known.latent_stride
    shape = (1, known.frame_stride + known.latent_channels, time, height, width)
    return {
        "latent": TensorSpec([(n, n) for n in shape], torch.float32, limit=1e5),
        "seen": TensorSpec([(1, 1), (1, _MAX_PLACES), (1, _MAX_WIDTH)], torch.float32, limit=1e6),
    }


class EncodeFirstFrame(ProductionStage):
    """Wan: the picture by its CLIP encoder, and as first frame of an empty clip by the autoencoder.

    The picture is scaled and cropped, from its middle, to the clip's shape. The trajectory holds
    one digest for each of the two.
    """

    name = "encode_first_frame"

    def _load(self, device: torch.device) -> None:
        seer = CLIPVisionModel.from_pretrained(
            self.folder("image_encoder"), dtype=torch.float32, **LOCAL
        )
        coder = AutoencoderKLWan.from_pretrained(
            self.folder("vae"), torch_dtype=torch.float32, **LOCAL
        )
        self._seer: Any = place(seer, device)
        self._coder: Any = place(coder, device)
        path = self.folder("image_processor") / "preprocessor_config.json"
        config = read_json(path, Path(path.name))
        self._mean, self._std = (_three(config[name]) for name in ("image_mean", "image_std"))

    @torch.no_grad()
    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Encodes. Raises StageFailed ("bad_input"), StageCancelled."""
        ctx.progress(0.0, "decoding the picture")
        with one_thread_opencv():
            picture = crop(read_still(inputs["image"]), params.width, params.height)
            side = int(self._seer.config.image_size)
            small = crop(picture, side, side)
        seen = self._see(small)
        ctx.step(tensor_bytes(seen))
        ctx.progress(0.3, "encoding the first frame")
        latent = self._begin(picture, params)
        ctx.step(tensor_bytes(latent))
        tensors = {"latent": latent, "seen": seen}
        out = write_tensors(ctx.workdir / "condition.safetensors", tensors)
        ctx.progress(1.0)
        return {"condition": out}

    def _see(self, picture: Picture) -> Tensor:
        """float32 [1, places, width]: the encoder's last layer but one, as the model learned it."""
        pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
        pixels = (pixels - self._mean) / self._std
        states = self._seer(pixel_values=pixels.to(self.device), output_hidden_states=True)
        found: Tensor = states.hidden_states[-2]
        return found.float().cpu()

    def _begin(self, picture: Picture, params: Any) -> Tensor:
        """float32 [1, 4 + channels, time, height, width]: which frames are given, and the clip."""
        first = torch.from_numpy(picture).permute(2, 0, 1).float() / 127.5 - 1
        clip = torch.zeros(1, 3, params.frames, params.height, params.width)
        clip[0, :, 0] = first
        code = self._coder.encode(clip.to(self.device)).latent_dist.mode().float().cpu()
        config = self._coder.config
        mean, std = (channels(config[name]) for name in ("latents_mean", "latents_std"))
        code = (code - mean) / std
        given = torch.zeros(1, params.known.frame_stride, *code.shape[2:])
        given[:, :, 0] = 1
        return torch.cat([given, code], dim=1)

    def sample(self, folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:
        """A small clip from a picture of steep colours."""
        known = self.installed.model
        side = 16 * known.stride
        steep = np.linspace(0, 255, side, dtype=np.uint8)
        picture = np.dstack([np.add.outer(steep, n * steep) for n in (1, 2, 3)])
        path = folder / "picture.png"
        path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        size = {"width": side, "height": side, "frames": known.frame_stride + 1}
        return size, {"image": path}


def crop(picture: Picture, width: int, height: int) -> Picture:
    """uint8 [h, w, 3] → uint8 [height, width, 3]: scaled to cover, the middle kept."""
    h, w = picture.shape[:2]
    scale = max(width / w, height / h)
    to_w, to_h = max(width, round(w * scale)), max(height, round(h * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    large: Any = cv2.resize(picture, (to_w, to_h), interpolation=how)
    top, left = (to_h - height) // 2, (to_w - width) // 2
    return np.ascontiguousarray(large[top : top + height, left : left + width], dtype=np.uint8)


def _three(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)

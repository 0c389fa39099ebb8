"""The model as the `skeleton` stage uses it: load, condition, denoise a step range, decode."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from reelmesh.errors import ReelmeshError, UserError

from . import world
from .autoencoder import CHANNELS, CHUNK_FRAMES, Autoencoder, unit_rms
from .denoiser import GRID, Denoiser, DenoiserShape, times, velocity
from .released import WEIGHTS, WeightsDamaged, read_weights
from .threads import one_thread

STEPS = 20
GUIDANCE = 2.0
MAX_STEPS = 200
#: Least guidance while the layout is decided: where things meet, and when.
_LAYOUT_GUIDANCE, _LAYOUT_UNTIL = 6.0, 0.2


def strength(guidance: float, t: float) -> float:
    """The guidance of a step at time t, where `guidance` is asked for; 1 and less stay plain."""
    if t >= _LAYOUT_UNTIL:
        return guidance
    return max(guidance, min(_LAYOUT_GUIDANCE, 5 * guidance - 4))


class DenoiseRefused(UserError):
    """The step range, guidance or a tensor given to the denoiser is out of bounds."""


class Cancelled(ReelmeshError):
    """The caller asked the loop to stop."""


class TinyT2V:
    """Text (and optionally a first frame) to 16 frames of 64x64.

    One clip at a time: a guided step runs the prompted and the unprompted prediction as one
    batch of two, always, because the batch size changes the bits of a result.
    """

    frames, height, width = world.FRAMES, world.HEIGHT, world.WIDTH
    latent_shape = (world.FRAMES // CHUNK_FRAMES, CHANNELS, GRID, GRID)

    def __init__(
        self,
        autoencoder: Autoencoder,
        denoiser: Denoiser,
        whiten: tuple[Tensor, Tensor],
        device: torch.device,
        model_hash: str,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.device = device
        self.dtype = dtype
        self.model_hash = model_hash
        self._autoencoder = autoencoder.to(device).eval().requires_grad_(False)
        self._denoiser = denoiser.to(device, dtype).eval().requires_grad_(False)
        matrix, mean = whiten
        self._matrix = matrix.to(device, torch.float32)
        self._inverse = torch.linalg.inv(matrix.double()).to(device, torch.float32)
        self._mean = mean.to(device, torch.float32)

    def init_latent(self, seed: int) -> Tensor:
        """The noise a job starts from: float32 [8, 16, 8, 8], on the CPU's generator.

        Args:
            seed: 0 <= seed < 2**63. The same seed gives the same noise on every device.
        """
        if not 0 <= seed < 2**63:
            raise DenoiseRefused(f"seed {seed} is out of range", "use 0 to 2**63 - 1")
        generator = torch.Generator("cpu").manual_seed(seed)
        return torch.randn(self.latent_shape, generator=generator).to(self.device)

    @torch.inference_mode()
    def condition(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """MiniLM token states [T, 384] and mask [T] (true: a real token) → [8, 256]."""
        want = self._denoiser.shape.text_features
        if features.ndim != 2 or features.shape[1] != want or not 1 <= len(features) <= 512:
            raise DenoiseRefused(f"text features must be [T, {want}], not {tuple(features.shape)}")
        if mask is None:
            mask = torch.ones(len(features), dtype=torch.bool)
        if mask.shape != features.shape[:1] or not bool(mask.any()):
            raise DenoiseRefused("the text mask does not match the text features")
        with one_thread():
            tokens: Tensor = self._denoiser.text(
                features.to(self.device, self.dtype)[None], mask.to(self.device, torch.bool)[None]
            )
        return tokens[0].float().clone()

    @torch.inference_mode()
    def denoise(
        self,
        z: Tensor,
        cond: Tensor,
        start: int = 0,
        stop: int = STEPS,
        steps: int = STEPS,
        guidance: float = GUIDANCE,
        guided: int = MAX_STEPS,
        first_frame: Tensor | None = None,
        on_step: Callable[[int, Tensor], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Tensor:
        """Euler steps `start` to `stop` (exclusive) out of `steps`.

        The loop's whole state is (z, step number): running 0..k and then k..n from the
        saved z gives the same bits as running 0..n.

        Args:
            z: float32 [8, 16, 8, 8], from `init_latent` or an earlier range.
            cond: float32 [8, 256], from `condition`.
            guidance: 0..20; 1 is plain, more follows the text harder. The first steps, up to
                t = 0.2, take 6 where it is from 2 to 6: see `strength`.
            guided: the loop's first so many steps have guidance; those after it are plain
                predictions, at half the work.
            first_frame: uint8 [64, 64, 3] that the clip has to start from.
            on_step: called after each step with (step number, z after it).
            cancelled: asked before each step; true raises Cancelled.

        Returns:
            float32 [8, 16, 8, 8].

        Raises:
            DenoiseRefused, Cancelled.
        """
        self._check(z, cond, start, stop, steps, guidance)
        z = z.to(self.device, torch.float32)
        k = self._denoiser
        text = torch.stack([cond.to(self.device, self.dtype), k.no_text.to(self.dtype)])
        first, given = self._first(first_frame)
        at = times(steps)
        for i in range(start, stop):
            if cancelled is not None and cancelled():
                raise Cancelled(f"stopped before step {i}")
            n = 2 if i < guided else 1
            t = torch.full((n,), at[i], device=self.device)
            f = k(torch.stack([z] * n), t, text[:n], first[:n], given[:n])
            f = f[1] + strength(guidance, at[i]) * (f[0] - f[1]) if n == 2 else f[0]
            z = z + (at[i + 1] - at[i]) * velocity(z, t[0], f)
            if on_step is not None:
                on_step(i, z)
        return z.clone()

    @torch.inference_mode()
    def decode(self, z: Tensor) -> Tensor:
        """Latent [8, 16, 8, 8] → frames, uint8 [16, 64, 64, 3] on the CPU, sRGB."""
        if tuple(z.shape) != self.latent_shape:
            raise DenoiseRefused(f"a latent is {self.latent_shape}, not {tuple(z.shape)}")
        z = z.to(self.device, torch.float32)
        with one_thread():
            raw = torch.einsum("dc,nchw->ndhw", self._inverse, z) + self._mean[:, None, None]
            clip = self._autoencoder.decode(unit_rms(raw)[None])[0]
        return ((clip + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu()

    def _first(self, frame: Tensor | None) -> tuple[Tensor, Tensor]:
        shape = (2, CHANNELS, GRID, GRID)
        if frame is None:
            zeros = torch.zeros(shape, device=self.device, dtype=self.dtype)
            return zeros, torch.zeros(2, device=self.device, dtype=self.dtype)
        if frame.shape != (self.height, self.width, 3) or frame.dtype != torch.uint8:
            raise DenoiseRefused("the first frame must be uint8 [64, 64, 3]", "resize the picture")
        picture = frame.to(self.device, torch.float32).permute(2, 0, 1)[None] / 127.5 - 1
        with one_thread():
            raw = self._autoencoder.encode_still(picture)
        z = torch.einsum("dc,nchw->ndhw", self._matrix, raw - self._mean[:, None, None])
        # Only the prompted prediction is given the frame, so guidance follows it as it does the
        # text; without that, a prompt that names no colour let the object's colour drift.
        given = torch.tensor([1.0, 0.0], device=self.device, dtype=self.dtype)
        return torch.cat([z, torch.zeros_like(z)]).to(self.dtype), given

    def _check(
        self, z: Tensor, cond: Tensor, start: int, stop: int, steps: int, guidance: float
    ) -> None:
        if not 1 <= steps <= MAX_STEPS or not 0 <= start < stop <= steps:
            raise DenoiseRefused(
                f"step range {start}..{stop} of {steps} is not valid",
                f"use 0 <= start < stop <= steps <= {MAX_STEPS}",
            )
        if not 0 <= guidance <= 20:
            raise DenoiseRefused(f"guidance {guidance} is out of range", "use 0 to 20")
        shape = self._denoiser.shape
        if tuple(z.shape) != self.latent_shape or tuple(cond.shape) != (
            shape.text_tokens,
            shape.width,
        ):
            raise DenoiseRefused(
                f"latent {tuple(z.shape)} or condition {tuple(cond.shape)} has the wrong shape"
            )
        if not bool(torch.isfinite(z).all()) or not bool(torch.isfinite(cond).all()):
            raise DenoiseRefused("the latent or the condition holds values that are not finite")


def load(
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    weights: Path = WEIGHTS,
) -> TinyT2V:
    """Loads the shipped weights, checked against the sha256 in the JSON file beside them.

    Args:
        device: CPU or CUDA.
        dtype: the denoiser's arithmetic; float32 is what attestations are made with.

    Raises:
        WeightsDamaged: missing, truncated or altered weights.
    """
    data, card = read_weights(weights)
    try:
        tensors = {k: v.float() for k, v in load_tensors(data).items()}
        shape = DenoiserShape(**card["denoiser"])  # type: ignore[arg-type]
        autoencoder, denoiser = Autoencoder(world.FRAMES), Denoiser(shape)
        autoencoder.load_state_dict(_part(tensors, "autoencoder."))
        denoiser.load_state_dict(_part(tensors, "denoiser."))
        whiten = (tensors["whiten.matrix"], tensors["whiten.mean"])
    except (SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise WeightsDamaged(
            f"{weights.name} does not fit this version: {error}", "reinstall reelmesh"
        ) from error
    return TinyT2V(autoencoder, denoiser, whiten, torch.device(device), str(card["sha256"]), dtype)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

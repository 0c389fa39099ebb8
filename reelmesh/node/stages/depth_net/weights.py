"""The network's weights: fp16 safetensors beside this file, checked by sha256."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from reelmesh.errors import ReelmeshError

from .network import DepthNet

PATH = Path(__file__).parent / "weights" / "depth_net.safetensors"
_SHA256 = "7e51fa588e766ed651332e24d8a3d503f8cbed7c6022229553ad813f511614c3"


class WeightsDamaged(ReelmeshError):
    """The weights file is missing, or is not the released one."""


def load_network(device: torch.device, path: Path = PATH) -> DepthNet:
    """The network in float32, ready to run. Raises WeightsDamaged."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsDamaged(f"cannot read {path}: {error.strerror}", "run: make setup") from error
    if hashlib.sha256(data).hexdigest() != _SHA256:
        raise WeightsDamaged(f"{path} is not the released file", "install reelmesh again")
    network = DepthNet()
    try:
        network.load_state_dict({name: value.float() for name, value in load(data).items()})
    except (SafetensorError, RuntimeError) as error:
        raise WeightsDamaged(
            f"{path} does not fit the network", "install reelmesh again"
        ) from error
    return network.to(device).eval().requires_grad_(False)


def weights_hash() -> bytes:
    """sha256 that names the released weights."""
    return bytes.fromhex(_SHA256)

"""The artifact kinds "features" and "latent": small safetensors files.

Written with one named tensor (and for text its mask); read with every shape, type and
value checked, since the bytes come from another node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from .base import bad_input

MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What a tensor must be: each dimension as (least, most), type, and largest |value|."""

    shape: Sequence[tuple[int, int]]
    dtype: torch.dtype
    limit: float = 1e4


def exactly(*shape: int, dtype: torch.dtype = torch.float32) -> TensorSpec:
    """A tensor of one fixed shape."""
    return TensorSpec([(n, n) for n in shape], dtype)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> Path:
    """Writes tensors by name. The same tensors give the same bytes."""
    plain = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    path.write_bytes(save(plain))
    return path


def read_tensors(path: Path, specs: Mapping[str, TensorSpec]) -> dict[str, Tensor]:
    """Reads exactly the named tensors, on the CPU.

    Raises:
        StageFailed: "bad_input": too large, not safetensors, other names, shapes or types
            than `specs`, or a value that is not finite or beyond its limit.
    """
    if path.stat().st_size > MAX_BYTES:
        raise bad_input(f"{path.name} is larger than {MAX_BYTES >> 20} MiB")
    try:
        tensors: dict[str, Tensor] = load(path.read_bytes())
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise bad_input(f"{path.name} is not a safetensors file: {str(error)[:120]}") from error
    if set(tensors) != set(specs):
        raise bad_input(f"{path.name} holds {sorted(tensors)[:4]}, not {sorted(specs)}")
    for name, spec in specs.items():
        _check(path.name, name, tensors[name], spec)
    return tensors


def _check(file: str, name: str, tensor: Tensor, spec: TensorSpec) -> None:
    fits = len(tensor.shape) == len(spec.shape) and all(
        low <= n <= high for n, (low, high) in zip(tensor.shape, spec.shape, strict=True)
    )
    if not fits or tensor.dtype != spec.dtype:
        raise bad_input(f"{name} in {file} is {tensor.dtype} {list(tensor.shape)}")
    # A NaN fails the comparison too.
    if tensor.dtype.is_floating_point and not bool((tensor.abs() <= spec.limit).all()):
        raise bad_input(f"{name} in {file} has values that are not finite or too large")


def tensor_bytes(tensor: Tensor) -> bytes:
    """The tensor's raw bytes, for a trajectory digest."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes()

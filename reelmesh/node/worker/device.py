"""The devices that stages can run on."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import torch


class Device(BaseModel):
    """One device, as a node tells of it.

    memory_mb is the device's own memory in MiB (for a CPU the machine's). device_class
    names what decides a result's bits: devices of one class give the same ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str  # "cpu" or "cuda"
    index: int
    name: str
    memory_mb: int
    device_class: str

    @property
    def torch_name(self) -> str:
        """The name that torch knows it by: "cpu", "cuda:0"."""
        return "cpu" if self.kind == "cpu" else f"{self.kind}:{self.index}"


class NoSuchDevice(ValueError):
    """A device was asked for that this machine does not have."""


def find_devices() -> list[Device]:
    """This machine's devices, best first: every CUDA device, then the CPU. Imports torch."""
    import torch

    cuda = [_cuda(torch, i) for i in range(torch.cuda.device_count())]
    return [*cuda, _cpu(torch)]


def choose(devices: list[Device], wanted: str) -> Device:
    """The device named "auto" (the best one), "cpu", "cuda" or "cuda:<n>".

    Raises:
        NoSuchDevice.
    """
    for device in devices:
        if wanted in ("auto", device.kind, device.torch_name):
            return device
    here = ", ".join(device.torch_name for device in devices)
    raise NoSuchDevice(f"there is no device {wanted[:20]!r} here; there is: {here}")


def _cuda(torch: Any, index: int) -> Device:
    found = torch.cuda.get_device_properties(index)
    return Device(
        kind="cuda",
        index=index,
        name=found.name,
        memory_mb=found.total_memory >> 20,
        device_class=f"cuda-sm{found.major}{found.minor}",
    )


def _cpu(torch: Any) -> Device:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    can = torch.cpu.get_capabilities()
    levels = ("amx_bf16", "avx512_bf16", "avx512_f", "avx2")
    level = next((name for name in levels if can.get(name)), platform.machine())
    return Device(
        kind="cpu",
        index=0,
        name=str(can.get("cpu_name") or platform.processor() or platform.machine()),
        memory_mb=memory >> 20,
        device_class=f"cpu-{level}",
    )


def as_torch(device: Device) -> torch.device:
    """The torch device."""
    import torch

    return torch.device(device.torch_name)

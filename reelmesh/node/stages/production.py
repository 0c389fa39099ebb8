"""What the stages of production models share: files checked, loaded once, never code of their own.

A model computes in its own half precision on a GPU and in float32 on a CPU; its hash says which.
Artifacts hold float32, whatever a device computes in.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .base import NO_MODEL, StageFailed

if TYPE_CHECKING:
    import torch

    from reelmesh.node.models.shelf import Installed

#: For every `from_pretrained`: files of this machine alone, safetensors alone.
LOCAL: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}


class ProductionStage:
    """One stage of one production model; a subclass loads its parts in `_load`.

    Args:
        installed: the model on this machine; without it nothing can be loaded.
    """

    name = ""
    version = 1

    def __init__(self, installed: Installed | None = None) -> None:
        self.model_hash = NO_MODEL
        self._installed = installed
        self.device: torch.device | None = None

    def load(self, device: torch.device) -> None:
        """Hashes the files that this stage loads, and loads them.

        Raises:
            ModelMissing: a file is not the one that was pulled.
            StageFailed: "not_installed": there is no model, or it is not what its name says.
        """
        if self.device is not None:
            return
        installed = self.installed
        installed.check(installed.model.folders[self.name])
        quiet()
        try:
            self._load(device)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            if "out of memory" in str(error).lower():
                raise
            why = (str(error).splitlines() or [""])[0][:160]
            raise StageFailed(
                "not_installed",
                f"the model {installed.model.name} cannot be loaded: {why}",
                f"get it again: reelmesh model pull {installed.model.name}",
            ) from error
        self.model_hash = installed.model_hash(str(self.dtype_on(device)).removeprefix("torch."))
        self.device = device

    @property
    def installed(self) -> Installed:
        """The model's files. Raises StageFailed where there are none."""
        if self._installed is None:
            raise StageFailed(
                "not_installed", f"{self.name} needs a production model", "see: reelmesh model list"
            )
        return self._installed

    def folder(self, name: str) -> Path:
        """One of the model's folders."""
        return self.installed.folder / name

    def dtype_on(self, device: torch.device) -> torch.dtype:
        """What the model computes in on a device."""
        import torch

        if device.type == "cpu":
            return torch.float32
        found: torch.dtype = getattr(torch, self.installed.model.dtype)
        return found

    def _load(self, device: torch.device) -> None:
        raise NotImplementedError

    def sample(self, folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:
        """Parameters without the model's name, and inputs below `folder`, to measure a run with."""
        raise NotImplementedError


def place(module: Any, device: torch.device) -> Any:
    """A loaded network on its device, for use alone: nothing in it learns."""
    return module.to(device).eval().requires_grad_(False)


def channels(values: Any) -> torch.Tensor:
    """One value a channel, to be set against [1, channels, time, height, width]."""
    import torch

    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1, 1)


def quiet() -> None:
    """The libraries' bars and advice are for notebooks."""
    import diffusers
    import transformers

    for logging in (diffusers.utils.logging, transformers.utils.logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()

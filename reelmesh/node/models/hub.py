"""Getting a model from the hub: one pinned revision, safetensors and JSON alone, resumable."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from reelmesh.errors import StorageError
from reelmesh.node.models.checking import ALLOW_PATTERNS, WEIGHTS, RefusedModel
from reelmesh.node.models.shelf import MANIFEST, Installed, Shelf, Told, folders_of
from reelmesh.scheduler.models import Model


class HubUnreachable(StorageError):
    """The hub did not answer, or does not have the model."""


def pull(shelf: Shelf, model: Model, told: Told | None = None) -> Installed:
    """Fetch a model's pinned revision; goes on where an earlier try was cut off.

    Every large file is held against the sha256 that the hub states for the revision; a file that
    differs is deleted.

    Raises HubUnreachable, RefusedModel, ModelMissing.
    """
    here = shelf.root / model.name
    if (here / MANIFEST).is_file():
        found = Installed(model, here)
        found.check(told=told)
        return found
    folder = shelf.root / f"{model.name}.pulling"
    stated = _fetch(model, folder, told)
    for name, digest in stated.items():
        _hold(folder / name, digest, name)
    found = shelf.keep(model, folder, "hub", told, move=True)
    shutil.rmtree(folder, ignore_errors=True)
    return found


def _fetch(model: Model, folder: Path, told: Told | None) -> dict[str, str]:
    """Download below `folder`; returns file → sha256 that the hub states, where it states one."""
    try:
        from huggingface_hub import HfApi, snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
    except ImportError as error:
        raise HubUnreachable(f"a package is missing: {error}", "run: make setup") from error
    wanted = patterns(model)
    try:
        info = HfApi().model_info(model.repository, revision=model.revision, files_metadata=True)
        snapshot_download(
            model.repository,
            revision=model.revision,
            local_dir=folder,
            allow_patterns=wanted,
            ignore_patterns=list(model.skip),
            tqdm_class=_progress(told),
        )
    except (OfflineModeIsEnabled, HfHubHTTPError, OSError, ConnectionError) as error:
        raise HubUnreachable(
            f"{model.pinned} cannot be fetched: {_first_line(error)}",
            "check the network and run this again, it goes on where it stopped; or copy the model "
            f"here and run: reelmesh model pull {model.name} --from DIR",
        ) from error
    if info.sha != model.revision:
        raise RefusedModel(f"the hub answers with revision {info.sha}", "try again later")
    return {
        one.rfilename: str(one.lfs.sha256)
        for one in info.siblings or ()
        if one.lfs is not None and (folder / one.rfilename).is_file()
    }


def patterns(model: Model) -> list[str]:
    """What is asked of the hub: the model's own folders, and in them safetensors and JSON."""
    named = folders_of(model)
    files = [one for one in named if one.endswith(WEIGHTS)]
    below = [
        name if folder == "." else f"{folder}/{name}"
        for folder in named
        if folder not in files
        for name in ALLOW_PATTERNS
    ]
    return ["model_index.json", *files, *below]


def _hold(path: Path, digest: str, name: str) -> None:
    import hashlib

    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        path.unlink()
        raise RefusedModel(f"{name} is not what the hub says it is", "run the same command again")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _progress(told: Told | None) -> Any:
    """A tqdm that tells of bytes and draws nothing."""
    from huggingface_hub import utils

    base: Any = utils.tqdm  # type: ignore[attr-defined]

    class Quiet(base):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            # A bar that draws nothing keeps no figures: they are kept here.
            self._counts_bytes = kwargs.get("unit") == "B"
            self._name, self._done = str(kwargs.get("desc") or ""), int(kwargs.get("initial") or 0)
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> Any:
            self._done += int(n or 0)
            if told is not None and self._counts_bytes:
                told(self._name, self._done, int(self.total or 0))
            return super().update(n)

    return Quiet

"""Where a node keeps production models: one folder each, with a manifest of every file's sha256."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reelmesh.errors import StorageError
from reelmesh.node.models.checking import RefusedModel, check_folder
from reelmesh.scheduler.canonical import canonical
from reelmesh.scheduler.ids import ArtifactId, DigestField
from reelmesh.scheduler.models import MODELS, Model

MANIFEST = "manifest.json"
MAX_MANIFEST = 1 << 20
_PIECE = 4 << 20

Told = Callable[[str, int, int], None]
"""Called with (file, bytes done, bytes in all)."""


class ModelMissing(StorageError):
    """A production model that is not here, or not whole."""


class ModelFile(BaseModel):
    """One file of a model."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    path: Annotated[
        str, Field(pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.-]*/)?[A-Za-z0-9_][A-Za-z0-9_.-]*$")
    ]
    size: Annotated[int, Field(ge=1)]
    sha256: DigestField


class Manifest(BaseModel):
    """What a model's folder holds. `source` is "hub", or "folder" for files from a disk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: str
    revision: str
    source: str
    files: Annotated[tuple[ModelFile, ...], Field(min_length=1, max_length=1024)]

    def files_hash(self) -> bytes:
        """sha256 over the files' names, sizes and hashes: the same wherever they came from."""
        rows = [one.model_dump() for one in sorted(self.files, key=lambda one: one.path)]
        return hashlib.sha256(canonical({"files": rows})).digest()


@dataclass(frozen=True)
class Installed:
    """A model on this machine."""

    model: Model
    folder: Path

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest. Raises ModelMissing where it cannot be read or is another revision's."""
        path = self.folder / MANIFEST
        again = f"get it again: reelmesh model pull {self.model.name}"
        try:
            data = path.read_bytes()
            if len(data) > MAX_MANIFEST:
                raise ValueError("too long")
            found = Manifest.model_validate_json(data)
        except (OSError, ValidationError, ValueError) as error:
            raise ModelMissing(f"{path} cannot be read", again) from error
        if (found.repository, found.revision) != (self.model.repository, self.model.revision):
            raise ModelMissing(f"{self.folder} holds another revision of {self.model.name}", again)
        return found

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(one.size for one in self.manifest.files)

    def model_hash(self, dtype: str) -> bytes:
        """32 bytes that name repository, revision, arithmetic and every file's bytes.

        Args:
            dtype: what it computes in, as "bfloat16".
        """
        digest = hashlib.sha256()
        said = ("reelmesh/model/1", self.model.repository, self.model.revision, dtype)
        for part in (*(text.encode() for text in said), self.manifest.files_hash()):
            digest.update(len(part).to_bytes(4, "big") + part)
        return digest.digest()

    def check(self, folders: tuple[str, ...] | None = None, told: Told | None = None) -> None:
        """Hash the files of some folders, or all, and hold them against the manifest.

        Raises ModelMissing for a file that is missing, a link, or not what it was.
        """
        files = [
            one
            for one in self.manifest.files
            if folders is None or not {one.path, str(Path(one.path).parent)}.isdisjoint(folders)
        ]
        total, done = sum(one.size for one in files), 0
        for one in files:
            path = self.folder / one.path
            try:
                fits = not path.is_symlink() and path.stat().st_size == one.size
                fits = fits and _sha256(path, one.path, done, total, told) == one.sha256
            except OSError:
                fits = False
            if not fits:
                raise ModelMissing(
                    f"{path} is not the file that was pulled",
                    f"get it again: reelmesh model pull {self.model.name}",
                )
            done += one.size


class Shelf:
    """The models of one node, below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def installed(self) -> Iterator[Installed]:
        """Every model that is here with a manifest, in the registry's order."""
        for name in MODELS:
            if (self.root / name / MANIFEST).is_file():
                yield Installed(MODELS[name], self.root / name)

    def get(self, name: str) -> Installed:
        """A model that is here. Raises ModelMissing with the command that brings it."""
        model = MODELS.get(name)
        if model is None:
            raise ModelMissing(f"no model is named {name[:40]!r}", f"there are {', '.join(MODELS)}")
        if not (self.root / name / MANIFEST).is_file():
            raise ModelMissing(
                f"the model {name} is not on this machine (looked in {self.root})",
                f"get it: reelmesh model pull {name}; without network, from a folder that has it: "
                f"reelmesh model pull {name} --from DIR",
            )
        return Installed(model, self.root / name)

    def keep(
        self, model: Model, folder: Path, source: str, told: Told | None = None, *, move: bool
    ) -> Installed:
        """Check a folder, take its files in and write the manifest; all of it or nothing.

        Args:
            source: "hub" or "folder".
            move: take the files away from `folder`, which lies below this shelf, and do not copy.

        Raises RefusedModel, ModelMissing.
        """
        if not folder.is_dir():
            raise RefusedModel(f"{folder} is not a folder", "give the folder that holds the model")
        files = check_folder(folder, folders_of(model), model.skip)
        part = self.root / f"{model.name}.taking"
        shutil.rmtree(part, ignore_errors=True)
        total, done, kept = sum((folder / one).stat().st_size for one in files), 0, []
        try:
            for path in files:
                target = part / path
                target.parent.mkdir(parents=True, exist_ok=True)
                if move:
                    (folder / path).rename(target)
                    digest = _sha256(target, str(path), done, total, told)
                else:
                    digest = _copy(folder / path, target, done, total, told)
                size = target.stat().st_size
                kept.append(ModelFile(path=path.as_posix(), size=size, sha256=ArtifactId(digest)))
                done += size
            # Looked at again where nobody else writes: what was checked is what is kept.
            check_folder(part, folders_of(model), model.skip)
            self._finish(model, part, source, kept)
        except OSError as error:
            raise ModelMissing(
                f"{model.name} cannot be kept: {error}", "free disk space"
            ) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return Installed(model, self.root / model.name)

    def remove(self, name: str) -> int:
        """Delete a model; returns the bytes freed. Raises ModelMissing."""
        found = self.get(name)
        freed = sum(path.stat().st_size for path in found.folder.rglob("*") if path.is_file())
        # The manifest goes first, so that a half-deleted model is never taken for a whole one.
        (found.folder / MANIFEST).unlink()
        shutil.rmtree(found.folder, ignore_errors=True)
        return freed

    def _finish(self, model: Model, part: Path, source: str, kept: list[ModelFile]) -> None:
        manifest = Manifest(
            repository=model.repository, revision=model.revision, source=source, files=tuple(kept)
        )
        (part / MANIFEST).write_text(json.dumps(manifest.model_dump(), indent=1))
        target = self.root / model.name
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)


def folders_of(model: Model) -> tuple[str, ...]:
    """Every folder that some stage of the model loads."""
    return tuple(sorted({folder for stage in model.folders.values() for folder in stage}))


def _sha256(path: Path, name: str, done: int, total: int, told: Told | None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            done += len(piece)
            if told is not None:
                told(name, done, total)
    return digest.hexdigest()


def _copy(source: Path, target: Path, done: int, total: int, told: Told | None) -> str:
    """Copy a file that is no link; returns the sha256 of what was written."""
    digest = hashlib.sha256()
    handle = os.open(source, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    with os.fdopen(handle, "rb") as read, target.open("xb") as write:
        while piece := read.read(_PIECE):
            digest.update(piece)
            write.write(piece)
            done += len(piece)
            if told is not None:
                told(source.name, done, total)
    return digest.hexdigest()

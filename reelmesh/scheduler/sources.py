"""What a buyer brings along: a picture or a video, named by its hash, as an input of subtasks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from reelmesh.scheduler.ids import DigestField

MIB = 1024 * 1024
MAX_SOURCE_BYTES: Mapping[str, int] = MappingProxyType({"picture": 64 * MIB, "footage": 1024 * MIB})
"""Source kind → the most bytes that one may have."""
MAX_KEPT_BYTES = 2048 * MIB
"""The most bytes of a result of an earlier job that another takes in."""


class Given(BaseModel):
    """Bytes that are there before any subtask runs.

    sha256: of the bytes; size: how many; kind: of the artifact.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sha256: DigestField
    size: Annotated[int, Field(ge=1)]
    kind: str

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        most = MAX_SOURCE_BYTES.get(self.kind, MAX_KEPT_BYTES)
        if self.size > most:
            raise ValueError(f"a {self.kind} may have {most // MIB} MiB, not {self.size} bytes")
        return self


class Source(Given):
    """Media as the buyer has it, in whatever format; only a worker process ever decodes it."""

    kind: Literal["picture", "footage"]


class Picture(Source):
    """A still: PNG, JPEG or WebP."""

    kind: Literal["picture"] = "picture"


class Footage(Source):
    """A video file of the buyer's."""

    kind: Literal["footage"] = "footage"

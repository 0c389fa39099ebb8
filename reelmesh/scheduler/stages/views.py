"""What the stages of video→4D share: sizes, poses, runs of frames."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from reelmesh.scheduler.stages.entry import StageParams

MAX_KEYS = 1200
"""Frames of footage: 20 s at 60 a second."""
MAX_SIDE = 512
"""Depth, meshes and views are made at up to this; larger videos are upscaled from it."""
MAX_VIEWS = 24
"""Views of one subtask that is told its poses."""
MAX_RUN = 48
"""Frames of one subtask."""
REACH = 2
"""Neighbouring views that a view's filled parts are smoothed over, to either side."""

Side = Annotated[int, Field(ge=64, le=MAX_SIDE, multiple_of=32)]
_Coordinate = Annotated[float, Field(ge=-10, le=10, strict=False)]
_Degrees = Annotated[float, Field(ge=25, le=70, strict=False)]
PoseParam = Annotated[
    tuple[_Coordinate, _Coordinate, _Coordinate, _Coordinate, _Coordinate, _Coordinate, _Degrees],
    Field(strict=False),
]
"""Position, point looked at, field of view over the longer side: as `camera.Pose`."""


class RunParams(StageParams):
    """Frames [start, stop) of footage of width x height pixels."""

    start: Annotated[int, Field(ge=0, lt=MAX_KEYS)]
    stop: Annotated[int, Field(ge=1, le=MAX_KEYS)]
    width: Side
    height: Side

    @model_validator(mode="after")
    def _range(self) -> Self:
        if not self.start < self.stop <= self.start + self.most():
            raise ValueError(f"start < stop <= start + {self.most()} must hold")
        return self

    @classmethod
    def most(cls) -> int:
        """The most frames of one run."""
        return MAX_RUN

    @property
    def frames(self) -> int:
        """How many frames."""
        return self.stop - self.start

    @property
    def pixels(self) -> int:
        """Pixels of all frames."""
        return self.frames * self.width * self.height


class PosedParams(RunParams):
    """poses: the camera's, one for each frame."""

    poses: Annotated[tuple[PoseParam, ...], Field(min_length=1, max_length=MAX_VIEWS, strict=False)]

    @classmethod
    def most(cls) -> int:
        """As many as their poses may be."""
        return MAX_VIEWS

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        if len(self.poses) != self.frames:
            raise ValueError(f"{len(self.poses)} poses are given for {self.frames} frames")
        return self

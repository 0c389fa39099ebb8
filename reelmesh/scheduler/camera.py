"""A camera's path: keyframes, the smooth way between them, and the range that can be shown.

Space: x to the right, y up, z into the picture. The footage's own camera stands at (0, 0, 0) and
looks at `PIVOT`, the middle of the scene, at distance 1. docs/camera.md is this file for buyers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from reelmesh.errors import UserError
from reelmesh.scheduler.strict_json import read_object

PIVOT = (0.0, 0.0, 1.0)
SOURCE_FOV = 50.0
"""What the footage's lens is taken to be: degrees over the longer side of the picture."""
USUAL_FOV = 44.0
"""A little closer than the footage, so that less of what it never showed comes into view."""
MAX_YAW, MAX_PITCH = 30.0, 15.0
NEAREST, FARTHEST = 0.6, 1.5
MAX_OFF = 0.4
MAX_KEYFRAMES = 32
LEAST_S, MOST_S = 1.0, 20.0
MAX_FILE_BYTES = 8192
RANGE = (
    f"the camera may go {MAX_YAW:g}° to either side of the footage's, {MAX_PITCH:g}° up or down, "
    f"{NEAREST:g} to {FARTHEST:g} from the scene's middle, and look up to {MAX_OFF:g} beside it"
)
_CHECKED_S = 1 / 30
_SLACK = 1e-3


class InvalidCamera(UserError):
    """The path is not one, or leaves the range that can be shown."""


class Pose(NamedTuple):
    """Where a camera stands, what it looks at, and degrees over its picture's longer side."""

    x: float
    y: float
    z: float
    look_x: float
    look_y: float
    look_z: float
    fov: float


def _number(value: object) -> object:
    if isinstance(value, bool | str):
        raise ValueError("a number is wanted")  # noqa: TRY004 (pydantic wants ValueError)
    return value


_Real = Annotated[float, BeforeValidator(_number), Field(ge=-10, le=10)]
_Vector = tuple[_Real, _Real, _Real]


class Keyframe(BaseModel):
    """The camera at one time, in seconds from the video's beginning."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    time: Annotated[float, BeforeValidator(_number), Field(ge=0, le=MOST_S)]
    position: _Vector
    look_at: _Vector = PIVOT
    fov: Annotated[float, BeforeValidator(_number), Field(ge=25, le=70)] = USUAL_FOV

    def pose(self) -> Pose:
        """As a pose."""
        return Pose(*self.position, *self.look_at, self.fov)


class CameraPath(BaseModel):
    """Keyframes in the order of their times; before the first and after the last one it rests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    keyframes: Annotated[tuple[Keyframe, ...], Field(min_length=1, max_length=MAX_KEYFRAMES)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for before, after in pairwise(self.keyframes):
            if after.time - before.time < 0.01:
                raise ValueError(
                    f"keyframe times must rise: {after.time:g} s follows {before.time:g} s"
                )
        end = self.keyframes[-1].time
        for number in range(math.ceil(end / _CHECKED_S) + 1):
            check_pose(self.at(number * _CHECKED_S), number * _CHECKED_S)
        for keyframe in self.keyframes:
            check_pose(keyframe.pose(), keyframe.time)
        return self

    def at(self, time: float) -> Pose:
        """The pose at a time: cubic between keyframes, and never beyond a pair's own values."""
        keys = self.keyframes
        if time <= keys[0].time:
            return keys[0].pose()
        if time >= keys[-1].time:
            return keys[-1].pose()
        k = next(i for i in range(len(keys) - 1) if time < keys[i + 1].time)
        poses = [key.pose() for key in keys]
        times = [key.time for key in keys]
        return Pose(*(_cubic(times, column, k, time) for column in zip(*poses, strict=True)))


def orbit(first: float, last: float, seconds: float) -> CameraPath:
    """From one angle to another around the scene's middle, in degrees; to the right is positive.

    Raises InvalidCamera where an angle is beyond `MAX_YAW`, or no video is of that length.
    """
    if not LEAST_S <= seconds <= MOST_S:
        raise InvalidCamera(
            f"An orbit over {seconds:g} s is longer or shorter than any video",
            f"ask for {LEAST_S:g} to {MOST_S:g} seconds",
        )
    for angle in (first, last):
        if not abs(angle) <= MAX_YAW:
            raise InvalidCamera(
                f"An orbit to {angle:g}° leaves the range that can be shown",
                f"stay within -{MAX_YAW:g}:{MAX_YAW:g}",
            )
    steps = max(1, math.ceil(abs(last - first) / 5))
    keys = []
    for i in range(steps + 1):
        angle = math.radians(first + (last - first) * i / steps)
        x, z = round(math.sin(angle), 6), round(1 - math.cos(angle), 6)
        keys.append(Keyframe(time=round(seconds * i / steps, 4), position=(x, 0.0, z)))
    return CameraPath(keyframes=tuple(keys))


def parse_orbit(text: str, seconds: float) -> CameraPath:
    """The path that "-15:15" asks for, over a video of some length. Raises InvalidCamera."""
    try:
        first, last = (float(part) for part in text.split(":"))
    except ValueError as error:
        raise InvalidCamera(
            f"{text[:40]!r} is not an orbit", "write two angles in degrees, as -15:15"
        ) from error
    if not (math.isfinite(first) and math.isfinite(last)):
        raise InvalidCamera(f"{text[:40]!r} is not an orbit", "write two angles, as -15:15")
    return orbit(first, last, seconds)


def parse_camera(text: str | bytes) -> CameraPath:
    """A path from a camera file. Raises InvalidCamera with one plain line."""
    try:
        return CameraPath.model_validate(read_object(text, MAX_FILE_BYTES))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:60]
        said = first["msg"].removeprefix("Value error, ")
        message = f"The camera path is not valid: {where + ': ' if where else ''}{said}"
        raise InvalidCamera(message, RANGE) from error
    except ValueError as error:
        raise InvalidCamera(
            f"The camera file cannot be read: {error}", "see docs/camera.md for its format"
        ) from error


def check_pose(pose: Pose, time: float) -> None:
    """Raises ValueError where a pose leaves the range; the message names the time."""
    x, y, z = pose.x - PIVOT[0], pose.y - PIVOT[1], pose.z - PIVOT[2]
    away = math.sqrt(x * x + y * y + z * z)
    problem = ""
    if not NEAREST - _SLACK <= away <= FARTHEST + _SLACK:
        problem = f"is {away:.2f} from the scene's middle"
    elif abs(yaw := math.degrees(math.atan2(x, -z))) > MAX_YAW + _SLACK:
        problem = f"stands {yaw:.1f}° to the side"
    elif abs(pitch := math.degrees(math.asin(y / away))) > MAX_PITCH + _SLACK:
        problem = f"stands {pitch:.1f}° up"
    elif math.dist(pose[3:6], PIVOT) > MAX_OFF + _SLACK:
        problem = f"looks {math.dist(pose[3:6], PIVOT):.2f} beside the scene's middle"
    if problem:
        raise ValueError(f"at {time:.2f} s the camera {problem}, outside the range")


def _cubic(times: Sequence[float], values: Sequence[float], k: int, time: float) -> float:
    """Monotone cubic interpolation (Fritsch & Butland 1984) in the interval after key `k`."""
    width = times[k + 1] - times[k]
    slope0, slope1 = _slope(times, values, k), _slope(times, values, k + 1)
    t = (time - times[k]) / width
    rise = values[k + 1] - values[k]
    value = values[k] + t * (
        slope0 * width
        + t
        * (3 * rise - (2 * slope0 + slope1) * width + t * ((slope0 + slope1) * width - 2 * rise))
    )
    low, high = sorted((values[k], values[k + 1]))
    return min(max(value, low), high)


def _slope(times: Sequence[float], values: Sequence[float], k: int) -> float:
    if k in (0, len(times) - 1):
        return 0.0  # it starts and ends at rest
    before, after = times[k] - times[k - 1], times[k + 1] - times[k]
    left, right = (values[k] - values[k - 1]) / before, (values[k + 1] - values[k]) / after
    if left * right <= 0:
        return 0.0
    w1, w2 = 2 * after + before, after + 2 * before
    return (w1 + w2) / (w1 / left + w2 / right)

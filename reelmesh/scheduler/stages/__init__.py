"""The stage catalogue: one file a stage. Adding a stage adds a file here and its torch code."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from reelmesh.errors import PeerError
from reelmesh.scheduler.stages import (
    anchor,
    animate,
    assemble,
    carry_on,
    decode,
    decode_audio,
    decode_latent,
    decode_video,
    denoise,
    denoise_audio,
    depth,
    encode_first_frame,
    encode_frames,
    encode_image,
    encode_prompt,
    encode_text,
    encode_video,
    find_events,
    interpolate,
    join_tiles,
    mux,
    pack_4d,
    preview,
    refine,
    refine_latent,
    refine_views,
    render_sound,
    repair,
    restyle,
    retime_views,
    skeleton,
    speech,
    steady_depth,
    upsample_latent,
    upscale,
    upscale_tile,
    view_layers,
    warp,
)
from reelmesh.scheduler.stages.entry import KINDS, StageEntry, StageParams
from reelmesh.scheduler.strict_json import read_object

__all__ = [
    "CATALOGUE",
    "KINDS",
    "MAX_PARAMS_BYTES",
    "InvalidParams",
    "StageEntry",
    "StageParams",
    "UnknownStage",
    "entry",
    "parse_params",
]

MAX_PARAMS_BYTES = 4096

CATALOGUE: Mapping[str, StageEntry[Any]] = MappingProxyType(
    {
        module.ENTRY.name: module.ENTRY
        for module in (
            encode_text,
            skeleton,
            decode,
            interpolate,
            upscale,
            encode_video,
            assemble,
            encode_image,
            animate,
            anchor,
            encode_prompt,
            encode_first_frame,
            denoise,
            decode_latent,
            upsample_latent,
            refine_latent,
            decode_audio,
            encode_frames,
            denoise_audio,
            decode_video,
            carry_on,
            restyle,
            preview,
            find_events,
            render_sound,
            speech,
            mux,
            refine,
            upscale_tile,
            join_tiles,
            repair,
            depth,
            steady_depth,
            warp,
            refine_views,
            retime_views,
            view_layers,
            pack_4d,
        )
    }
)
"""Every stage that this version knows, by name."""


class UnknownStage(PeerError):
    """A peer names a stage, or a version of one, that this node does not know."""


class InvalidParams(PeerError):
    """A subtask's parameters do not fit its stage."""


def entry(name: str, version: int | None = None) -> StageEntry[Any]:
    """The catalogue's entry for a stage. Raises `UnknownStage`, also for another version."""
    found = CATALOGUE.get(name)
    if found is None:
        raise UnknownStage(
            f"No stage is named {name[:40]!r}", f"this node knows {', '.join(CATALOGUE)}"
        )
    if version is not None and version != found.version:
        raise UnknownStage(
            f"Stage {name} is at version {found.version} here, not {version}",
            "bring both nodes to the same release of reelmesh",
        )
    return found


def parse_params(stage: str, source: str | bytes | Mapping[str, object]) -> StageParams:
    """A stage's parameters from JSON text or from named fields, checked against the catalogue.

    Raises:
        UnknownStage: no such stage.
        InvalidParams: not JSON, too long, unknown or missing field, wrong type or out of range.
    """
    wanted = entry(stage)
    try:
        if isinstance(source, str | bytes):
            source = read_object(source, MAX_PARAMS_BYTES)
        params = wanted.params.model_validate(dict(source))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:80] or "params"
        raise InvalidParams(f"{stage}: {where}: {first['msg']}") from error
    except ValueError as error:
        raise InvalidParams(f"The parameters of {stage} cannot be read: {error}") from error
    assert isinstance(params, StageParams)
    return params

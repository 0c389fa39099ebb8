"""encode_prompt: prompt and what to lead away from → a production model's text features."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from reelmesh.scheduler.spec import Prompt
from reelmesh.scheduler.stages.entry import StageEntry
from reelmesh.scheduler.stages.production import ModelParams, stages_models


class EncodePromptParams(ModelParams):
    """negative: what guidance leads away from; "" for nothing."""

    prompt: Prompt
    negative: Annotated[str, Field(max_length=600)] = ""


ENTRY = StageEntry(
    name="encode_prompt",
    version=1,
    summary="encode the prompt (the production model's own text encoder)",
    inputs={},
    outputs={"features": "features"},
    params=EncodePromptParams,
    unit="prompt",
    units=lambda _: 1.0,
    memory_mb=lambda params: 1500 + params.known.weights_mb["encode_prompt"],
    bytes_out=lambda params: params.known.text_bytes,
    models=stages_models("encode_prompt"),
    load_s=30.0,
)

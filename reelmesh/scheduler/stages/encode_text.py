"""encode_text: a prompt → the text encoder's token features."""

from __future__ import annotations

from reelmesh.scheduler.spec import Prompt
from reelmesh.scheduler.stages.entry import StageEntry, StageParams

_BYTES_A_TOKEN = 384 * 4


class EncodeTextParams(StageParams):
    """prompt: 1..300 characters, normalised as in the spec."""

    prompt: Prompt


def _bytes_out(params: EncodeTextParams) -> int:
    # English runs at about four characters a token; a character may be a token of its own.
    return (len(params.prompt) // 2 + 8) * _BYTES_A_TOKEN


ENTRY = StageEntry(
    name="encode_text",
    version=1,
    summary="turn the prompt into token features (MiniLM)",
    inputs={},
    outputs={"features": "features"},
    params=EncodeTextParams,
    unit="prompt",
    units=lambda _: 1.0,
    memory_mb=lambda _: 700,
    bytes_out=_bytes_out,
    model="minilm-l6-v2",
    load_s=1.0,
)

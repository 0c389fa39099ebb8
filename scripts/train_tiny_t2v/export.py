"""Writes the trained parts as the one file that ships, with its hash and sizes beside it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import load_file, save

from reelmesh.node.stages.tiny_t2v.denoiser import DenoiserShape
from reelmesh.node.stages.tiny_t2v.released import WEIGHTS

from .probe import PROBE_WEIGHTS


def export(work: Path, weights: Path = WEIGHTS) -> str:
    """Joins the parts in fp16; returns the sha256. The probe's weights go beside its code."""
    tensors = {}
    for part in ("autoencoder", "denoiser", "whiten"):
        for name, value in load_file(work / f"{part}.safetensors").items():
            tensors[f"{part}.{name}"] = (value if part == "whiten" else value.half()).contiguous()
    data = save(tensors)
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    card = {"sha256": digest, "bytes": len(data), "denoiser": asdict(DenoiserShape())}
    weights.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
    PROBE_WEIGHTS.write_bytes((work / "probe.safetensors").read_bytes())
    return digest

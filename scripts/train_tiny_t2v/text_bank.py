"""MiniLM states of many captions, kept on the training device."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from reelmesh.node.stages.tiny_t2v.world import Scene, all_scenes

from .captions import caption

TOKENS = 32
ATTRIBUTES = ("size", "colour", "shape", "motion", "background")


def tokenizer(folder: Path) -> Tokenizer:
    """MiniLM's tokenizer, cut and padded to 32 tokens."""
    t = Tokenizer.from_file(str(folder / "tokenizer.json"))
    t.enable_truncation(TOKENS)
    t.enable_padding(length=TOKENS)
    return t


def tokens(t: Tokenizer, texts: Sequence[str]) -> NDArray[np.uint16]:
    """uint16 [N, 32]; 0 is padding."""
    return np.array([e.ids for e in t.encode_batch(list(texts))], dtype=np.uint16)


def pack(source: Path, target: Path, samples: int = 150_000) -> None:
    """Copies a MiniLM folder in fp16 with only the vocabulary rows that captions use.

    It makes the 88 MB encoder small enough to carry to another machine.
    """
    rng, t = random.Random(0), tokenizer(source)
    used = {0, 100, 101, 102, 103}
    scenes = all_scenes()
    for _ in range(0, samples, 5000):
        texts = [caption(rng.choice(scenes), rng)[0] for _ in range(5000)]
        used.update(np.unique(tokens(t, texts)).tolist())
    copy_rows(source, target, used)


def copy_rows(source: Path, target: Path, used: set[int]) -> None:
    """Copies a MiniLM folder in fp16 with only the vocabulary rows in `used`."""
    state = {k: v.half() for k, v in load_file(source / "model.safetensors").items()
             if v.is_floating_point()}  # fmt: skip
    name = next(k for k in state if k.endswith("word_embeddings.weight"))
    rows = torch.tensor(sorted(used))
    state[name] = state[name][rows].contiguous()
    target.mkdir(parents=True, exist_ok=True)
    save_file(state | {"rows": rows.int()}, target / "model.safetensors")
    for file in ("config.json", "tokenizer.json"):
        (target / file).write_bytes((source / file).read_bytes())


def encoder(folder: Path, device: torch.device) -> Any:
    """MiniLM in float32 from its own folder or from a packed one."""
    from transformers import BertConfig, BertModel

    state = dict(load_file(folder / "model.safetensors").items())
    config = BertConfig.from_json_file(folder / "config.json")
    rows = state.pop("rows", None)
    if rows is not None:
        name = next(k for k in state if k.endswith("word_embeddings.weight"))
        full = torch.zeros(config.vocab_size, config.hidden_size)
        full[rows.long()] = state[name].float()
        state[name] = full
    model = BertModel(config, add_pooling_layer=False)
    state = {k: v.float() for k, v in state.items() if v.is_floating_point()}
    missing, _ = model.load_state_dict(state, strict=False)
    if any("weight" in key for key in missing):
        raise SystemExit(f"{folder} lacks {missing[:3]}")
    return model.eval().requires_grad_(False).to(device)


@torch.inference_mode()
def features(model: Any, ids: Tensor, batch: int = 1024) -> Tensor:
    """Token ids [N, 32] → states [N, 32, 384], bfloat16 on CUDA, else float32."""
    cuda = ids.is_cuda
    kind = torch.bfloat16 if cuda else torch.float32
    out = torch.empty(*ids.shape, 384, dtype=kind, device=ids.device)
    for i in range(0, len(ids), batch):
        part = ids[i : i + batch].long()
        with torch.autocast(ids.device.type, torch.float16 if cuda else torch.bfloat16):
            states = model(input_ids=part, attention_mask=(part != 0).long()).last_hidden_state
        out[i : i + batch] = states.to(kind)
    return out


def _write(job: tuple[int, list[Scene], str, int]) -> tuple[NDArray[Any], NDArray[Any]]:
    seed, scenes, folder, wordings = job
    rng, texts = random.Random(seed), []
    told = np.ones((len(scenes) * wordings, len(ATTRIBUTES)), dtype=bool)
    for scene in scenes:
        for _ in range(wordings):
            text, dropped = caption(scene, rng)
            for attribute in dropped:
                told[len(texts), ATTRIBUTES.index(attribute)] = False
            texts.append(text)
    return tokens(tokenizer(Path(folder)), texts), told


def write_captions(
    scenes: list[Scene], folder: Path, wordings: int, workers: int, seed: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Captions for scenes, in parallel.

    Returns:
        uint16 [N*wordings, 32] token ids, scene-major, and bool [N*wordings, 5]: which
        attributes each caption tells.
    """
    size = max(1, len(scenes) // (workers * 2))
    jobs = [
        (seed * 1000 + i, scenes[i : i + size], str(folder), wordings)
        for i in range(0, len(scenes), size)
    ]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(_write, jobs))
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

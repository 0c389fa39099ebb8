"""Folders in the shape of production models, with tiny random weights, as a hub would give them."""

from __future__ import annotations

import json
from pathlib import Path

import torch

WORDS = [
    "a",
    "red",
    "blue",
    "ball",
    "moves",
    "left",
    "right",
    "over",
    "the",
    "snow",
    "fox",
    "runs",
    "blurred",
    "static",
    "grey",
]


def make_wan(root: Path, *, with_picture: bool = False) -> Path:
    """A Wan model: three blocks of 24 features, an autoencoder of 3 channels.

    with_picture: it begins its clip with a picture.
    """
    from diffusers import AutoencoderKLWan, WanTransformer3DModel
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(0)
    WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=36 if with_picture else 16,
        out_channels=16,
        text_dim=32,
        freq_dim=32,
        ffn_dim=32,
        num_layers=3,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=64,
        image_dim=16 if with_picture else None,
    ).save_pretrained(root / "transformer")
    AutoencoderKLWan(
        base_dim=3,
        z_dim=16,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
    ).save_pretrained(root / "vae")
    text = UMT5Config(vocab_size=32, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    UMT5EncoderModel(text).save_pretrained(root / "text_encoder")
    make_tokenizer(root / "tokenizer")
    if with_picture:
        _make_seer(root)
    scheduler = {"_class_name": "UniPCMultistepScheduler", "flow_shift": 3.0}
    (root / "scheduler").mkdir()
    (root / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    (root / "model_index.json").write_text(json.dumps({"_class_name": "WanPipeline"}))
    return root


def _make_seer(root: Path) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    sizes = {"hidden_size": 16, "intermediate_size": 16, "projection_dim": 16}
    depth = {"num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    CLIPVisionModel(CLIPVisionConfig(**sizes, **depth)).save_pretrained(root / "image_encoder")
    (root / "image_processor").mkdir()
    three = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}
    (root / "image_processor" / "preprocessor_config.json").write_text(json.dumps(three))


def make_tokenizer(folder: Path) -> None:
    """One token a word."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "</s>", "<unk>", *dict.fromkeys(WORDS)]
    tokenizer = Tokenizer(WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)

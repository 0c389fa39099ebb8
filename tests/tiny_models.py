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


def make_ltx2(root: Path) -> Path:
    """An LTX-2 model: two blocks, latents of 128 channels a 32nd of the size, sound at 24 kHz."""
    from diffusers import (
        AutoencoderKLLTX2Audio,
        AutoencoderKLLTX2Video,
        LTX2VideoTransformer3DModel,
    )
    from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
    from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder

    torch.manual_seed(0)
    network = LTX2VideoTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        cross_attention_dim=16,
        audio_num_attention_heads=2,
        audio_attention_head_dim=4,
        audio_cross_attention_dim=8,
        num_layers=2,
        caption_channels=16,
    )
    network.save_pretrained(root / "transformer")
    scheduler = {
        "_class_name": "FlowMatchEulerDiscreteScheduler",
        "use_dynamic_shifting": True,
        "base_image_seq_len": 1024,
        "max_image_seq_len": 4096,
        "base_shift": 0.95,
        "max_shift": 2.05,
        "shift_terminal": 0.1,
    }
    (root / "scheduler").mkdir()
    (root / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    _make_distilled(root / "ltx-2-19b-distilled-lora-384.safetensors")
    video = AutoencoderKLLTX2Video(
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 16, 32),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )
    # Its latents' statistics are as many as its base channels: 8 channels of 16 bins.
    audio = AutoencoderKLLTX2Audio(base_channels=128, ch_mult=(1, 1, 1), num_res_blocks=1)
    for coder, name in ((video, "vae"), (audio, "audio_vae")):
        coder.latents_mean.normal_()
        coder.latents_std.uniform_(0.5, 2.0)
        coder.save_pretrained(root / name)
    LTX2LatentUpsamplerModel(mid_channels=32, num_blocks_per_stage=1).save_pretrained(
        root / "latent_upsampler"
    )
    LTX2Vocoder(
        hidden_channels=32, resnet_kernel_sizes=[3], resnet_dilations=[[1]]
    ).save_pretrained(root / "vocoder")
    _make_reader(root)
    (root / "model_index.json").write_text(json.dumps({"_class_name": "LTX2Pipeline"}))
    return root


def _make_distilled(path: Path) -> None:
    """A difference of rank 2 to one layer, with the names that the makers give."""
    from safetensors.torch import save_file

    where = "diffusion_model.transformer_blocks.0.attn1.to_q"
    save_file(
        {
            f"{where}.lora_A.weight": torch.randn(2, 16),
            f"{where}.lora_B.weight": torch.randn(16, 2),
        },
        path,
    )


def _make_reader(root: Path) -> None:
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
    seen = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = Gemma3Config(
        text_config={**sizes, **heads, "vocab_size": 32},
        vision_config={**seen, "num_attention_heads": 2, "image_size": 28, "patch_size": 14},
    )
    Gemma3ForConditionalGeneration(config).save_pretrained(root / "text_encoder")
    make_tokenizer(root / "tokenizer")
    LTX2TextConnectors(
        caption_channels=16,
        text_proj_in_factor=3,
        video_connector_num_attention_heads=2,
        video_connector_attention_head_dim=8,
        video_connector_num_layers=1,
        audio_connector_num_attention_heads=2,
        audio_connector_attention_head_dim=8,
        audio_connector_num_layers=1,
    ).save_pretrained(root / "connectors")


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


def make_depth(root: Path) -> Path:
    """A Depth Anything model: two layers of 16 features over patches of 14 pixels.

    Its weights are larger than a fresh network's, so that it tells one picture from another.
    """
    from transformers import (
        DepthAnythingConfig,
        DepthAnythingForDepthEstimation,
        Dinov2Config,
    )

    torch.manual_seed(0)
    seer = Dinov2Config(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=56,
        patch_size=14,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=seer,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[4, 8, 12, 16],
        fusion_hidden_size=8,
        head_hidden_size=4,
    )
    network = DepthAnythingForDepthEstimation(config)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn_like(weight) / weight[0].numel() ** 0.5)
        network.head.conv3.weight.abs_()
    network.save_pretrained(root)
    # As the published configuration has it, which an earlier transformers wrote.
    written = json.loads((root / "config.json").read_text())
    written |= {"backbone": None, "backbone_kwargs": None, "torch_dtype": "float32"}
    written |= {"use_pretrained_backbone": False, "use_timm_backbone": False}
    (root / "config.json").write_text(json.dumps(written))
    three = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    told = {"size": {"height": 56, "width": 56}, "keep_aspect_ratio": True, **three}
    (root / "preprocessor_config.json").write_text(json.dumps(told))
    return root

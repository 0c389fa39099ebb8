"""The production models that a buyer may ask for by name, beside the embedded ones.

A name stands for one revision of one repository for ever: a newer revision gets a name of its own.
So a plan that names a model names its weights, and two providers that offer it offer the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

EMBEDDED = "embedded"
"""In a spec's field `model`: what comes with reelmesh."""
MAX_SIDE = 1024
"""Longest side of a production model's clip, in pixels."""


@dataclass(frozen=True)
class Model:
    """One production model.

    Attributes:
        repository: id on the hub, `owner/name`.
        revision: the commit there, 40 hex digits.
        family: whose architecture it is; stages of one name may have code for each.
        kinds: kinds of job it makes; empty for one that only serves a stage.
        folders: stage → the repository's folders that it loads, "." is the top; or, by its whole
            path, a single file of weights.
        skip: files, by pattern, that are not taken though they lie in those folders.
        weights_mb: stage → MiB of those folders' weights as they are loaded.
        dtype: what it computes in on a GPU; a CPU computes in float32.
        fps, width, height: what it was trained to make.
        stride: width and height are multiples of it, in pixels.
        frame_stride: it makes frame_stride x n + 1 frames.
        max_frames: the most at once.
        latent_channels, latent_stride: of its latent; pixels to one of the latent's places.
        text_bytes: of what its text encoder makes of a prompt and a negative.
        decode_bytes: memory for each of a clip's pixels while it is decoded.
        audio_rate, audio_width: places a second of its sound's latent, and the features of one; 0
            where it makes no sound.
        width_hidden: features a token in its denoiser; says how attention weighs in its cost.
        guidance: classifier-free guidance that suits it.
        negative: what the guidance leads away from.
        caches: step caches that its denoiser can run with.
        reference_s: stage → seconds of the reference GPU for one unit: see `cost.REFERENCE`.
    """

    name: str
    repository: str
    revision: str
    kinds: tuple[str, ...]
    summary: str
    licence: str
    folders: Mapping[str, tuple[str, ...]]
    weights_mb: Mapping[str, int]
    family: Literal["wan", "ltx2", "depth_anything"] = "wan"
    skip: tuple[str, ...] = ()
    dtype: str = "bfloat16"
    fps: int = 16
    width: int = 832
    height: int = 480
    stride: int = 16
    frame_stride: int = 4
    max_frames: int = 81
    latent_channels: int = 16
    latent_stride: int = 8
    text_bytes: int = 2 * 512 * 4096 * 4
    decode_bytes: int = 16
    audio_rate: int = 0
    audio_width: int = 0
    width_hidden: int = 1536
    guidance: float = 5.0
    negative: str = ""
    caches: tuple[str, ...] = ()
    reference_s: Mapping[str, float] = field(default_factory=dict)

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages it has a part in."""
        return tuple(self.folders)

    @property
    def begins_with_picture(self) -> bool:
        """Whether it makes a clip out of a picture."""
        return "encode_first_frame" in self.folders

    @property
    def gives_sound(self) -> bool:
        """Whether it makes a sound for pictures that are there already."""
        return "denoise_audio" in self.folders

    @property
    def doubles(self) -> bool:
        """Whether it makes a clip at half the video's size, doubles and refines it."""
        return "upsample_latent" in self.folders

    @property
    def video_stride(self) -> int:
        """What the sides of its finished video are multiples of, in pixels."""
        return 2 * self.stride if self.doubles else self.stride

    @property
    def pinned(self) -> str:
        """`owner/name@revision`."""
        return f"{self.repository}@{self.revision}"

    @property
    def max_seconds(self) -> float:
        """The longest clip."""
        return self.max_frames / self.fps

    def frames_for(self, seconds: float) -> int:
        """Frames that it makes for a video of so many seconds: frame_stride x n + 1."""
        steps = max(1, -(-round(seconds * self.fps) // self.frame_stride))
        return min(self.max_frames, steps * self.frame_stride + 1)


_WAN_NEGATIVE = (
    "bright colours, overexposed, static, blurred details, subtitles, painting, still picture, "
    "overall grey, worst quality, low quality, JPEG residue, ugly, incomplete, extra fingers, "
    "deformed, disfigured, misshapen limbs, fused fingers, messy background, walking backwards"
)
_WAN_FOLDERS: Mapping[str, tuple[str, ...]] = {
    "encode_prompt": ("tokenizer", "text_encoder"),
    "denoise": ("transformer", "scheduler"),
    "decode_latent": ("vae",),
}

_LTX_NEGATIVE = (
    "shaky, glitchy, low quality, worst quality, deformed, distorted, disfigured, motion smear, "
    "motion artifacts, fused fingers, bad anatomy, weird hand, ugly, transition, static"
)
_LTX_DISTILLED = "ltx-2-19b-distilled-lora-384.safetensors"

_ALL = (
    Model(
        name="wan-t2v",
        repository="Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
        revision="0fad780a534b6463e45facd96134c9f345acfa5b",
        kinds=("text_to_video",),
        summary="Wan 2.1, 1.3 B parameters: text to video, 480p",
        licence="Apache-2.0",
        folders=_WAN_FOLDERS,
        weights_mb={"encode_prompt": 10_900, "denoise": 2_700, "decode_latent": 500},
        negative=_WAN_NEGATIVE,
        caches=("first_block", "mag"),
        reference_s={"encode_prompt": 1.0, "denoise": 26.0, "decode_latent": 0.1},
    ),
    Model(
        name="wan-t2v-14b",
        repository="Wan-AI/Wan2.1-T2V-14B-Diffusers",
        revision="38ec498cb3208fb688890f8cc7e94ede2cbd7f68",
        kinds=("text_to_video",),
        summary="Wan 2.1, 14 B parameters: text to video, 480p and 720p",
        licence="Apache-2.0",
        folders=_WAN_FOLDERS,
        weights_mb={"encode_prompt": 10_900, "denoise": 27_300, "decode_latent": 500},
        width_hidden=5120,
        negative=_WAN_NEGATIVE,
        caches=("first_block", "mag"),
        reference_s={"encode_prompt": 1.0, "denoise": 280.0, "decode_latent": 0.1},
    ),
    Model(
        name="wan-i2v",
        repository="Wan-AI/Wan2.1-I2V-14B-480P-Diffusers",
        revision="b184e23a8a16b20f108f727c902e769e873ffc73",
        kinds=("image_to_video",),
        summary="Wan 2.1, 14 B parameters: image to video, 480p",
        licence="Apache-2.0",
        folders={
            **_WAN_FOLDERS,
            "encode_first_frame": ("image_encoder", "image_processor", "vae"),
        },
        weights_mb={
            "encode_prompt": 10_900,
            "encode_first_frame": 3_000,
            "denoise": 31_300,
            "decode_latent": 500,
        },
        width_hidden=5120,
        negative=_WAN_NEGATIVE,
        caches=("first_block", "mag"),
        reference_s={
            "encode_prompt": 1.0,
            "encode_first_frame": 0.15,
            "denoise": 320.0,
            "decode_latent": 0.1,
        },
    ),
    Model(
        name="ltx-2",
        repository="Lightricks/LTX-2",
        revision="dfcc2108383fe1aaa0584bdf55d368a4bdadd90c",
        kinds=("text_to_video",),
        summary="LTX-2, 19 B parameters: text to video with sound, made small and refined at "
        "twice; sound for other models' clips",
        licence="LTX-2 Community",
        folders={
            "encode_prompt": ("tokenizer", "text_encoder", "connectors"),
            "denoise": ("transformer", "scheduler"),
            "upsample_latent": ("latent_upsampler", "vae"),
            "refine_latent": ("transformer", "scheduler", _LTX_DISTILLED),
            "decode_latent": ("vae",),
            "decode_audio": ("audio_vae", "vocoder"),
            "encode_frames": ("vae",),
            "denoise_audio": ("transformer", "scheduler"),
        },
        weights_mb={
            "encode_prompt": 26_000,
            "denoise": 36_000,
            "upsample_latent": 1_000,
            "refine_latent": 36_000,
            "decode_latent": 2_400,
            "decode_audio": 450,
            "encode_frames": 2_400,
            "denoise_audio": 36_000,
        },
        family="ltx2",
        # The text encoder once more, under another name.
        skip=("text_encoder/diffusion_pytorch_model*",),
        fps=24,
        width=768,
        height=512,
        stride=32,
        frame_stride=8,
        max_frames=241,
        latent_channels=128,
        latent_stride=32,
        text_bytes=4 * 1024 * 3840 * 4,
        decode_bytes=128,
        audio_rate=25,
        audio_width=128,
        width_hidden=4096,
        guidance=4.0,
        negative=_LTX_NEGATIVE,
        reference_s={
            "encode_prompt": 2.0,
            "denoise": 380.0,
            "upsample_latent": 0.02,
            "refine_latent": 380.0,
            "decode_latent": 0.1,
            "decode_audio": 0.05,
            # Not measured: as long as the way back, which has more layers.
            "encode_frames": 0.1,
            # Not measured: the same network over the same tokens as `denoise`.
            "denoise_audio": 380.0,
        },
    ),
    Model(
        name="depth-anything-v2-small",
        repository="depth-anything/Depth-Anything-V2-Small-hf",
        revision="5426e4f0f36572d16453bbda7a8389317b1bef99",
        kinds=("video_to_4d",),
        summary="Depth Anything V2, 25 M parameters: how near things in a picture are",
        licence="Apache-2.0",
        folders={"depth": (".",)},
        weights_mb={"depth": 95},
        family="depth_anything",
        fps=60,
        width=518,
        height=518,
        stride=2,
        max_frames=1200,
        reference_s={"depth": 0.1},
    ),
)

MODELS: Mapping[str, Model] = MappingProxyType({model.name: model for model in _ALL})
"""Every production model that this version knows, by name."""


def check_model(name: str, kind: str, seconds: float, size: tuple[int, int]) -> None:
    """That a model makes such a video. Raises ValueError with one plain line."""
    if name == EMBEDDED:
        return
    known, what = MODELS.get(name), kind.replace("_", " ")
    if known is None:
        raise ValueError(f"no model is named {name[:40]!r}; there are {', '.join(MODELS)}")
    if kind not in known.kinds:
        raise ValueError(f"the model {name} does not make {what}")
    if seconds > known.max_seconds:
        raise ValueError(f"the model {name} makes at most {known.max_seconds:.1f} seconds")
    stride = known.video_stride
    if max(size) > MAX_SIDE or any(side % stride for side in size):
        raise ValueError(
            f"the model {name} makes sides that are multiples of {stride}, up to {MAX_SIDE}"
        )


def check_audio_model(name: str, model: str, seconds: float) -> None:
    """That a model of sound goes with the pictures' model and the video's length.

    Raises ValueError with one plain line.
    """
    able = [known.name for known in MODELS.values() if known.gives_sound]
    if name not in able:
        raise ValueError(
            f"no model that makes sound for pictures is named {name[:40]!r}; "
            f"there is {', '.join(able)}"
        )
    pictures = MODELS.get(model)
    if pictures is not None and pictures.audio_rate:
        raise ValueError(f"the model {model} makes its own sound, with its pictures")
    most = MODELS[name].max_seconds
    if seconds > most:
        raise ValueError(f"the model {name} makes sound for at most {most:.1f} seconds")


def offering(stage: str, model: str = "") -> str:
    """What is bid on and paid for: a stage, or `stage@model` where a production model runs it."""
    return f"{stage}@{model}" if model else stage


def split_offering(name: str) -> tuple[str, str]:
    """(stage, model) of an offering; model is "" for a stage's embedded backend."""
    stage, _, model = name.partition("@")
    return stage, model


def find(wanted: str) -> Model | None:
    """The model of a name, of `owner/name` or of `owner/name@revision`; None where none is."""
    for model in MODELS.values():
        if wanted in (model.name, model.repository, model.pinned):
            return model
    return None

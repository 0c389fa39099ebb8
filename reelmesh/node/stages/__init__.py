"""The stages: torch and PyAV code that turns artifacts into artifacts, one file each.

    stage = load_stage("upscale")
    stage.load(torch.device("cpu"))
    outputs = stage.run(params, {"frames": path}, StageContext(device, workdir))

This module imports nothing heavy; a stage's libraries come in when it is loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .base import StageCancelled, StageFailed

if TYPE_CHECKING:
    from reelmesh.node.models.shelf import Installed

    from .base import Stage

__all__ = ["STAGES", "StageCancelled", "StageFailed", "load_stage"]

#: Stage name → (module, class).
STAGES: dict[str, tuple[str, str]] = {
    "encode_text": ("encode_text", "EncodeText"),
    "skeleton": ("skeleton", "Skeleton"),
    "decode": ("decode", "Decode"),
    "interpolate": ("interpolate", "Interpolate"),
    "upscale": ("upscale", "Upscale"),
    "encode_video": ("encode_video", "EncodeVideo"),
    "assemble": ("assemble", "Assemble"),
    "encode_image": ("encode_image", "EncodeImage"),
    "animate": ("animate", "Animate"),
    "anchor": ("anchor", "Anchor"),
    "preview": ("preview", "Preview"),
    "encode_prompt": ("encode_prompt", "EncodePrompt"),
    "encode_first_frame": ("encode_first_frame", "EncodeFirstFrame"),
    "denoise": ("denoise", "Denoise"),
    "decode_latent": ("decode_latent", "DecodeLatent"),
    "upsample_latent": ("upsample_latent", "UpsampleLatent"),
    "refine_latent": ("refine_latent", "RefineLatent"),
    "decode_audio": ("decode_audio", "DecodeAudio"),
    "encode_frames": ("encode_frames", "EncodeFrames"),
    "denoise_audio": ("denoise_audio", "DenoiseAudio"),
    "repair": ("repair", "Repair"),
    "decode_video": ("decode_video", "DecodeVideo"),
    "carry_on": ("carry_on", "CarryOn"),
    "restyle": ("restyle", "Restyle"),
    "find_events": ("find_events", "FindEvents"),
    "render_sound": ("render_sound", "RenderSound"),
    "speech": ("speech", "Speech"),
    "mux": ("mux", "Mux"),
    "refine": ("refine", "Refine"),
    "upscale_tile": ("upscale_tile", "UpscaleTile"),
    "join_tiles": ("join_tiles", "JoinTiles"),
    "depth": ("depth", "Depth"),
    "steady_depth": ("steady_depth", "SteadyDepth"),
    "warp": ("warp", "Warp"),
    "refine_views": ("refine_views", "RefineViews"),
    "retime_views": ("retime_views", "RetimeViews"),
    "view_layers": ("view_layers", "ViewLayers"),
    "pack_4d": ("pack_4d", "Pack4d"),
}

#: The same for a stage that a family of production models has code of its own for.
OF_FAMILY: dict[tuple[str, str], tuple[str, str]] = {
    ("encode_prompt", "ltx2"): ("ltx2.encode_prompt", "EncodePrompt"),
    ("denoise", "ltx2"): ("ltx2.denoise", "Denoise"),
    ("decode_latent", "ltx2"): ("ltx2.decode_latent", "DecodeLatent"),
    ("depth", "depth_anything"): ("depth_anything", "DepthAnything"),
}


def load_stage(name: str, model: Installed | None = None) -> Stage:
    """A new instance of a stage; its model is not loaded yet.

    Args:
        model: the production model that runs it; None for its embedded backend.

    Raises:
        StageFailed: "unknown_stage", or "not_installed" where a library is missing.
    """
    try:
        module, cls = STAGES[name]
        if model is not None:
            module, cls = OF_FAMILY.get((name, model.model.family), (module, cls))
    except KeyError:
        raise StageFailed(
            "unknown_stage", f"there is no stage {name[:40]!r}", "update reelmesh"
        ) from None
    try:
        found: Any = getattr(import_module(f"{__name__}.{module}"), cls)
    except ImportError as error:
        raise StageFailed(
            "not_installed", f"stage {name} needs a package: {error}", "run: make setup"
        ) from error
    made: Stage = found(model) if model is not None else found()
    return made

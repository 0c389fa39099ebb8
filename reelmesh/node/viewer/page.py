"""One HTML file that needs nothing else: no network, no other file.

The page's code is ours and comes from this package; what providers made goes in as data alone,
and the page's own policy lets nothing run or load besides.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib.resources import files
from pathlib import Path

from reelmesh.node.layered import read_layers
from reelmesh.scheduler.camera import (
    FARTHEST,
    MAX_PITCH,
    MAX_YAW,
    NEAREST,
    SOURCE_FOV,
    USUAL_FOV,
    CameraPath,
)

_SAMPLES = 64


def write_page(video: Path, out: Path, camera: CameraPath, seconds: float, title: str) -> None:
    """Write the page for a video_to_4d job's MP4 beside it, whole or not at all.

    Args:
        camera: the path that the video was made along; the page starts by following it.

    Raises NoLayers, OSError.
    """
    page = make_page(read_layers(video), camera, seconds, title)
    staging = out.with_name(f".{out.name}.part")
    staging.write_bytes(page)
    staging.replace(out)


def make_page(layers: bytes, camera: CameraPath, seconds: float, title: str) -> bytes:
    """The page's bytes. `title` may be any text."""
    folder = files(__package__)
    script, style = (
        folder.joinpath(name).read_text("utf-8") for name in ("viewer.js", "viewer.css")
    )
    poses = [camera.at(seconds * i / (_SAMPLES - 1)) for i in range(_SAMPLES)]
    told = {
        "path": [[round(value, 4) for value in pose] for pose in poses],
        "seconds": seconds,
        "maxYaw": MAX_YAW,
        "maxPitch": MAX_PITCH,
        "nearest": NEAREST,
        "farthest": FARTHEST,
        "sourceFov": SOURCE_FOV,
        "fov": USUAL_FOV,
    }
    values = {
        "TITLE": html.escape(title),
        "STYLE": style,
        "STYLE_HASH": _csp_hash(style),
        "SCRIPT": script,
        "SCRIPT_HASH": _csp_hash(script),
        "TOLD": json.dumps(told),
        "LAYERS": base64.b64encode(layers).decode(),
    }
    parts = folder.joinpath("viewer.html").read_text("utf-8").split("@@")
    return "".join(values[p] if i % 2 else p for i, p in enumerate(parts)).encode()


def _csp_hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

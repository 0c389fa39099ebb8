"""speech: a line of text → somebody saying it, by flite."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from .base import NO_MODEL, StageContext, StageFailed, model_id
from .sounds import RATE, Pcm, write_sound

_TIMEOUT_S = 60
_FASTEST = 0.7  # of the usual length; below it speech is hard to follow
_FADE_S = 0.08
#: Style → voice, and pitch in Hz where it is not the voice's own (the diphone voices take one).
_VOICES: Mapping[str, tuple[str, int | None]] = {
    "natural": ("slt", None),
    "wooden": ("rms", None),
    "metallic": ("kal16", 75),
    "cartoon": ("kal16", 240),
    "soft": ("awb", None),
}


class Speech:
    """Output `sound`: one channel, at most `params.seconds` long, without silence at either end."""

    name = "speech"
    version = 1

    def __init__(self) -> None:
        self.model_hash = NO_MODEL
        self._program = ""

    def load(self, device: torch.device) -> None:  # noqa: ARG002
        """Finds flite and names it by its bytes and those of its voices."""
        program = shutil.which("flite")
        if program is None:
            raise StageFailed(
                "not_installed", "speech needs flite", "install it (Debian: apt-get install flite)"
            )
        if self.model_hash == NO_MODEL:
            digest = hashlib.sha256()
            for file in _files(Path(program).resolve()):
                digest.update(hashlib.sha256(file.read_bytes()).digest())
            self.model_hash = model_id(digest.digest(), "16 kHz")
        self._program = program

    def run(
        self,
        params: Any,
        inputs: Mapping[str, Path],  # noqa: ARG002
        ctx: StageContext,
    ) -> dict[str, Path]:
        """Speaks `params.text`. Raises StageFailed, StageCancelled."""
        ctx.progress(0.0, "speaking")
        said = _trimmed(self._say(params, ctx, 1.0))
        if said.shape[1] > params.seconds * RATE:
            faster = max(_FASTEST, 0.98 * params.seconds * RATE / said.shape[1])
            ctx.progress(0.5, "speaking faster")
            said = _trimmed(self._say(params, ctx, faster))
        said = _ended(said, int(params.seconds * RATE))
        ctx.step(said.tobytes())
        path = write_sound(ctx.workdir / "sound.flac", said)
        ctx.progress(1.0)
        return {"sound": path}

    def _say(self, params: Any, ctx: StageContext, stretch: float) -> Pcm:
        text, wave = ctx.workdir / "line.txt", ctx.workdir / "line.wav"
        text.write_text(params.text + "\n", encoding="ascii")
        voice, pitch = _VOICES[params.style]
        command = [self._program, "-voice", voice, "--setf", f"duration_stretch={stretch:.3f}"]
        if pitch is not None:
            command += ["--setf", f"int_f0_target_mean={pitch}"]
        command += ["-f", str(text), "-o", str(wave)]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise StageFailed("internal", f"flite did not run: {type(error).__name__}") from error
        text.unlink()
        if done.returncode != 0 or not wave.is_file():
            told = done.stderr.decode(errors="replace").strip()[:120]
            raise StageFailed("internal", f"flite failed: {told or done.returncode}")
        said = _read_wave(wave)
        wave.unlink()
        return said


def _files(program: Path) -> list[Path]:
    """The program and the voices that lie in the system's library folders beside it."""
    folders = [program.parent.parent / "lib", *(program.parent.parent / "lib").glob("*-linux-gnu")]
    found = {file.resolve() for folder in folders for file in folder.glob("libflite*.so.*")}
    return [program, *sorted(found, key=lambda file: file.name)]


def _read_wave(path: Path) -> Pcm:
    resampler = av.AudioResampler("s16", "mono", RATE)
    blocks = []
    with av.open(str(path), "r", format="wav") as file:
        for frame in [*file.decode(audio=0), None]:
            blocks += [out.to_ndarray().reshape(1, -1) for out in resampler.resample(frame)]
    if not blocks:
        raise StageFailed("internal", "flite said nothing", "word the quoted line in another way")
    return np.concatenate(blocks, axis=1)


def _trimmed(said: Pcm) -> Pcm:
    """Without silence before and after, and without an edge at either end."""
    loud = np.flatnonzero(np.abs(said[0].astype(np.int32)) > 300)
    if not len(loud):
        return said
    margin = RATE // 50
    first, stop = max(0, int(loud[0]) - margin), int(loud[-1]) + margin
    return _faded(said[:, first:stop], margin, margin)


def _ended(said: Pcm, most: int) -> Pcm:
    """Cut to `most` samples, fading out where it is cut."""
    if said.shape[1] <= most:
        return said
    return _faded(said[:, :most], 1, int(_FADE_S * RATE))


def _faded(said: Pcm, rise: int, fall: int) -> Pcm:
    soft = said.astype(np.float64)
    soft[:, :rise] *= np.linspace(0, 1, rise)
    soft[:, -fall:] *= np.linspace(1, 0, fall)
    faded: Pcm = np.rint(soft).astype(np.int16)
    return faded

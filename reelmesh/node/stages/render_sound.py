"""render_sound: events in a style, and perhaps a spoken line → the video's sound."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .base import ModelFree, StageContext, bad_input, one_thread_opencv
from .events import read_events
from .sounds import RATE, read_sound, to_pcm, write_sound
from .synth.mix import mixed


class RenderSound(ModelFree):
    """Inputs `events` and, where `params.speech`, `speech`; output `sound`: stereo FLAC."""

    name = "render_sound"
    version = 1

    def run(self, params: Any, inputs: Mapping[str, Path], ctx: StageContext) -> dict[str, Path]:
        """Makes the sound. Raises StageFailed ("bad_input"), StageCancelled."""
        events = read_events(inputs["events"])
        if abs(events.seconds - params.seconds) > 1e-3:
            raise bad_input(f"the events are of {events.seconds} s, not of {params.seconds} s")
        speech = None
        if params.speech:
            speech = read_sound(inputs["speech"], params.seconds).mean(axis=0) / 32767
        ctx.progress(0.1, "making the sound")
        with one_thread_opencv():
            sound = mixed(
                events, params.seconds, params.style, params.ambience, params.seed, speech
            )
        pcm = to_pcm(sound)
        if pcm.shape[1] != round(params.seconds * RATE):
            raise bad_input("the sound came out at another length")
        ctx.step(pcm.tobytes())
        path = write_sound(ctx.workdir / "sound.flac", pcm)
        ctx.progress(1.0)
        return {"sound": path}

"""One set of options for every command that makes a job."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

from reelmesh.node.cli import asking, job
from reelmesh.node.cli.asking import build_request
from reelmesh.node.cli.options import SPEC_FIELDS, JobOptions
from reelmesh.node.cli.submitting import InvalidOption
from reelmesh.scheduler.spec import TextToVideo


@pytest.mark.parametrize("command", [job.submit, job.estimate])
def test_a_command_has_every_option(command: object) -> None:
    taken = inspect.signature(command).parameters  # type: ignore[arg-type]
    shared = [field.name for field in dataclasses.fields(JobOptions)]
    assert list(taken)[: len(shared)] == shared
    assert "options" not in taken


def test_what_the_buyer_leaves_out_is_the_specs_own_default() -> None:
    spec = build_request(JobOptions(prompt="a red ball", seed=3)).spec
    assert spec == TextToVideo(prompt="a red ball", seed=3)
    asked = build_request(JobOptions(prompt="a red ball", seconds=2.0, fps=12, steps=8)).spec
    assert isinstance(asked, TextToVideo)
    assert (asked.seconds, asked.fps, asked.steps) == (2.0, 12, 8)


def test_an_option_that_the_kind_does_not_have_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asking, "SPEC_FIELDS", (*SPEC_FIELDS, "size"))
    with pytest.raises(InvalidOption, match="--size means nothing for text to video"):
        build_request(JobOptions(prompt="a red ball", size="512x512"))


def test_who_makes_the_sound_is_an_option_and_is_told() -> None:
    asked = JobOptions(prompt='a red ball says "hi"', seed=3, audio=True, audio_model="ltx-2")
    request = build_request(asked)
    assert request.spec.audio_model == "ltx-2"  # type: ignore[attr-defined]
    assert any("needs a provider with ltx-2" in note for note in request.notes)
    assert not any("flite" in note for note in request.notes)
    plain = build_request(dataclasses.replace(asked, audio_model=None))
    assert any("flite" in note for note in plain.notes)
    wan = dataclasses.replace(asked, model="wan-t2v", size="832x480")
    assert any("needs a provider with ltx-2" in note for note in build_request(wan).notes)


def test_options_and_spec_fields_have_the_same_names() -> None:
    assert set(SPEC_FIELDS) <= {field.name for field in dataclasses.fields(JobOptions)}

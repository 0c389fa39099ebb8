"""The catalogue (what the market knows) and the torch code (what runs) say the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from reelmesh.node.models.shelf import Installed
from reelmesh.node.stages import STAGES, StageFailed, load_stage
from reelmesh.node.stages.production import ProductionStage
from reelmesh.node.worker.samples import _SAMPLES
from reelmesh.scheduler.models import MODELS
from reelmesh.scheduler.stages import CATALOGUE


def test_same_names() -> None:
    assert set(STAGES) == set(CATALOGUE)


@pytest.mark.parametrize("name", sorted(STAGES))
def test_same_name_and_version(name: str) -> None:
    stage = load_stage(name)
    assert (stage.name, stage.version) == (name, CATALOGUE[name].version)


def test_every_stage_can_be_measured() -> None:
    assert set(_SAMPLES) == {name for name, entry in CATALOGUE.items() if entry.embedded}
    for name, entry in CATALOGUE.items():
        for model in entry.models:
            stage = load_stage(name, Installed(MODELS[model], Path(model)))
            assert isinstance(stage, ProductionStage)
            assert (stage.name, stage.version) == (name, entry.version)


def test_unknown_stage_is_refused() -> None:
    with pytest.raises(StageFailed) as caught:
        load_stage("../../etc/passwd")
    assert caught.value.reason == "unknown_stage"


def test_worker_package_leaves_torch_out_of_the_node() -> None:
    code = (
        "import sys, reelmesh.node.worker; "
        "heavy = {'torch', 'av', 'cv2', 'transformers'} & set(sys.modules); "
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

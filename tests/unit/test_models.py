"""Production models on disk: what is taken, what is refused, and what names them."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from reelmesh.node.cli.app import outcome
from reelmesh.node.models import hub
from reelmesh.node.models.checking import RefusedModel
from reelmesh.node.models.shelf import MANIFEST, ModelMissing, Shelf, folders_of
from reelmesh.scheduler.models import MODELS, find, offering, split_offering

MODEL = MODELS["wan-t2v"]


def safetensors_bytes(data: bytes = b"\0" * 16) -> bytes:
    header = json.dumps(
        {"w": {"dtype": "F32", "shape": [len(data) // 4], "data_offsets": [0, len(data)]}}
    ).encode()
    return len(header).to_bytes(8, "little") + header + data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in the shape of MODEL's, with a few bytes of weights."""
    root = tmp_path / "given"
    for name in folders_of(MODEL):
        (root / name).mkdir(parents=True)
        (root / name / "config.json").write_text('{"_class_name": "Any"}')
    for name in ("text_encoder", "transformer", "vae"):
        (root / name / "model.safetensors").write_bytes(safetensors_bytes(name.encode()[:4] * 4))
    (root / "model_index.json").write_text("{}")
    (root / "README.md").write_text("not taken")
    return root


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "home" / "models")


def test_each_model_is_pinned_and_found_by_each_of_its_names() -> None:
    for name, model in MODELS.items():
        assert len(bytes.fromhex(model.revision)) == 20
        assert find(name) is find(model.repository) is find(model.pinned) is model
        assert set(model.weights_mb) == set(model.reference_s) == set(model.stages)
        assert model.width % model.stride == model.height % model.stride == 0
        if "denoise" in model.stages:
            assert model.max_frames % model.frame_stride == 1
    assert find("wan-t2v@main") is None


def test_an_offering_names_stage_and_model() -> None:
    assert offering("denoise", "wan-t2v") == "denoise@wan-t2v"
    assert split_offering("denoise@wan-t2v") == ("denoise", "wan-t2v")
    assert split_offering(offering("decode")) == ("decode", "")


def test_a_clip_is_as_long_as_asked_in_the_models_steps() -> None:
    assert MODEL.frames_for(1) == 17
    assert MODEL.frames_for(4) == 65
    assert MODEL.frames_for(60) == 81


def test_a_folder_is_taken_with_every_file_named_by_its_hash(folder: Path, shelf: Shelf) -> None:
    found = shelf.keep(MODEL, folder, "folder", move=False)
    assert (found.folder / "vae" / "model.safetensors").is_file()
    assert not (found.folder / "README.md").exists()
    assert [one.model.name for one in shelf.installed()] == ["wan-t2v"]
    again = shelf.get("wan-t2v")
    again.check()
    assert again.model_hash("bfloat16") == found.model_hash("bfloat16")
    assert again.model_hash("bfloat16") != found.model_hash("float32")


def test_other_bytes_give_another_model_hash(folder: Path, shelf: Shelf) -> None:
    before = shelf.keep(MODEL, folder, "folder", move=False).model_hash("bfloat16")
    (folder / "vae" / "model.safetensors").write_bytes(safetensors_bytes(b"else" * 4))
    assert shelf.keep(MODEL, folder, "folder", move=False).model_hash("bfloat16") != before


def test_a_file_that_changed_after_the_pull_is_found(folder: Path, shelf: Shelf) -> None:
    found = shelf.keep(MODEL, folder, "folder", move=False)
    (found.folder / "vae" / "model.safetensors").write_bytes(safetensors_bytes(b"evil" * 4))
    found.check(("transformer",))
    with pytest.raises(ModelMissing, match="not the file that was pulled"):
        found.check(("vae",))


def _pickled(root: Path) -> None:
    (root / "vae" / "pytorch_model.bin").write_bytes(pickle.dumps({}))


def _linked(root: Path) -> None:
    (root / "vae" / "more.safetensors").symlink_to("/etc/passwd")


def _linked_folder(root: Path) -> None:
    (root / "extra").symlink_to("/")


def _code(root: Path) -> None:
    (root / "transformer" / "modeling.py").write_text("raise SystemExit")


def _auto_map(root: Path) -> None:
    config = {"deep": [{"auto_map": {"AutoModel": "modeling.Model"}}]}
    (root / "text_encoder" / "config.json").write_text(json.dumps(config))


def _huge_json(root: Path) -> None:
    (root / "vae" / "config.json").write_text(" " * (1 << 20) + "{}")


def _deep_json(root: Path) -> None:
    (root / "vae" / "config.json").write_text("[" * 100_000)


def _index_out(root: Path) -> None:
    index = {"weight_map": {"w": "../../../secret.safetensors"}}
    (root / "vae" / "model.safetensors.index.json").write_text(json.dumps(index))


def _cut(root: Path) -> None:
    (root / "vae" / "model.safetensors").write_bytes(safetensors_bytes()[:-4])


def _not_safetensors(root: Path) -> None:
    (root / "vae" / "model.safetensors").write_bytes(pickle.dumps({"w": [1] * 99}))


def _fifo(root: Path) -> None:
    os.mkfifo(root / "vae" / "pipe")


def _no_folder(root: Path) -> None:
    (root / "vae" / "config.json").unlink()
    (root / "vae" / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_pickled, "pickled"), (_linked, "link"), (_linked_folder, "link"), (_code, "is code"),
        (_auto_map, "auto_map"), (_huge_json, "bytes"), (_deep_json, "not as it should"),
        (_index_out, "names the file"), (_cut, "cut short"),
        (_not_safetensors, "not a safetensors"),
        (_fifo, "not a plain file"), (_no_folder, "no folder"),
    ],
)  # fmt: skip
def test_a_hostile_folder_is_refused_and_nothing_is_kept(
    folder: Path, shelf: Shelf, spoil: Callable[[Path], None], why: str
) -> None:
    spoil(folder)
    with pytest.raises(RefusedModel, match=why):
        shelf.keep(MODEL, folder, "folder", move=False)
    assert not list(shelf.installed())
    assert not list(shelf.root.glob("*")) if shelf.root.exists() else True


def test_a_damaged_or_foreign_manifest_is_told_plainly(folder: Path, shelf: Shelf) -> None:
    found = shelf.keep(MODEL, folder, "folder", move=False)
    path = found.folder / MANIFEST
    told = json.loads(path.read_text())
    for wrong in ("{", json.dumps({**told, "revision": "0" * 40}), " " * (2 << 20)):
        path.write_text(wrong)
        with pytest.raises(ModelMissing):
            _ = shelf.get("wan-t2v").manifest
    files = [{**told["files"][0], "path": "../../etc/passwd"}]
    path.write_text(json.dumps({**told, "files": files}))
    with pytest.raises(ModelMissing):
        _ = shelf.get("wan-t2v").manifest


def test_only_safetensors_and_json_are_asked_of_the_hub() -> None:
    asked = hub.patterns(MODEL)
    assert all(name.endswith((".json", ".safetensors")) for name in asked)
    assert {name.split("/")[0] for name in asked} == {*folders_of(MODEL), "model_index.json"}


def test_without_network_a_pull_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert outcome(["model", "pull", "wan-t2v", "--home", str(tmp_path)]) == 5
    said = capsys.readouterr().err
    assert "--from DIR" in said
    assert "Traceback" not in said


def test_the_commands_go_round(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = ["--home", str(tmp_path / "home"), "--json"]
    assert outcome(["model", "pull", MODEL.pinned, "--from", str(folder), *home]) == 0
    pulled = json.loads(capsys.readouterr().out)
    assert outcome(["model", "list", *home]) == 0
    here = [one["name"] for one in json.loads(capsys.readouterr().out) if one["here"]]
    assert here == ["wan-t2v"]
    assert outcome(["model", "show", "wan-t2v", "--check", *home]) == 0
    assert json.loads(capsys.readouterr().out)["model_hash"] == pulled["model_hash"]
    assert outcome(["model", "remove", "wan-t2v", *home]) == 0
    capsys.readouterr()
    assert outcome(["model", "show", "wan-t2v", "--check", *home[:2]]) == 5
    assert "reelmesh model pull wan-t2v" in capsys.readouterr().err
    assert outcome(["model", "pull", f"{MODEL.repository}@{'0' * 40}", *home[:2]]) == 2
    assert MODEL.pinned in capsys.readouterr().err

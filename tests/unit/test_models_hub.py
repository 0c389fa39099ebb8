"""Pulling from a hub: the real client against a small server that speaks like one."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub")

from reelmesh.node.models import hub
from reelmesh.node.models.checking import RefusedModel
from reelmesh.node.models.shelf import Shelf, folders_of
from reelmesh.scheduler.models import MODELS

MODEL = MODELS["wan-t2v"]


def _weights(text: bytes) -> bytes:
    header = b'{"w":{"dtype":"U8","shape":[16],"data_offsets":[0,16]}}'
    return len(header).to_bytes(8, "little") + header + text.ljust(16, b".")


class Hub:
    """One model's files; `stated` are the sha256 that it says its large files have."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"model_index.json": b"{}", "README.md": b"hello"}
        for folder in folders_of(MODEL):
            self.files[f"{folder}/config.json"] = b"{}"
        for folder in ("text_encoder", "transformer", "vae"):
            self.files[f"{folder}/model.safetensors"] = _weights(folder.encode())
            self.files[f"{folder}/pytorch_model.bin"] = b"\x80\x04pickled"
        self.stated = {
            name: hashlib.sha256(data).hexdigest()
            for name, data in self.files.items()
            if name.endswith(".safetensors")
        }
        self.asked: list[str] = []

    def info(self) -> dict[str, Any]:
        siblings = []
        for name, data in self.files.items():
            one: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": "0" * 40}
            if name in self.stated:
                one["lfs"] = {"sha256": self.stated[name], "size": len(data), "pointerSize": 99}
            siblings.append(one)
        return {"id": MODEL.repository, "sha": MODEL.revision, "siblings": siblings}

    def tree(self) -> list[dict[str, Any]]:
        """The same files, as the listing of a revision gives them."""
        rows = []
        for one in self.info()["siblings"]:
            row = {"type": "file", "path": one["rfilename"], "size": one["size"], "oid": "0" * 40}
            if "lfs" in one:
                lfs = one["lfs"]
                row["lfs"] = {"oid": lfs["sha256"], "size": lfs["size"], "pointerSize": 99}
            rows.append(row)
        return rows


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    served = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, *, body: bool) -> None:
            path = self.path.split("?")[0]
            start = f"/{MODEL.repository}/resolve/{MODEL.revision}/"
            if path.startswith("/api/models/"):
                told = served.tree() if "/tree/" in path else served.info()
                self._send(json.dumps(told).encode(), "application/json", body=body)
            elif path.startswith(start) and (name := path[len(start) :]) in served.files:
                served.asked.append(name)
                data = served.files[name]
                etag = served.stated.get(name, hashlib.sha1(data).hexdigest())
                self._send(data, "application/octet-stream", etag, body=body)
            else:
                self.send_error(404)

        def _send(self, data: bytes, kind: str, etag: str = "", *, body: bool) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            if etag:
                self.send_header("ETag", f'"{etag}"')
                self.send_header("X-Repo-Commit", MODEL.revision)
            self.end_headers()
            if body:
                self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            return

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{http.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", here)
    template = here + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield served
    http.shutdown()
    http.server_close()


def test_a_pull_takes_what_it_needs_and_nothing_pickled(server: Hub, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    shelf = Shelf(tmp_path)
    found = hub.pull(shelf, MODEL, lambda *line: told.append(line))
    assert found.manifest.source == "hub"
    here = {one.path for one in found.manifest.files}
    assert here == {name for name in server.files if not name.endswith((".bin", ".md"))}
    assert not [name for name in server.asked if name.endswith((".bin", ".md"))]
    assert told
    assert [path.name for path in tmp_path.iterdir()] == [MODEL.name]
    server.asked.clear()
    assert hub.pull(shelf, MODEL).manifest == found.manifest
    assert not server.asked, "what is here is checked, and not fetched again"


def test_a_file_that_is_not_what_the_hub_states_is_refused(server: Hub, tmp_path: Path) -> None:
    server.stated["vae/model.safetensors"] = "0" * 64
    shelf = Shelf(tmp_path)
    with pytest.raises(RefusedModel, match=r"vae/model\.safetensors is not what the hub says"):
        hub.pull(shelf, MODEL)
    assert not list(shelf.installed())
    # What was good is kept, and the pull goes on from there.
    server.stated["vae/model.safetensors"] = hashlib.sha256(
        server.files["vae/model.safetensors"]
    ).hexdigest()
    assert hub.pull(shelf, MODEL).size > 0


def test_single_files_are_asked_for_by_name_and_unwanted_ones_left() -> None:
    from huggingface_hub.utils import filter_repo_objects

    model = MODELS["ltx-2"]
    lora = "ltx-2-19b-distilled-lora-384.safetensors"
    wanted = ["text_encoder/model-00001-of-00011.safetensors", "transformer/config.json", lora]
    others = [
        "ltx-2-19b-dev.safetensors",
        "text_encoder/diffusion_pytorch_model-00001-of-00011.safetensors",
    ]
    found = filter_repo_objects(
        [*wanted, *others], allow_patterns=hub.patterns(model), ignore_patterns=list(model.skip)
    )
    assert list(found) == wanted

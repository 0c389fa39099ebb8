"""What is kept for later jobs, given again, and shown early, where something else came first."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reelmesh.node.coordinator import previewing, reusing
from reelmesh.node.coordinator.delivering import write_result
from reelmesh.node.coordinator.reusing import remember
from reelmesh.node.layered import box_header
from reelmesh.node.storage.reuse_index import ReuseIndex
from reelmesh.scheduler.ids import SubtaskId
from reelmesh.scheduler.spec import parse_spec
from reelmesh.scheduler.templates import make_plan

NAME = SubtaskId("decode")


class Untouched:
    """Fails the test where it is asked for anything."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


class SimpleReused(SimpleNamespace):
    """Stands for a row's body, of which this test reads nothing."""

    output = SimpleNamespace(sha256="cd" * 32, size=9)

    def model_dump_json(self) -> str:
        return "{}"


async def test_what_another_release_planned_is_not_kept_as_this_ones_work() -> None:
    done = SimpleNamespace(outputs={"frames": object()})
    config = SimpleNamespace(reuse_bytes=1000)
    job: Any = SimpleNamespace(
        services=SimpleNamespace(config=config, kept=Untouched(), store=Untouched()),
        record=SimpleNamespace(release="", spec=parse_spec({"prompt": "a red ball"})),
        state=SimpleNamespace(subtasks={NAME: SimpleNamespace(done=done)}),
    )
    await remember(job, NAME, {})


async def test_what_others_are_about_to_take_in_makes_no_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = parse_spec({"prompt": "a red ball"})
    kept = ReuseIndex(cast("Any", None))
    waiting, taken, delivered, idle = ("ab" * 32, "cd" * 32, "ef" * 32, "12" * 32)
    deleted: list[str] = []

    async def put(*_: object) -> set[str]:
        return {waiting, taken, delivered, idle}

    async def delete(sha256: str) -> None:
        deleted.append(sha256)

    monkeypatch.setattr(kept, "put", put)
    monkeypatch.setattr(reusing, "space_of", lambda _: "here")
    output = SimpleNamespace(sha256=taken)
    done = SimpleNamespace(provider="0x1", outputs={"frames": output}, attestation=None)
    lease = SimpleNamespace(outputs={"frames": SimpleNamespace(sha256=delivered)})
    state = SimpleNamespace(
        subtasks={
            NAME: SimpleNamespace(done=done, lease=None),
            "next": SimpleNamespace(done=None, lease=lease),
        }
    )
    driver: Any = SimpleNamespace(
        ended=False,
        state=state,
        record=SimpleNamespace(
            release=reusing.this_release(),
            spec=job,
            job_id="0x2",
            plan=make_plan(job),
            similar=None,
        ),
        services=SimpleNamespace(
            config=SimpleNamespace(reuse_bytes=1),
            kept=kept,
            store=SimpleNamespace(delete=delete),
            clock_ms=lambda: 1,
        ),
    )
    monkeypatch.setattr(reusing, "input_artifacts", lambda *_: {})
    monkeypatch.setattr(reusing, "Reused", SimpleReused)
    with kept.holding([waiting]):
        await remember(driver, NAME, {b"": driver})
    assert deleted == [idle]
    assert not kept.held


async def test_a_preview_that_was_paid_for_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    async def make(_frames: Path, path: Path, _params: object) -> None:
        made.append(path)
        path.write_bytes(b"film")

    async def found(_sha256: str) -> Path:
        return tmp_path

    monkeypatch.setattr(previewing, "make_preview", make)
    done = SimpleNamespace(outputs={"frames": SimpleNamespace(sha256="ab" * 32)})
    record = SimpleNamespace(
        job_id="0x12",
        preview_path=tmp_path / "one.preview.mp4",
        spec=parse_spec({"prompt": "a red ball"}),
    )
    job: Any = SimpleNamespace(
        services=SimpleNamespace(
            config=SimpleNamespace(previews=True), store=SimpleNamespace(path=found)
        ),
        record=record,
        state=SimpleNamespace(subtasks={NAME: SimpleNamespace(done=done)}),
        note=lambda *_: None,
    )
    (tmp_path / "one.preview.receipt.json").write_text("{}")
    await previewing.show_preview(job, NAME)
    assert not made
    (tmp_path / "one.preview.receipt.json").unlink()
    await previewing.show_preview(job, NAME)
    assert record.preview_path.read_bytes() == b"film"


def test_a_4d_video_comes_with_its_page_each_time_it_is_written(tmp_path: Path) -> None:
    asked = {
        "kind": "video_to_4d",
        "prompt": "mine",
        "video": {"sha256": "cd" * 32, "size": 10, "kind": "footage"},
        "camera": {"keyframes": [{"time": 0, "position": [0, 0, 0]}]},
    }
    source = tmp_path / "kept"
    source.write_bytes(b"\0\0\0\x0cftypisom" + box_header(5) + b"hello")
    write_result(parse_spec(asked), source, tmp_path / "out" / "mine.v2.mp4")
    assert (tmp_path / "out" / "mine.v2.html").exists()
    source.write_bytes(b"\0\0\0\x0cftypisom")
    write_result(parse_spec(asked), source, tmp_path / "out" / "bare.mp4")
    assert {f.name for f in (tmp_path / "out").glob("bare*")} == {"bare.mp4"}

"""Passwords come from a prompt or a private file alone."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

import pytest

from reelmesh.node.wallet.passwords import BadPasswordInput, read_password


def _file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "password"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("content", [b"hunter22", b"hunter22\n", b"hunter22\r\n"])
def test_file(tmp_path: Path, content: bytes) -> None:
    assert read_password(_file(tmp_path, content), "Password") == "hunter22"


def test_spaces_are_part_of_the_password(tmp_path: Path) -> None:
    assert read_password(_file(tmp_path, b" a b \n"), "Password") == " a b "


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o666])
def test_file_open_to_the_world_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(BadPasswordInput, match="chmod 600"):
        read_password(_file(tmp_path, b"hunter22", mode), "Password")


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 5000, b"\xff\xfe", b"two\nlines\n"])
def test_bad_content(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BadPasswordInput):
        read_password(_file(tmp_path, content), "Password")


def test_missing_file_folder_and_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    for path in (tmp_path / "none", tmp_path, tmp_path / "fifo"):
        with pytest.raises(BadPasswordInput):
            read_password(path, "Password")


def test_new_password_is_long_enough(tmp_path: Path) -> None:
    with pytest.raises(BadPasswordInput, match="at least 8"):
        read_password(_file(tmp_path, b"short"), "Password", confirm=True)


def test_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(BadPasswordInput, match="no terminal"):
        read_password(None, "Password")


def test_prompt_asks_twice_for_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["password-1", "password-1", "password-1", "password-2"])
    monkeypatch.setattr(getpass, "getpass", lambda _: next(answers))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert read_password(None, "Password", confirm=True) == "password-1"
    with pytest.raises(BadPasswordInput, match="differ"):
        read_password(None, "Password", confirm=True)

"""Passwords come from a prompt or a file, never from an argument or the environment.

Arguments are seen by every user of the machine in the process list, and the environment is handed
down to every child process.
"""

from __future__ import annotations

import getpass
import os
import stat
import sys
from pathlib import Path
from typing import Final

from reelmesh.errors import UserError

MAX_PASSWORD_FILE_BYTES: Final = 4096
MIN_NEW_PASSWORD_CHARS: Final = 8


class BadPasswordInput(UserError):
    """No usable password could be had from where it was to come from."""


def read_password(file: Path | None, prompt: str, confirm: bool = False) -> str:
    """One password, from `file` if given, else asked for at the terminal without echo.

    Args:
        file: UTF-8, at most 4096 bytes, one line; a single trailing newline is dropped. Refused
            when any user of the machine may read or write it.
        prompt: What the person is asked, e.g. "Password of account buyer".
        confirm: The password is a new one: asked twice, at least 8 characters.

    Raises:
        BadPasswordInput: empty, too short, unreadable, world-readable, or no terminal to ask at.
    """
    password = _from_file(file) if file is not None else _from_prompt(prompt, confirm)
    if not password:
        raise BadPasswordInput("the password is empty", "give one of 8 characters or more")
    if confirm and len(password) < MIN_NEW_PASSWORD_CHARS:
        raise BadPasswordInput(
            f"a new password has at least {MIN_NEW_PASSWORD_CHARS} characters", "choose another"
        )
    return password


def _from_file(file: Path) -> str:
    try:
        # O_NONBLOCK: opening a FIFO that nobody writes must not hang.
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as exc:
        raise BadPasswordInput(
            f"cannot read password file {file}: {exc.strerror}", "check its path and owner"
        ) from exc
    try:
        # The mode is checked on the open file, so it cannot be swapped in between.
        _check_mode(file, os.fstat(descriptor).st_mode)
        raw = os.read(descriptor, MAX_PASSWORD_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(raw) > MAX_PASSWORD_FILE_BYTES:
        raise BadPasswordInput(f"password file {file} has over {MAX_PASSWORD_FILE_BYTES} bytes")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise BadPasswordInput(f"password file {file} is not UTF-8 text") from None
    password = text.removesuffix("\n").removesuffix("\r")
    if "\n" in password:
        raise BadPasswordInput(f"password file {file} has more than one line")
    return password


def _check_mode(file: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise BadPasswordInput(f"password file {file} is not a regular file")
    if mode & 0o006:
        raise BadPasswordInput(
            f"password file {file} is open to every user of this machine",
            f"run: chmod 600 {file}",
        )


def _from_prompt(prompt: str, confirm: bool) -> str:
    if not sys.stdin.isatty():
        raise BadPasswordInput(
            "there is no terminal to ask for the password at", "pass --password-file FILE"
        )
    password = getpass.getpass(f"{prompt}: ")
    if confirm and getpass.getpass(f"{prompt} (again): ") != password:
        raise BadPasswordInput("the two passwords differ", "try again")
    return password

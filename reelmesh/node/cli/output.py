"""What every command prints with: one console, one shape of JSON, one shape of error."""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reelmesh.errors import ReelmeshError

if TYPE_CHECKING:
    from rich.console import Console

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def console() -> Console:
    """Return a console on standard output, without wrapping where nobody's terminal is there."""
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=160, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print one JSON document. Amounts of wei are decimal strings already."""
    print(json.dumps(value, indent=2, sort_keys=False, default=str))


def print_error(error: ReelmeshError, *, as_json: bool = False) -> None:
    """Print what is wrong and the next step, to standard error; as one JSON object if asked."""
    if as_json:
        body = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
        print(json.dumps(body), file=sys.stderr)
        return
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"  next: {error.hint}", file=sys.stderr)


def print_defect(error: BaseException) -> None:
    """Say that reelmesh itself is wrong, and where the traceback was written."""
    prefix = "reelmesh-defect-"
    with tempfile.NamedTemporaryFile("w", prefix=prefix, suffix=".txt", delete=False) as file:
        traceback.print_exception(error, file=file)
    line = str(error).splitlines()[0] if str(error) else ""
    print(f"error: a defect in reelmesh: {type(error).__name__}: {line}", file=sys.stderr)
    print(f"  next: please report it with the traceback in {file.name}", file=sys.stderr)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: framed on a terminal, aligned plain columns elsewhere.

    A column whose title starts with ">" is aligned to the right.
    """
    if sys.stdout.isatty():
        _rich_table(title, columns, rows)
        return
    print(f"\n{title}")
    names = [name.lstrip(">") for name in columns]
    widths = [max(len(row[i]) for row in [names, *rows]) for i in range(len(names))]
    for row in [names, *rows]:
        cells = [
            cell.rjust(width) if column.startswith(">") else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ]
        print("  " + "  ".join(cells).rstrip())


def _rich_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    view = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for name in columns:
        right = name.startswith(">")
        view.add_column(name.lstrip(">"), justify="right" if right else "left", no_wrap=right)
    for row in rows:
        view.add_row(*(escape(cell) for cell in row))
    console().print(view)


def shown_path(path: Path) -> str:
    """Return a path as a person would type it: relative where it lies below the current folder."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def say_notes(notes: Sequence[str]) -> None:
    """Tell what is worth knowing before paying, on standard error: --json stays whole."""
    for line in notes:
        print(f"note: {line}", file=sys.stderr)

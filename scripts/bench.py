"""Run every `scripts/bench_*.py`; write `build/bench.json` and `docs/benchmarks.md`.

Each of them prints one JSON object: name → {value, unit, baseline, ratio, target, how}. With names
(`python scripts/bench.py gas plan`) only those are run, and their figures replace the earlier ones.
Exits with 1 where a script fails or a target is missed.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
JSON_FILE = ROOT / "build" / "bench.json"
PAGE = ROOT / "docs" / "benchmarks.md"
LIMIT_S = 1800
AT_LEAST = {
    "adaptive_compute_ratio",
    "adaptive_job_fidelity",
    "adaptive_job_ratio",
    "speedup_2",
    "stream_ratio",
}
"""Figures whose target is a floor; every other target is a ceiling."""

Figures = dict[str, dict[str, Any]]


def main() -> int:
    scripts = _chosen(sys.argv[1:])
    figures = _earlier()
    broken = []
    for script in scripts:
        found = measure(script)
        if found is None:
            broken.append(script.name)
        else:
            figures |= found
    machine = describe_machine()
    JSON_FILE.parent.mkdir(exist_ok=True)
    JSON_FILE.write_text(json.dumps({"machine": machine, "figures": figures}, indent=2) + "\n")
    PAGE.write_text(page(machine, figures))
    missed = [name for name, figure in figures.items() if met(name, figure) is False]
    for what, names in (("failed", broken), ("missed its target", missed)):
        for name in names:
            print(f"{name}: {what}", file=sys.stderr)
    print(f"wrote {JSON_FILE.relative_to(ROOT)} and {PAGE.relative_to(ROOT)}")
    return 1 if broken or missed else 0


def measure(script: Path) -> Figures | None:
    """Run one script; return its figures with the command that makes each, None if it fails."""
    command = f"python {script.relative_to(ROOT)}"
    print(f"{command} …", flush=True)
    began = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, str(script)],
            stdout=subprocess.PIPE,
            text=True,
            timeout=LIMIT_S,
            cwd=ROOT,
            check=True,
        )
        found: Figures = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        print(f"  {type(error).__name__}: {error}", file=sys.stderr)
        return None
    for name, figure in found.items():
        figure["command"] = command
        print(f"  {name} = {number(figure['value'])} {figure.get('unit', '')}")
    print(f"  in {time.monotonic() - began:.0f} s", flush=True)
    return found


def met(name: str, figure: dict[str, Any]) -> bool | None:
    """Say whether a figure meets its target; None where it has none."""
    target = figure.get("target")
    if target is None:
        return None
    value = float(figure["value"])
    return value >= bound(target) if name in AT_LEAST else value <= bound(target)


def bound(target: object) -> float:
    """Return the number in a target: 20, "20" or "<= 20"."""
    return float(str(target).lstrip("<>= "))


def describe_machine() -> dict[str, Any]:
    """What the figures were taken on."""
    import psutil

    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


def page(machine: dict[str, Any], figures: Figures) -> str:
    """Render docs/benchmarks.md."""
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench`. Each figure comes from the command beside it, on this machine:",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB,",
        f"{machine['system']}, Python {machine['python']}, {machine['date']}.",
        "",
        "| figure | value | target | met | against | command |",
        "|---|---|---|---|---|---|",
    ]
    for name in sorted(figures):
        figure = figures[name]
        state = {True: "yes", False: "**no**", None: ""}[met(name, figure)]
        value = f"{number(figure['value'])} {figure.get('unit') or ''}".strip()
        cells = [f"`{name}`", value, _target(name, figure), state, _against(figure)]
        lines.append("| " + " | ".join([*cells, f"`{figure['command']}`"]) + " |")
    lines += ["", "## How each was measured", ""]
    lines += [f"- `{name}`: {figures[name].get('how', '')}" for name in sorted(figures)]
    return "\n".join(lines) + "\n"


def number(value: object) -> str:
    """Write a number with as many digits as mean something."""
    if isinstance(value, int):
        return f"{value:,}"
    amount = float(str(value))
    return f"{amount:,.0f}" if abs(amount) >= 1000 else f"{amount:.4g}"


def _against(figure: dict[str, Any]) -> str:
    baseline, ratio = figure.get("baseline"), figure.get("ratio")
    if baseline is None:
        return ""
    shown = number(baseline) if isinstance(baseline, int | float) else str(baseline)
    return f"{shown} ({number(ratio)}x)" if ratio is not None else shown


def _target(name: str, figure: dict[str, Any]) -> str:
    if figure.get("target") is None:
        return ""
    return f"{'at least' if name in AT_LEAST else 'at most'} {number(bound(figure['target']))}"


def _chosen(names: Sequence[str]) -> list[Path]:
    found = sorted((ROOT / "scripts").glob("bench_*.py"))
    if not names:
        return found
    wanted = {f"bench_{name.removeprefix('bench_')}" for name in names}
    unknown = wanted - {path.stem for path in found}
    if unknown:
        raise SystemExit(f"no such benchmark: {', '.join(sorted(unknown))}")
    return [path for path in found if path.stem in wanted]


def _earlier() -> Figures:
    try:
        return dict(json.loads(JSON_FILE.read_text())["figures"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    raise SystemExit(main())

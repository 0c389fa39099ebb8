"""Run every `scripts/bench_*.py`; write `build/bench.json` and `docs/benchmarks.md`.

Each of them prints one JSON object: name → {value, unit, baseline, ratio, target, how}; a target
is a ceiling, or a floor where it is written as ">= 1.6". With names
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
    missed = [name for name, figure in figures.items() if met(figure) is False]
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


def met(figure: dict[str, Any]) -> bool | None:
    """Say whether a figure meets its target; None where it has none."""
    target = figure.get("target")
    if target is None:
        return None
    value = float(figure["value"])
    return value >= bound(target) if is_floor(target) else value <= bound(target)


def is_floor(target: object) -> bool:
    """Whether a target is the least that will do, not the most."""
    return str(target).startswith(">=")


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
    """Render docs/benchmarks.md: what has a target first, then the rest by its command."""
    held = {name: one for name, one in figures.items() if one.get("target") is not None}
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
    for name, figure in sorted(held.items()):
        state = "yes" if met(figure) else "**no**"
        cells = [f"`{name}`", _value(figure), _target(figure), state, _against(figure)]
        lines.append("| " + " | ".join([*cells, f"`{figure['command']}`"]) + " |")
    lines += ["", *_how(held)]
    for command in sorted({str(one["command"]) for one in figures.values()}):
        rest = {n: f for n, f in figures.items() if f["command"] == command and n not in held}
        if rest:
            lines += ["", f"## `{command}`", "", "| figure | value | against |", "|---|---|---|"]
            lines += [f"| `{n}` | {_value(f)} | {_against(f)} |" for n, f in sorted(rest.items())]
            lines += ["", *_how(rest)]
    return "\n".join(lines) + "\n"


def _how(figures: Figures) -> list[str]:
    """How each was measured; figures of one way in one line."""
    ways: dict[str, list[str]] = {}
    for name in sorted(figures):
        ways.setdefault(str(figures[name].get("how", "")), []).append(f"`{name}`")
    return [f"- {_few(names)}: {how}" for how, names in ways.items() if how]


def _few(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} to {names[-1]}"


def _value(figure: dict[str, Any]) -> str:
    return f"{number(figure['value'])} {figure.get('unit') or ''}".strip()


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


def _target(figure: dict[str, Any]) -> str:
    target = figure["target"]
    return f"{'at least' if is_floor(target) else 'at most'} {number(bound(target))}"


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

"""Measures dynamic depth beside fixed depth, in one run; prints one JSON object.

    python scripts/bench_adaptive.py [--captions 12]

The denoise loop alone, on simple held-out captions; and a default job whole, where enlarging takes
most of the time. The scores of all 64 captions: scripts/eval_depth.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.eval_depth import LEAST_RATIO, compare, ratio, whole_job


def measure(count: int) -> dict[str, dict[str, object]]:
    """The ratios, with what they are ratios of."""
    found = compare(count, ("fixed", "auto"))
    fixed, auto = whole_job("fixed"), whole_job("auto")
    loop = f"cpu-seconds of the denoise loop, {count} held-out captions, quality auto against fixed"
    job = "cpu-seconds of all stages of one 4 s job at 512x512, quality auto against fixed"
    scores = {name: row["scores"] for name, row in found.items()}
    return {
        "adaptive_compute_ratio": {
            "value": ratio(found),
            "unit": "x",
            "baseline": found["fixed"]["cpu_s_per_clip"],
            "ratio": None,
            "target": f">= {LEAST_RATIO:g}",
            "how": loop,
        },
        "adaptive_score_lost": {
            "value": round(max(v - scores["auto"][k] for k, v in scores["fixed"].items()), 4),
            "unit": "",
            "baseline": None,
            "ratio": None,
            "target": f"<= {1.01 / count:.3g}",
            "how": "largest loss of an attribute's share of right clips, read by the probe",
        },
        "adaptive_job_ratio": {
            "value": round(sum(fixed.values()) / sum(auto.values()), 3),
            "unit": "x",
            "baseline": round(sum(fixed.values()), 2),
            "ratio": None,
            "target": None,
            "how": job,
        },
    }


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--captions", type=int, default=12)
    print(json.dumps(measure(parser.parse_args().captions), indent=1))


if __name__ == "__main__":
    main()

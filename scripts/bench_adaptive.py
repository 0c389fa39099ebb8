"""Measures dynamic depth beside fixed depth, in one run; prints one JSON object.

    python scripts/bench_adaptive.py [--captions 12] [--jobs 3]

The denoise loop alone, on simple held-out captions; and default jobs of the first of them whole,
where enlarging takes most of the time. The scores of all 64 captions: scripts/eval_depth.py.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.eval_depth import JOB, LEAST_RATIO, captions, compare, ratio
from scripts.whole_jobs import run_jobs


def measure(count: int, whole: int) -> dict[str, dict[str, object]]:
    """The ratios, with what they are ratios of."""
    qualities = ("fixed", "auto")
    found = compare(count, qualities)
    prompts, index = captions(count)
    jobs = run_jobs(prompts[:whole], index[:whole], qualities)
    loop = f"cpu-seconds of the denoise loop, {count} held-out captions, quality auto against fixed"
    job = (
        f"cpu-seconds of all stages of 4 s at 512x512, {whole} of the captions, auto against fixed"
    )
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
            "value": _lost(found),
            "unit": "",
            "baseline": None,
            "ratio": None,
            "target": f"<= {1.01 / count:.3g}",
            "how": "largest loss of an attribute's share of right clips, read by the probe",
        },
        "adaptive_job_ratio": {
            "value": ratio(jobs, of=JOB),
            "unit": "x",
            "baseline": jobs["fixed"][JOB],
            "ratio": None,
            "target": f">= {LEAST_RATIO:g}",
            "how": job,
        },
        "adaptive_job_score_lost": {
            "value": _lost(jobs),
            "unit": "",
            "baseline": None,
            "ratio": None,
            "target": "<= 0",
            "how": "the same, read in the finished videos of those jobs",
        },
        "adaptive_job_fidelity": {
            "value": jobs["auto"]["against_dense"]["least_psnr_db"],
            "unit": "dB",
            "baseline": None,
            "ratio": None,
            "target": ">= 40",
            "how": "PSNR of frames enlarged sparsely against dense work on the same, the worst job",
        },
    }


def _lost(found: dict[str, dict[str, Any]]) -> float:
    fixed, auto = found["fixed"]["scores"], found["auto"]["scores"]
    # An attribute that none of the clips has is not a number.
    return round(max(v - auto[k] for k, v in fixed.items() if not math.isnan(v)), 4)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--captions", type=int, default=12)
    parser.add_argument("--jobs", type=int, default=3, help="captions for whole jobs")
    asked = parser.parse_args()
    print(json.dumps(measure(asked.captions, min(asked.captions, asked.jobs)), indent=1))


if __name__ == "__main__":
    main()

"""Measures what a second job costs beside the first, in one run; prints one JSON object.

    python scripts/bench_reuse.py

Seconds of one thread in all stages of a job, models loaded: a job of 4 s at 384x384, then the same
prompt and seed in another size, a repair of one second, and a preview, each less what is kept.
Then pairs of small jobs on held-out scenes, the second with the first one's prompt in other words,
less what it may take in: also where it may not, and is made whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from reelmesh.node.stages.local import run_plan_locally
from reelmesh.node.stages.tiny_t2v.likeness import ask_for_the_same
from reelmesh.scheduler.ids import ArtifactId, SubtaskId
from reelmesh.scheduler.plan import Plan
from reelmesh.scheduler.reuse import prune, work_keys
from reelmesh.scheduler.sources import Given
from reelmesh.scheduler.spec import Repair, TextToVideo
from reelmesh.scheduler.stages import entry
from reelmesh.scheduler.templates import make_plan
from scripts.eval_reuse import (
    TOLERANCE,
    Judge,
    Pair,
    read_simple,
    read_wide,
    score_taken,
    simple_pairs,
    wide_pairs,
)

SPEC = TextToVideo(
    prompt="a large red ball moving left over a blue background", width=384, height=384, seed=3
)
SMALLER = SPEC.model_copy(update={"width": 256, "height": 256})
REPAIRED = SPEC.model_copy(update={"repair": Repair(start=1.0, stop=2.0, seed=99)})
PREVIEW = SPEC.model_copy(update={"layer": "preview"})
SMALL = TextToVideo(prompt="a red ball", seconds=1.0, width=256, height=256, seed=5)
SIMPLE_PAIRS, WIDE_PAIRS, PAIRS_SEED = 8, 4, 2028
SCORED = 32
"""Pairs of each world whose clips are read; few would tell more of chance than of the clips."""


class Keeper:
    """One buyer's kept results, by work key, and a clock on what is not kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[str, Path] = {}
        self._jobs = 0

    def seconds(self, spec: TextToVideo, *, reuse: bool = True, like: str | None = None) -> float:
        """Run a job less what is kept; keep what it makes. Seconds of one thread.

        like: the prompt whose clip is taken for this one's.
        """
        template = make_plan(spec)
        keys = work_keys(template, like)
        files = {name: self._kept[key] for name, key in keys.items() if key in self._kept}
        given = {name: _given(template, name, path) for name, path in files.items()}
        plan = prune(template, given if reuse else {}).plan
        if plan is None:
            return 0.0
        self._jobs += 1
        folder = self._folder / str(self._jobs)
        sources = {str(given[name].sha256): path for name, path in files.items()}
        took = _timed(plan, folder, sources)
        for subtask in plan.subtasks:
            (made,) = (folder / subtask.id).iterdir()
            self._kept[keys[subtask.id]] = made
        return took


def _given(plan: Plan, name: SubtaskId, path: Path) -> Given:
    (kind,) = entry(plan[name].stage).outputs.values()
    data = path.read_bytes()
    digest = ArtifactId(hashlib.sha256(data).hexdigest())
    return Given(sha256=digest, size=len(data), kind=kind)


def _timed(plan: Plan, folder: Path, sources: dict[str, Path]) -> float:
    """From each subtask's first word to its last, so that loading its model is not counted."""
    spent: dict[str, list[float]] = {}

    def on_progress(subtask: str, _fraction: float, _note: str) -> None:
        now = time.process_time()
        spent.setdefault(subtask, [now, now])[1] = now

    run_plan_locally(plan, folder, on_progress=on_progress, sources=sources)
    return sum(end - begin for begin, end in spent.values())


def measure() -> dict[str, dict[str, object]]:
    """The ratios, each beside what it is a ratio of."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Keeper(Path(folder))
        preview = kept.seconds(PREVIEW)
        rest = kept.seconds(SPEC)
        whole = preview + rest
        again = kept.seconds(SPEC)
        repaired = kept.seconds(REPAIRED)
        smaller = kept.seconds(SMALLER)
        smaller_alone = Keeper(Path(folder) / "alone").seconds(SMALLER)
    return {
        "layered_preview_share": _figure(
            preview, whole, "compute of `submit --preview` over preview and rest together"
        ),
        "reuse_same_job_ratio": _figure(
            again, whole, "the same job asked for again, over the first"
        ),
        "reuse_repair_ratio": _figure(
            repaired, whole, "`job repair --from 1 --to 2` of a 4 s job, over the whole job"
        ),
        "reuse_exact_compute_ratio": _figure(
            smaller, smaller_alone, "same prompt and seed at 256x256 after 384x384, over it alone"
        ),
    }


def measure_similar() -> dict[str, dict[str, object]]:
    """What a second job on a reworded prompt costs, and what its clip is worth."""
    judge, rng = Judge(), random.Random(PAIRS_SEED)
    simple = [group[0] for group in simple_pairs(SIMPLE_PAIRS, rng)]
    wide = [group[0] for group in wide_pairs(WIDE_PAIRS, rng)]
    ratios, spent = [], 0.0
    for pair in [*simple, *wide]:
        with tempfile.TemporaryDirectory() as folder:
            kept = Keeper(Path(folder))
            first = kept.seconds(SMALL.model_copy(update={"prompt": pair.earlier}))
            like = pair.earlier if judge.takes(pair) else None
            second = kept.seconds(SMALL.model_copy(update={"prompt": pair.later}), like=like)
            if ask_for_the_same(pair.later, pair.earlier):  # else nothing is compared
                second += _comparing_s(pair)
        ratios.append(second / first)
        spent += first
    taken = sum(judge.takes(pair) for pair in [*simple, *wide])
    lost = [
        score_taken(judge, pairs(SCORED * 4, rng), SCORED, read)["lost"]
        for pairs, read in ((simple_pairs, read_simple), (wide_pairs, read_wide))
    ]
    count = len(ratios)
    of = (
        f"{count} held-out scenes ({SIMPLE_PAIRS} of one thing, {WIDE_PAIRS} of the wider world), "
        f"plain caption first, then another wording drawn with seed {PAIRS_SEED}, same seed"
    )
    return {
        "reuse_similar_ratio": {
            "value": round(sum(ratios) / count, 4),
            "unit": "",
            "baseline": round(spent / count, 2),
            "ratio": None,
            "target": "<= 0.6",
            "how": "cpu-seconds of `job submit --similar`, all stages and the comparing of prompts "
            "on the buyer's node, 1 s at 256x256, over the first job's, mean over "
            f"{of}; {taken} of {count} were taken, the others are made whole; the baseline is the "
            "first jobs' mean",
        },
        "reuse_similar_score_lost": {
            "value": round(max(lost), 4),
            "unit": "",
            "baseline": None,
            "ratio": None,
            "target": f"<= {TOLERANCE}",
            "how": "share of the attributes that the probe reads right in clips made for the "
            "second prompts, less the share in the clips that are taken for them; the worse of the "
            f"two worlds, over {SCORED} pairs of each",
        },
        "reuse_similar_compare_cpu_s": {
            "value": round(_comparing_s(simple[0]), 2),
            "unit": "cpu-s",
            "baseline": None,
            "ratio": None,
            "target": None,
            "how": "of the process in which the buyer's own node compares two prompts; counted in "
            "the ratio, and not needed where no kept prompt's words fit",
        },
    }


def _comparing_s(pair: Pair) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "reelmesh.node.stages.compare_prompts"],
        input=json.dumps({"prompt": pair.later, "others": [pair.earlier]}),
        text=True,
        cwd=Path(__file__).resolve().parent.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # as `resembling.compare`
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _figure(value: float, baseline: float, how: str) -> dict[str, object]:
    return {
        "value": round(value / baseline, 4),
        "unit": "",
        "baseline": round(baseline, 2),
        "ratio": None,
        "target": None,
        "how": f"cpu-seconds of all stages, {how}; the baseline is the latter's",
    }


if __name__ == "__main__":
    print(json.dumps(measure() | measure_similar(), indent=1))

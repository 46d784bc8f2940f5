"""Train and evaluate every run behind docs/results.md; finished runs are kept.

    python benchmarks/train_results.py --data pneumoniamnist kermany --seeds 0 1 2 --workers 2

Stores are made beforehand, as the head of each file in configs/ says. Each run is a process of
one thread (on a GPU: they share it). Afterwards `python benchmarks/write_results.py` writes the
page.
"""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

REGIMES = ("dual", "adversarial", "standard")
STRONG = ("--square-images", "128", "--groups", "none")
"""Square is a check here, on a fixed share of every class."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=["pneumoniamnist", "kermany"])
    parser.add_argument("--regimes", nargs="+", default=list(REGIMES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("settings", nargs="*", help="overrides, such as train.epochs=2")
    given = parser.parse_args()
    jobs = product(given.data, given.seeds, given.regimes)
    with ThreadPoolExecutor(given.workers) as pool:
        ended = list(pool.map(lambda job: run(*job, given.runs, given.settings), jobs))
    sys.exit(max(ended))


def run(data: str, seed: int, regime: str, runs: Path, settings: list[str]) -> int:
    """Train and evaluate one; the exit code of what failed, or 0."""
    started = time.monotonic()
    name = f"{data}-{regime}"
    folder = runs / name / str(seed)
    commands = (
        ["train", f"configs/{name}.yaml", f"seed={seed}", "--runs", str(runs), *settings],
        ["evaluate", str(folder)],
        ["evaluate", str(folder), "--suite", "strong", "--branches", "matrix", *STRONG],
    )
    for command in commands:
        code = subprocess.run(
            [sys.executable, "-m", "medrobust", *command],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            check=False,
        ).returncode
        if code:
            return code
    print(f"{folder}: {time.monotonic() - started:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    main()

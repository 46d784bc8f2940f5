"""AUROC against the size of the training set: three regimes, five sizes, two seeds.

    python benchmarks/training_size.py --root pneumoniamnist.npz [--workers 2] [--write]

Each size is a share of the patients of train and val (of PneumoniaMNIST: of the images), drawn anew
for each seed; the test images are always all of them. A smaller set is trained for more epochs,
15 / √share, between equal epochs (few steps) and equal steps (many repetitions). The whole set's
runs are those of benchmarks/train_results.py. Finished work is kept; `--write` writes the table and
the figure of docs/results.md.
"""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from medrobust.data.store import open_store
from results import (
    COLOURS,
    LABELS,
    MODELS,
    PAGE,
    difference,
    macro_auroc,
    provenance,
    replace_part,
)

SHARES = {0.0625: 60, 0.125: 42, 0.25: 30, 0.5: 21, 1.0: 15}
"""Epochs by share."""
SEEDS = (0, 1)
REGIMES = ("dual", "adversarial", "standard")
EPS = 4 / 255
WHOLE = Path("stores/pneumoniamnist")
PICTURE = "training-size.svg"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="only write the page")
    given = parser.parse_args()
    if given.write:
        write(given.runs)
        return
    jobs = list(product(SHARES, SEEDS, REGIMES))
    for share, seed in product(SHARES, SEEDS):
        prepare(share, seed, given.root)
    with ThreadPoolExecutor(given.workers) as pool:
        sys.exit(max(pool.map(lambda job: work(*job, given.runs), jobs)))


def store_of(share: float, seed: int) -> Path:
    """Where the store of a share is."""
    return WHOLE if share == 1 else WHOLE.with_name(f"{WHOLE.name}-{share:g}-{seed}")


def run_of(runs: Path, share: float, seed: int, regime: str) -> Path:
    """Where the run of a share is."""
    name = f"pneumoniamnist-{regime}" if share == 1 else f"size-{share:g}-{regime}"
    return runs / name / str(seed)


def prepare(share: float, seed: int, root: Path) -> None:
    store = store_of(share, seed)
    if not store.exists():
        command = ["prepare", "medmnist", "--root", root, "--out", store]
        medrobust(*command, "--fraction", share, "--seed", seed)


def work(share: float, seed: int, regime: str, runs: Path) -> int:
    """Train, and evaluate on all test images at the training radius; 0 if it went well."""
    run, store = run_of(runs, share, seed, regime), store_of(share, seed)
    settings = [f"seed={seed}", f"name={run.parent.name}", f"data.store={store}"]
    settings.append(f"train.epochs={SHARES[share]}")
    config = f"configs/pneumoniamnist-{regime}.yaml"
    if not (run / "DONE").is_file() and medrobust("train", config, *settings, "--runs", runs):
        return 1
    if share == 1:  # its 21 radii are evaluated by benchmarks/train_results.py
        return 0 if (run / "metrics.csv").is_file() else medrobust("evaluate", run)
    how = ["--eps", EPS, "--trust-images", 0, "--groups", "none"]
    return medrobust("evaluate", run, "--store", WHOLE, *how)


def medrobust(*words: object) -> int:
    """Run a command in a process of one thread; its exit code."""
    command = [sys.executable, "-m", "medrobust", *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, check=False).returncode


def write(runs: Path) -> None:
    """The table and the figure, from finished runs."""
    lines = [
        "| share of the training images | images | " + " | ".join(LABELS.values()) + " |",
        "|---" * (2 + len(MODELS)) + "|",
    ]
    for share in SHARES:
        count = len(open_store(store_of(share, 0)).rows("train"))
        for attack, name in (("", "clean"), ("fast", "attacked")):
            cells = [cell(runs, share, model, attack) for model in MODELS]
            lines.append(f"| {share:.4g}, {name} | {count:,} | " + " | ".join(cells) + " |")
    lines += ["", *differences(runs)]
    draw(runs, PAGE.parent / "pictures" / PICTURE)
    commits = {str(provenance(run_of(runs, s, 0, "dual"))["commit"])[:10] for s in SHARES}
    text = "\n".join(lines)
    picture = f"![AUROC against the number of training images](pictures/{PICTURE})"
    replace_part(PAGE, "training size", f"{text}\n\n{picture}\n\nCommit {', '.join(commits)}.")


def row_of(runs: Path, share: float, seed: int, model: tuple[str, str], attack: str) -> Any:
    """The macro AUROC on all test images."""
    run, store = run_of(runs, share, seed, model[0]), open_store(WHOLE)
    name = store.info.name if share == 1 else f"{store.info.name}-{store.checksum[:8]}"
    wanted = {"store": name} | ({"eps": EPS} if attack else {})
    return macro_auroc(run, model[1], attack, **wanted)


def cell(runs: Path, share: float, model: tuple[str, str], attack: str) -> str:
    """Every seed with its interval."""
    rows = [row_of(runs, share, seed, model, attack) for seed in SEEDS]
    return "<br>".join(f"{r['value']:.3f} ({r['low']:.3f}–{r['high']:.3f})" for r in rows)


def differences(runs: Path) -> list[str]:
    """Dual against standard on clean images, and against adversarial training under attack."""
    pairs = (
        (("dual", "clean"), ("standard", "single"), ""),
        (("adversarial", "single"), ("standard", "single"), ""),
        (("dual", "adv"), ("adversarial", "single"), "fast"),
    )
    heads = [f"{LABELS[a]} − {LABELS[b]}, {'attacked' if t else 'clean'}" for a, b, t in pairs]
    lines = ["| share | seed | " + " | ".join(heads) + " |", "|---" * (2 + len(pairs)) + "|"]
    table = open_store(WHOLE).table
    for share, seed in product(SHARES, SEEDS):
        cells = []
        for first, second, attack in pairs:
            both = tuple(run_of(runs, share, seed, m[0]) for m in (first, second))
            rows = tuple(row_of(runs, share, seed, m, attack) for m in (first, second))
            cells.append(difference(both, rows, table)[0])
        lines.append(f"| {share:.4g} | {seed} | " + " | ".join(cells) + " |")
    return lines


def draw(runs: Path, out: Path) -> None:
    """AUROC against the number of training images, clean and attacked; a band of the intervals."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    sizes = [len(open_store(store_of(share, 0)).rows("train")) for share in SHARES]
    for axes, attack in zip(figure.subplots(1, 2, sharey=False), ("", "fast"), strict=True):
        for model in MODELS:
            rows = [[row_of(runs, s, seed, model, attack) for seed in SEEDS] for s in SHARES]
            mean, low, high = (
                np.array([np.mean([r[name] for r in both]) for both in rows])
                for name in ("value", "low", "high")
            )
            axes.fill_between(sizes, low, high, color=COLOURS[model], alpha=0.12, linewidth=0)
            axes.plot(sizes, mean, color=COLOURS[model], marker="o", label=LABELS[model])
        title = "attacked (fast, ε = 4/255)" if attack else "clean"
        axes.set(xscale="log", xlabel="training images", ylabel="test AUROC", title=title)
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes], minor=False)
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    main()

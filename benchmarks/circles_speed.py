"""Long PGD with a fixed step against the same without looking for circles, on trained models.

python benchmarks/circles_speed.py RUN... [--images 64] [--steps 50 100 500] [--json FILE]

The step is a quarter of the radius of training, as is usual for long attacks; both give the same
images. Processor of one thread.
"""

import argparse
from functools import partial
from pathlib import Path
from statistics import median
from unittest.mock import patch

import torch

from measure import interleaved, ratio, report
from medrobust.attacks import gradient, pgd
from medrobust.data.batches import load_images, load_labels
from medrobust.folding import folded
from medrobust.models import ball_of, load_model, loss_for
from medrobust.rundir import RunDir


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--steps", nargs="+", type=int, default=[50, 100, 500])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        row(path, branch, steps, given.images, given.repeats)
        for path in given.runs
        for branch in load_model(RunDir(path), RunDir(path).training_store())[0].branches
        for steps in given.steps
    ]
    report("PGD with a step of a quarter of the radius", rows, given.json)


def row(path: Path, branch: str, steps: int, count: int, repeats: int) -> dict[str, object]:
    """Seconds with and without, on the first test images."""
    run = RunDir(path)
    store = run.training_store()
    rows = store.rows("test")[:count]
    images, labels = load_images(store, rows, "cpu"), load_labels(store, rows, "cpu")
    network = folded(load_model(run, store)[0].branch(branch), images[:2])
    ball, loss = ball_of(run.config().attack), loss_for(store.info.task)
    attack = partial(pgd, ball=ball, loss=loss, steps=steps, step_size=ball.radius / 4)
    job = partial(attack, network, images, labels, torch.arange(len(images)))

    def plainly() -> torch.Tensor:
        with patch.object(gradient, "MANY", steps + 1):
            return job()

    seconds = interleaved({"every step": plainly, "without circles": job}, repeats)
    other = (plainly() != job()).flatten(1).any(1).sum()
    return {
        "run": f"{path.parent.name}, {branch}",
        "steps": steps,
        "every step, s": median(seconds["every step"]),
        "without circles, s": median(seconds["without circles"]),
        "times faster": ratio(seconds, "every step", "without circles"),
        "images that differ": int(other),
    }


if __name__ == "__main__":
    main()

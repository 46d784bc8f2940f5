"""How long until a dual model is as good as ten steps of PGD make it? For docs/explanation/.

    python benchmarks/time_to_quality.py run [--data pneumoniamnist kermany] [--seeds 0 1 2]
    python benchmarks/time_to_quality.py steps [--data ...]     (on a quiet machine)
    python benchmarks/time_to_quality.py write [--data ...]

`run` trains each recipe and attacks its adversarial branch with the suite `strong` at the radius of
training; `steps` times single steps of the recipes and of the plain reference, interleaved; `write`
puts the table into docs/explanation/performance.md. Finished work is kept. Every process has one
thread; its time is the processor's, which a busy machine changes less than the clock's.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch

from measure import interleaved, machine, ratio
from medrobust.bench import plain
from medrobust.bench.comparisons import training_step
from medrobust.config import Config, load_config
from medrobust.data.batches import training_batches
from medrobust.data.store import Store, open_store
from medrobust.files import write_json
from medrobust.models import ball_of, build_model, loss_for
from medrobust.randomness import image_keys, key
from medrobust.recipes import recipe_settings
from medrobust.regimes import Batch
from results import macro_auroc, over_seeds, replace_part

PAGE = Path("docs/explanation/performance.md")
PLAIN = "plain"
LEAST = ("--groups", "none", "--trust-images", "0")
RECIPES: dict[str, tuple[str, ...]] = {
    "pgd-10": ("attack.steps=10",),
    "growing": ("attack.steps=10", "attack.growing=true"),
    "n-fgsm": ("attack.name=n-fgsm", "train.validation_steps=3"),
    "fast": recipe_settings("fast", "dual"),
}
WORDS = {
    PLAIN: "PGD-10, plain reference step",
    "pgd-10": "PGD-10",
    "growing": "PGD, 1 to 10 steps, growing",
    "n-fgsm": "N-FGSM",
    "fast": "**recipe `fast`**: N-FGSM, unpaired",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("run", "steps", "write"))
    parser.add_argument("--data", nargs="+", default=["pneumoniamnist", "kermany"])
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=["pgd-10", "fast"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    if given.what == "run":
        jobs = product(given.seeds, given.data, given.recipes)
        with ThreadPoolExecutor(given.workers) as pool:
            sys.exit(max(pool.map(lambda job: run(*job), jobs)))
    for data in given.data:
        if given.what == "steps":
            write_json(Path(f"runs/steps-{data}.json"), steps(data, given.repeats))
        else:
            replace_part(PAGE, f"time to quality {data}", "\n".join(table(data, given.seeds)))


def folder(data: str, recipe: str, seed: int) -> Path:
    return Path("runs") / f"{data}-{recipe}" / str(seed)


def run(seed: int, data: str, recipe: str) -> int:
    """Train and attack one; the exit code of what failed, or 0."""
    path = folder(data, recipe, seed)
    config = f"configs/{data}-dual.yaml"
    settings = [f"name={data}-{recipe}", f"seed={seed}", *RECIPES[recipe]]
    if not (path / "DONE").is_file():
        code, seconds = medrobust("train", config, *settings)
        if code:
            return code
        write_json(path / "processor.json", {"seconds": seconds})
    radius = str(load_config(Path(config)).attack.eps)
    checks = ("--suite", "strong", "--eps", radius, "--square-images", "128", *LEAST)
    if not (path / "metrics.csv").is_file():
        return medrobust("evaluate", path, *checks)[0]
    return 0


def medrobust(*words: object) -> tuple[int, float]:
    """The exit code of a command in a process of one thread, and its processor's seconds."""
    process = subprocess.Popen(
        [sys.executable, "-m", "medrobust", *map(str, words)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    _, status, usage = os.wait4(process.pid, 0)
    return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime


def steps(data: str, repeats: int) -> dict[str, Any]:
    """Seconds of a step of each recipe on the same batch, and ratios to the plain reference."""
    torch.set_num_threads(1)
    config = load_config(Path(f"configs/{data}-dual.yaml"))
    store = open_store(config.data.store)
    batch = next(
        training_batches(
            *(store,),
            batch_size=config.train.batch_size,
            seed=0,
            device=torch.device("cpu"),
            on_device=True,
        ).epoch(0)
    )
    jobs = {PLAIN: plain_job(config, store, batch)}
    for recipe, settings in RECIPES.items():
        own = load_config(Path(f"configs/{data}-dual.yaml"), settings)
        if recipe != "growing":  # it has no step of its own
            # that of `medrobust train`, with augmentation, clipping and running average
            step = training_step(own, build_model(own, store), loss_for(store.info.task))
            jobs[recipe] = partial(step, batch, 1)
    interleaved(jobs, 1)
    seconds = interleaved(jobs, repeats)
    return {
        **machine(),
        "threads": 1,
        "seconds": {name: median(values) for name, values in seconds.items()},
        "times faster": {name: ratio(seconds, PLAIN, name) for name in seconds},
    }


def plain_job(config: Config, store: Store, batch: Batch) -> Any:
    """The published recipe's step with ten steps of attack; without any augmentation."""
    model = build_model(config, store).train()
    optimiser = torch.optim.AdamW(model.parameters(), config.train.lr)
    start = ball_of(config.attack).start(batch.images, image_keys(key(0), batch.keys))
    given = (batch.images, batch.labels, start, config.attack.eps, 10)
    return lambda: plain.step(model, optimiser, *given)


def table(data: str, seeds: list[int]) -> list[str]:
    """Quality and time of each recipe that was run."""
    timed = json.loads(Path(f"runs/steps-{data}.json").read_text(encoding="utf-8"))
    faster = timed["times faster"]
    config = load_config(Path(f"configs/{data}-dual.yaml"))
    radius = config.attack.eps
    ours = mean(processor(data, "pgd-10", seed) for seed in seeds)
    plainly = ours * faster["pgd-10"]
    lines = [
        f"{data}: {config.train.epochs} epochs, seeds {', '.join(map(str, seeds))}; test AUROC, "
        "mean ± SD of seeds and below it the first seed with its interval; attacked: adversarial "
        f"branch, suite `strong`, {255 * radius:.3g}/255. One step timed at commit "
        f"{str(timed['commit'])[:10]}.",
        "",
        "| recipe | clean branch, clean | adversarial branch, attacked | one step | training, "
        "processor's minutes | of the plain time |",
        "|---|---|---|---|---|---|",
        f"| {WORDS[PLAIN]} | as below | as below | {1000 * timed['seconds'][PLAIN]:.0f} ms | "
        f"{plainly / 60:.1f} (estimated) | 1 |",
    ]
    for recipe in RECIPES:
        paths = [folder(data, recipe, seed) for seed in seeds]
        if not all((path / "metrics.csv").is_file() for path in paths):
            continue
        clean = over_seeds([macro_auroc(path, "clean") for path in paths])
        strong = over_seeds([macro_auroc(path, "adv", "strong", eps=radius) for path in paths])
        seconds = mean(processor(data, recipe, seed) for seed in seeds)
        step = f"{1000 * timed['seconds'][recipe]:.0f} ms" if recipe in faster else "–"
        lines.append(
            f"| {WORDS[recipe]} | {clean} | {strong} | {step} | {seconds / 60:.1f} | "
            f"1/{plainly / seconds:.1f} |"
        )
    return lines


def processor(data: str, recipe: str, seed: int) -> float:
    """Seconds that the whole training took of the processor."""
    told = json.loads((folder(data, recipe, seed) / "processor.json").read_text(encoding="utf-8"))
    return float(told["seconds"])


if __name__ == "__main__":
    main()

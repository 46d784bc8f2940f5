"""The demo: three regimes on generated radiographs, by the same commands anyone would type."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from medrobust.errors import MedrobustError
from medrobust.files import write_text
from medrobust.progress import Bars, Count

REGIMES = ("dual", "adversarial", "standard")
"""The longest first, so that two processes end at about the same time."""

IMAGES, SIZE = 1600, 64

SETTINGS: dict[str, Any] = {
    "network": {"name": "small", "width": 16, "stem_stride": 2},
    "attack": {"name": "pgd", "norm": "linf", "eps": 0.005, "steps": 2},
    "train": {"epochs": 24, "batch_size": 32, "lr": 5e-3, "validation_steps": 3},
    "evaluate": {"eps": [0.0025, 0.005, 0.01], "trust_images": 32},
}


def run_demo(out: Path, bars: Bars, say: Callable[[str], None]) -> Path:
    """Write store, runs and report to `out`; what is there already is kept.

    Raises:
        MedrobustError: one of the commands failed.
    """
    if not (out / "store" / "store.json").is_file():
        command = ("prepare", "phantom", "--images", IMAGES, "--size", SIZE)
        call(say, *command, "--out", out / "store")
    epoch = bars.start(len(REGIMES) * SETTINGS["train"]["epochs"], "training, epochs in all")
    with ThreadPoolExecutor(min(len(REGIMES), os.cpu_count() or 1)) as pool:
        for outcome in [pool.submit(_run, out, regime, say, epoch) for regime in REGIMES]:
            outcome.result()
    runs = [out / "runs" / regime / "0" for regime in reversed(REGIMES)]
    title = "Standard, adversarial and dual batch norm training on generated radiographs"
    call(say, "report", *runs, "--out", out / "report.html", "--title", title)
    return out / "report.html"


def _run(out: Path, regime: str, say: Callable[[str], None], epoch: Count) -> None:
    """Train, evaluate and explain one regime, each command only if it is not done."""
    config, run = out / f"{regime}.yaml", out / "runs" / regime / "0"
    settings = {"name": regime, "regime": regime, "data": {"store": str(out / "store")}}
    write_text(config, yaml.safe_dump(settings | SETTINGS, sort_keys=False))

    def tell(text: str) -> None:
        epoch(text.startswith("epoch "))
        say(f"{regime:<12}{text}")

    if not (run / "DONE").is_file():
        call(tell, "train", config, "--runs", out / "runs")
    if not (run / "metrics.csv").is_file():
        call(tell, "evaluate", run)
    if not (run / "explain" / "scores.csv").is_file():
        call(tell, "explain", run)


def call(say: Callable[[str], None], *command: object) -> None:
    """Run a command of medrobust in a process of one thread; its messages are passed on."""
    words = [str(word) for word in command]
    say(" ".join(["$ medrobust", *words]))
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "medrobust", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stderr or ():
            say(line.rstrip())
    if process.returncode:
        raise MedrobustError(f"demo: `medrobust {' '.join(words)}` failed; its message is above")

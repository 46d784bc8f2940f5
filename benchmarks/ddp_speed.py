"""Training steps of two processes with a thread each against one process with two threads.

python benchmarks/ddp_speed.py [--network resnet50] [--repeats 5] [--steps 1] [--json FILE]

The step is that of `medrobust train`: dual batch norm, ten PGD steps, AdamW, running average. Both
train on the same batch of 8 images, two processes on 4 each, over Gloo and this machine's loopback.
Who is not being timed waits for a message and takes no time of the processor.
"""

import argparse
import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import torch

from measure import interleaved, ratio, report
from medrobust.bench.case import RADIUS, STEPS, Case
from medrobust.config import resolve
from medrobust.folding import FoldedCopies
from medrobust.losses import sigmoid_loss
from medrobust.optimise import Average, build_optimiser
from medrobust.parallel.device import fabric_on, meet
from medrobust.parallel.launch import free_port
from medrobust.parallel.norms import synchronise
from medrobust.parallel.place import here
from medrobust.regimes import Batch
from medrobust.state import State
from medrobust.step import TrainingStep

ALONE, SYNCHRONISED, APART = "one process", "two, synchronised norms", "two, norms per process"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--network", default="resnet50", help="or small")
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=1, help="timed at once")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    case = Case(network=given.network, size=given.size, batch=given.batch)
    crews = {
        ALONE: Crew(case, 1, "synchronised"),
        SYNCHRONISED: Crew(case, 2, "synchronised"),
        APART: Crew(case, 2, "per-process"),
    }
    for crew in crews.values():
        crew.run(1)  # buffers are made, batch norms folded
    seconds = interleaved(
        {name: lambda crew=crew: crew.run(given.steps) for name, crew in crews.items()},
        given.repeats,
    )
    for crew in crews.values():
        crew.run(0)
    rows = [
        {
            "what": name,
            "seconds per step": median(seconds[name]) / given.steps,
            "times as fast as one": ratio(seconds, ALONE, name),
        }
        for name in crews
    ]
    report(f"Two processes on two cores: {case.title}, PGD-{STEPS}", rows, given.json)


class Crew:
    """Processes that train together when told so."""

    def __init__(self, case: Case, count: int, norms: str) -> None:
        context, port = multiprocessing.get_context("spawn"), free_port()
        self._ends = []
        for rank in range(count):
            mine, theirs = context.Pipe()
            context.Process(target=work, args=(theirs, case, rank, count, port, norms)).start()
            self._ends.append(mine)

    def run(self, steps: int) -> None:
        """So many steps by all; 0 ends them."""
        for end in self._ends:
            end.send(steps)
        for end in self._ends:
            end.recv()


def work(orders: Connection, case: Case, rank: int, count: int, port: int, norms: str) -> None:
    """In a process of its own: steps as they are ordered."""
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    told |= {"MASTER_PORT": port, "GROUP_RANK": 0}
    os.environ |= {name: str(value) for name, value in told.items()} | {"MASTER_ADDR": "127.0.0.1"}
    torch.set_num_threads(2 // count)
    step, batch = training_step(case, norms), share_of(case, rank, count)
    while steps := orders.recv():
        for _ in range(steps):
            step(batch, 1000)
        orders.send(None)
    orders.send(None)


def training_step(case: Case, norms: str) -> TrainingStep:
    settings: dict[str, Any] = {
        "name": "speed",
        "regime": "dual",
        "data": {"store": "none"},
        "attack": {"eps": RADIUS, "steps": STEPS},
        "train": {"batch_size": case.batch, "norms": norms, "accelerator": "cpu"},
    }
    config, place = resolve(settings, (), "benchmark"), here()
    fabric, model = fabric_on(config.train, place), case.model()
    if place.count > 1 and norms == "synchronised":
        synchronise(model, fabric.device)
    team = meet(fabric, place)
    wrapped, optimiser = fabric.setup(model, build_optimiser(model, config.train))
    state = State(model, Average(model, config.train.ema or 0.995), optimiser.optimizer)
    copies = FoldedCopies(print)
    return TrainingStep(
        *(fabric, config, sigmoid_loss, state, wrapped, optimiser, team.group, copies)
    )


def share_of(case: Case, rank: int, count: int) -> Batch:
    size = case.batch // count
    own = slice(rank * size, (rank + 1) * size)
    return Batch(case.images[own], case.labels[own], case.keys[own], torch.arange(case.batch)[own])


if __name__ == "__main__":
    main()

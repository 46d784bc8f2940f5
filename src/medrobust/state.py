"""The state of a training: all that a resumed run must get back, to and from checkpoints."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from medrobust import checkpoints
from medrobust.checkpoints import Checkpoint
from medrobust.config import Config
from medrobust.data.store import Store
from medrobust.dual import DualBN
from medrobust.models import describe
from medrobust.optimise import Average
from medrobust.rundir import RunDir
from medrobust.weights import load_tensors, part, tensors_of


@dataclass
class State:
    """What training changes."""

    model: DualBN
    average: Average | None
    optimiser: torch.optim.Optimizer
    epoch: int = 0
    step: int = 0
    best: list[float] = field(default_factory=lambda: [-math.inf, -math.inf])
    """The best validation score, and minus the validation loss, which breaks ties."""
    stale: int = 0
    """Epochs since the best."""
    collapsed: bool = False
    """Whether the guard has found that one step of attack is not enough."""

    @property
    def deployed(self) -> DualBN:
        """The weights that are validated and kept: the running average, where it is on."""
        return self.average.model if self.average else self.model


def save(state: State, run: RunDir, config: Config, store: Store, improved: bool) -> None:
    """Write the checkpoints of an epoch: `epoch-NNNN` now and then, `best`, and `last`."""
    record = {
        "epoch": state.epoch,
        "step": state.step,
        "best": state.best,
        "stale": state.stale,
        "collapsed": state.collapsed,
        "model": describe(store),
    }
    deployed = Checkpoint(tensors_of(state.deployed), record)
    every = config.train.keep_every or max(1, round(config.train.epochs / 10))
    if state.epoch % every == 0 or state.epoch == config.train.epochs:
        checkpoints.save(run.checkpoints, f"epoch-{state.epoch:04d}", deployed)
    if improved:
        checkpoints.save(run.checkpoints, "best", deployed)
    checkpoints.save(run.checkpoints, "last", Checkpoint(_everything(state), record))


def restore(state: State, saved: Checkpoint, run: RunDir) -> None:
    """Take everything back from the checkpoint `last`, to the bit.

    Raises:
        MedrobustError: the checkpoint is another network's.
    """
    origin = f"{run.checkpoints}/last.safetensors"
    load_tensors(state.model, part(saved.tensors, ""), origin)
    if state.average:
        load_tensors(state.average.model, part(saved.tensors, "ema"), origin)
    parameters = tensors_of(state.model)
    for name, tensor in part(saved.tensors, "optimiser").items():
        what, _, parameter = name.partition("/")
        own = parameters[parameter]
        state.optimiser.state[own][what] = tensor.to(own.device)
    state.epoch, state.step = saved.state["epoch"], saved.state["step"]
    state.best, state.stale = saved.state["best"], saved.state["stale"]
    state.collapsed = saved.state.get("collapsed", False)  # since there is a guard


def _everything(state: State) -> dict[str, Tensor]:
    """Weights, running averages and the optimiser's state, by name."""
    tensors = dict(tensors_of(state.model))
    if state.average:
        averages = tensors_of(state.average.model)
        tensors |= {f"ema/{name}": tensor for name, tensor in averages.items()}
    for name, parameter in tensors_of(state.model).items():
        for what, value in state.optimiser.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"optimiser/{what}/{name}"] = value
    return tensors

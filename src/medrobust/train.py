"""Training: epochs, validation, checkpoints, resume."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor

from medrobust import checkpoints, log
from medrobust.config import Config
from medrobust.data.augment import Augmentation
from medrobust.data.batches import TrainingBatches, training_batches
from medrobust.data.order import classes_of
from medrobust.data.shuffled import with_shuffled_labels
from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.losses import Loss
from medrobust.models import build_model, loss_for, training_attack
from medrobust.optimise import Average, build_optimiser, learning_rate
from medrobust.randomness import image_keys, key, seeded
from medrobust.regimes import REGIMES, Batch
from medrobust.rundir import RunDir, begin, finish
from medrobust.state import State, restore, save
from medrobust.validation import Validation, check_selectable, validate
from medrobust.weights import initialise, read_tensors

Say = Callable[[str], None]
Track = Callable[[Iterator[Batch], int, str], Iterator[Batch]]
"""Wraps an epoch's batches (their number and a title are given) to show progress."""


def train(
    config: Config,
    store: Store,
    run: RunDir,
    *,
    say: Say = lambda text: None,
    track: Track = lambda batches, length, title: batches,
) -> None:
    """Train a model, or go on where an interrupted training of the same run stopped.

    Raises:
        MedrobustError: settings, store or directory do not fit; the loss is not a number.
    """
    fabric = _fabric(config)
    step = _set_up(fabric, config, store, run, say)
    if run.is_done:
        say(f"{run.path}: training is done already")
        return
    shown = with_shuffled_labels(store, config.seed) if config.data.shuffle_labels else store
    batches = training_batches(
        shown,
        batch_size=config.train.batch_size,
        seed=config.seed,
        device=fabric.device,
        on_device=config.data.on_device,
        balanced=config.train.balanced,
    )
    say(
        f"{run.path}: {config.regime} training of {len(batches.rows)} images, "
        f"{len(batches)} steps an epoch, on {_device_name(fabric.device)}"
    )
    while step.state.epoch < config.train.epochs and not _is_out_of_patience(step.state, config):
        begun = time.monotonic()
        loss = _train_epoch(step, batches, track)
        result = validate(step.state.deployed, store, config, fabric.device, fabric.autocast)
        improved = _select(step.state, result, config)
        record = _record(step, loss, result, improved, time.monotonic() - begun)
        log.append(run, record, config.train.tensorboard)
        save(step.state, run, config, store, improved)
        say(log.line(record, config.train.epochs))
    finish(run, log.seconds(run))


@dataclass
class _Step:
    """One update of the weights."""

    fabric: Fabric
    config: Config
    loss: Loss
    state: State
    wrapped: Any
    """The model as Fabric wraps it; its forward takes care of precision."""
    optimiser: Any
    rate: float = 0.0

    def __post_init__(self) -> None:
        self.regime = REGIMES[self.config.regime]
        self.attack = training_attack(self.config, self.loss)
        self.augment = Augmentation(**self.config.augment.model_dump())
        self.dtype = next(self.state.model.parameters()).dtype

    def __call__(self, batch: Batch, steps_per_epoch: int) -> Tensor:
        """The batch's loss before the update; it stays on the device."""
        state = self.state
        self.rate = learning_rate(self.config.train, state.step, steps_per_epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate
        self.wrapped.train()
        purpose = key(self.config.seed, "step", state.step)
        augmented = self._augmented(batch)  # in full precision
        with seeded(purpose, augmented.images.device), self.fabric.autocast():
            loss = self.regime(self.wrapped, augmented, self.attack, self.loss)
        self._update(loss)
        state.step += 1
        if state.average:
            state.average.update(state.step)
        return loss.detach()

    def _augmented(self, batch: Batch) -> Batch:
        keys = image_keys(key(self.config.seed, "augment", self.state.epoch), batch.rows)
        images = self.augment(batch.images, keys).to(self.dtype)
        return Batch(images, batch.labels, batch.keys, batch.rows)

    def _update(self, loss: Tensor) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        if self.config.train.gradient_clip:
            self.fabric.clip_gradients(
                self.wrapped, self.optimiser, max_norm=self.config.train.gradient_clip
            )
        self.optimiser.step()


def _train_epoch(step: _Step, batches: TrainingBatches, track: Track) -> float:
    """The mean loss of an epoch; looked at now and then only, so that a GPU need not wait."""
    state, losses = step.state, []
    title = f"epoch {state.epoch + 1}/{step.config.train.epochs}"
    for batch in track(batches.epoch(state.epoch), len(batches), title):
        losses.append(step(batch, len(batches)))
        if len(losses) % 50 == 0:
            _check_finite(losses[-1], step)
    mean = torch.stack(losses).cpu().double().mean()
    _check_finite(mean, step)
    state.epoch += 1
    return float(mean)


def _check_finite(loss: Tensor, step: _Step) -> None:
    if not torch.isfinite(loss):
        raise MedrobustError(
            f"training: the loss is no longer a number (epoch {step.state.epoch + 1}, step "
            f"{step.state.step}, learning rate {step.rate:.2g}); lower train.lr or set "
            "train.gradient_clip, under another name: other settings are another run"
        )


def _set_up(fabric: Fabric, config: Config, store: Store, run: RunDir, say: Say) -> _Step:
    """The model and optimiser on their device: fresh, or as the last checkpoint left them."""
    model = build_model(config, store)
    check_selectable(store)  # better said before than after an epoch
    if config.train.balanced:
        classes_of(store.labels[store.rows("train")], store.info.task)
    if config.train.tensorboard:
        log.check_tensorboard()
    goes_on = checkpoints.exists(run.checkpoints, "last")
    if config.network.initialise and not goes_on:
        path = config.network.initialise
        for note in initialise(model, read_tensors(path), str(path)):
            say(note)
    begin(run, config, store, _device_name(fabric.device))
    wrapped, optimiser = fabric.setup(model, build_optimiser(model, config.train))
    average = Average(model, config.train.ema) if config.train.ema else None
    state = State(model, average, optimiser.optimizer)
    if goes_on and not run.is_done:
        restore(state, run)
        say(f"{run.path}: going on after epoch {state.epoch}")
    if not run.is_done:
        log.cut_back(run, state.epoch)  # what a killed process logged before it could save
    return _Step(fabric, config, loss_for(store.info.task), state, wrapped, optimiser)


def _select(state: State, result: Validation, config: Config) -> bool:
    """Note whether these weights are the best so far."""
    score = [result.score, -result.loss]
    improved = config.train.select == "last" or score > state.best
    if improved:
        state.best = score
    state.stale = 0 if improved else state.stale + 1
    return improved


def _is_out_of_patience(state: State, config: Config) -> bool:
    return config.train.patience is not None and state.stale >= config.train.patience


def _record(
    step: _Step, loss: float, result: Validation, improved: bool, seconds: float
) -> dict[str, Any]:
    return {
        "epoch": step.state.epoch,
        "step": step.state.step,
        "learning_rate": step.rate,
        "train_loss": loss,
        "seconds": round(seconds, 3),
        "validation": result.auroc,
        "validation_loss": result.loss,
        "score": result.score,
        "best": improved,
    }


def _fabric(config: Config) -> Fabric:
    """One device. `auto` is a CUDA GPU where there is one, else the CPU."""
    wanted, found = config.train.accelerator, torch.cuda.is_available()
    if wanted == "cuda" and not found:
        raise MedrobustError(
            "train.accelerator=cuda: no CUDA device was found; use train.accelerator=auto or cpu"
        )
    if wanted == "auto":
        wanted = "cuda" if found else "cpu"
    try:
        return Fabric(accelerator=wanted, devices=1, precision=config.train.precision)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise MedrobustError(
            f"train.accelerator={wanted} can't be used here ({reason}); try train.accelerator=cpu"
        ) from error


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type

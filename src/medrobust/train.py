"""Training: epochs, validation, checkpoints, resume; in one process or in several."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from medrobust import checkpoints, guard, log
from medrobust.compiling import compile_if_possible
from medrobust.config import Config
from medrobust.data.batches import TrainingBatches, training_batches
from medrobust.data.order import classes_of
from medrobust.data.shuffled import with_shuffled_labels
from medrobust.data.store import Store
from medrobust.dual import DualBN
from medrobust.folding import FoldedCopies
from medrobust.models import build_model, loss_for
from medrobust.optimise import Average, build_optimiser
from medrobust.parallel.device import Team, fabric_on, meet
from medrobust.parallel.norms import synchronise
from medrobust.parallel.place import Place, here
from medrobust.regimes import Batch
from medrobust.rundir import RunDir, begin, finish, settings_of, what_next
from medrobust.shortage import telling_shortage
from medrobust.state import State, restore, save
from medrobust.step import TrainingStep
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

    Called in each of several processes (see `parallel`), it is one training: the first process
    alone speaks and writes.

    Raises:
        MedrobustError: settings, store, device or directory do not fit; the loss is not a number;
            the memory does not suffice; another process ended.
    """
    place = here()
    fabric = fabric_on(config.train, place)
    model = _fresh(config, store, place, fabric.device)
    team = meet(fabric, place)
    if not team.group.is_first:
        say, track = lambda text: None, lambda batches, length, title: batches
    with team.group.noticing_ends(lambda: what_next(run)):
        _train(team, model, config, store, run, say, track)


def _train(
    team: Team, model: DualBN, config: Config, store: Store, run: RunDir, say: Say, track: Track
) -> None:
    fabric, group = team.fabric, team.group
    step = _set_up(team, model, config, store, run, say)
    if step is None:
        say(f"{run.path}: training is done already")
        return
    shown = with_shuffled_labels(store, config.seed) if config.data.shuffle_labels else store
    batches = _batches(config, shown, fabric.device, (group.rank, group.count))
    say(
        f"{run.path}: {config.regime} training of {len(batches.rows)} images, "
        f"{len(batches)} steps an epoch, on {team.devices}"
    )
    while step.state.epoch < config.train.epochs and not _is_out_of_patience(step.state, config):
        begun = time.monotonic()
        with telling_shortage("train.batch_size", config.train.batch_size):
            loss = _train_epoch(step, batches, track)
        with telling_shortage("evaluate.batch_size", config.evaluate.batch_size):
            result = validate(
                *(step.state.deployed, store, config, fabric.device, fabric.autocast, group),
                fast=step.fast,
            )
        improved = _select(step.state, result, config)
        _guard(step, store, say)
        record = _record(step, loss, result, improved, time.monotonic() - begun)
        if group.is_first:
            log.append(run, record, config.train.tensorboard)
            save(step.state, run, config, store, improved)
            say(log.line(record, config.train.epochs))
    group.on_first(lambda: finish(run, log.seconds(run)))


def _train_epoch(step: TrainingStep, batches: TrainingBatches, track: Track) -> float:
    """The mean loss of an epoch; looked at now and then only, so that a GPU need not wait."""
    state, losses = step.state, []
    title = f"epoch {state.epoch + 1}/{step.config.train.epochs}"
    for batch in track(batches.epoch(state.epoch), len(batches), title):
        losses.append(step(batch, len(batches)))
        if len(losses) % 50 == 0:
            _check_finite(step.group.mean(losses[-1]), step)
    mean = step.group.mean(torch.stack(losses)).cpu().double().mean()
    _check_finite(mean, step)
    state.epoch += 1
    return float(mean)


def _check_finite(loss: Tensor, step: TrainingStep) -> None:
    if not torch.isfinite(loss):
        raise step.group.error(
            f"training: the loss is no longer a number (epoch {step.state.epoch + 1}, step "
            f"{step.state.step}, learning rate {step.rate:.2g}); lower train.lr or set "
            "train.gradient_clip, under another name: other settings are another run"
        )


def _fresh(config: Config, store: Store, place: Place, device: torch.device) -> DualBN:
    """The model with its first weights, and errors that are better said before than after an epoch.

    Raises:
        MedrobustError: nothing can be learnt or selected from this store with these settings.
    """
    model = build_model(config, store)
    check_selectable(store)
    if config.train.balanced:
        classes_of(store.labels[store.rows("train")], store.info.task)
    if config.train.tensorboard:
        log.check_tensorboard()
    if place.count > 1:
        place.check_shares(_batches(config, store, torch.device("cpu")).images, _least(config))
        if config.train.norms == "synchronised":
            synchronise(model, device)
    return model


def _least(config: Config) -> int:
    """Images that a process must have of each batch: for every branch one, or two for its norms."""
    part = config.attack.part
    share = min(part, 1 - part) if part < 1 else 1
    return math.ceil((1 if config.train.norms == "synchronised" else 2) / share)


def _set_up(
    team: Team, model: DualBN, config: Config, store: Store, run: RunDir, say: Say
) -> TrainingStep | None:
    """The model and optimiser on their device: fresh, or as the last checkpoint left them.

    None if the training is done already.
    """
    fabric, group = team.fabric, team.group
    group.check_alike(settings_of(config) | {"checksum of the store": store.checksum})
    goes_on, is_done = group.on_first(
        lambda: (checkpoints.exists(run.checkpoints, "last"), run.is_done)
    )
    if config.network.initialise and not goes_on:
        path = config.network.initialise
        for note in group.on_first(lambda: initialise(model, read_tensors(path), str(path))):
            say(note)
    group.on_first(lambda: begin(run, config, store, team.devices))
    if is_done:
        return None
    wrapped, optimiser = fabric.setup(model, build_optimiser(model, config.train))
    group.take_from_first(list(model.buffers()))  # of the parameters DDP takes care
    average = Average(model, config.train.ema) if config.train.ema else None
    state = State(model, average, optimiser.optimizer)
    if goes_on:
        restore(state, group.on_first(lambda: checkpoints.load(run.checkpoints, "last")), run)
        say(f"{run.path}: going on after epoch {state.epoch}")
    # what a killed process logged before it could save
    group.on_first(lambda: log.cut_back(run, state.epoch))
    if config.train.compile:
        few = torch.zeros(2, *store.images.shape[1:], device=fabric.device)
        few = few.to(next(model.parameters()).dtype)
        for name in model.branches:
            compile_if_possible(model.branch(name), few, say)
    loss, copies = loss_for(store.info.task), FoldedCopies(say, config.train.compile)
    return TrainingStep(fabric, config, loss, state, wrapped, optimiser, group, copies)


def _batches(
    config: Config, store: Store, device: torch.device, share: tuple[int, int] = (0, 1)
) -> TrainingBatches:
    return training_batches(
        store,
        batch_size=config.train.batch_size,
        seed=config.seed,
        device=device,
        on_device=config.data.on_device,
        balanced=config.train.balanced,
        share=share,
    )


def _select(state: State, result: Validation, config: Config) -> bool:
    """Note whether these weights are the best so far."""
    score = [result.score, -result.loss]
    improved = config.train.select == "last" or score > state.best
    if improved:
        state.best = score
    state.stale = 0 if improved else state.stale + 1
    return improved


def _guard(step: TrainingStep, store: Store, say: Say) -> None:
    """Go on with several steps of attack where one has turned out not to be enough."""
    state, config = step.state, step.config
    if state.collapsed or not guard.is_needed(config):
        return
    network = state.model.branch(state.model.branches[-1])
    ratio = step.group.on_first(
        lambda: guard.excess(network, store, config, step.fabric.device, step.fast)
    )
    state.collapsed = ratio > guard.COLLAPSED
    if state.collapsed:
        say(
            f"after epoch {state.epoch} the network resists its one step of attack only (loss "
            f"{ratio:.1f} times as high under PGD): PGD of {config.attack.steps} steps from here on"
        )


def _is_out_of_patience(state: State, config: Config) -> bool:
    return config.train.patience is not None and state.stale >= config.train.patience


def _record(
    step: TrainingStep, loss: float, result: Validation, improved: bool, seconds: float
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

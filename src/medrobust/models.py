"""From settings to models and attacks: the only place where names become objects."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from medrobust import checkpoints
from medrobust.attacks import Attack, Ball, fgsm, gaussian_noise, n_fgsm, pgd
from medrobust.config import AttackSettings, Config
from medrobust.data.aligned import Aligned, align
from medrobust.data.batches import channel_statistics
from medrobust.data.store import Store
from medrobust.dual import DualBN
from medrobust.errors import MedrobustError
from medrobust.losses import Loss, sigmoid_loss, softmax_loss
from medrobust.networks import Classifier, build_backbone
from medrobust.randomness import key, seeded
from medrobust.regimes import BRANCHES
from medrobust.rundir import RunDir
from medrobust.weights import digest, load_tensors, part


def loss_for(task: str) -> Loss:
    """The loss of a task: `multilabel` or `exclusive`."""
    return softmax_loss if task == "exclusive" else sigmoid_loss


def ball_of(settings: AttackSettings, eps: float | None = None) -> Ball:
    """The threat model of the settings, or one of another radius."""
    return Ball(settings.norm, settings.eps if eps is None else eps)


def training_attack(config: Config, loss: Loss, epoch: int = 0, collapsed: bool = False) -> Attack:
    """What takes a training image to its attacked version in an epoch (from 0).

    `collapsed`: whether the guard has found that one step is not enough.
    """
    settings, ball = config.attack, ball_of(config.attack)
    if config.regime == "noise":
        return partial(gaussian_noise, ball=ball)
    if settings.name == "fgsm" and not collapsed:
        return partial(fgsm, ball=ball, loss=loss)
    if settings.name == "n-fgsm" and not collapsed:
        return partial(n_fgsm, ball=ball, loss=loss, noise=settings.noise)
    return partial(
        pgd,
        ball=ball,
        loss=loss,
        steps=_steps(config, epoch),
        step_size=settings.step_size,
        restarts=settings.restarts,
    )


def _steps(config: Config, epoch: int) -> int:
    """Of PGD in an epoch: all, or growing evenly until all are made in the last epoch."""
    steps, epochs = config.attack.steps, config.train.epochs
    return math.ceil((epoch + 1) * steps / epochs) if config.attack.growing else steps


def build_model(config: Config, store: Store) -> DualBN:
    """A fresh model for a store; its weights depend on the seed alone."""
    mean, spread = channel_statistics(store, store.rows("train"))
    with seeded(key(config.seed, "initialise")):
        network = build_classifier(config, describe(store), mean, spread)
    return DualBN(network, BRANCHES[config.regime])


def untrained_like(network: nn.Module, config: Config, store: Store) -> nn.Module:
    """The same network with other, fresh weights; only the input's normalisation is kept."""
    mean, spread = network.get_buffer("input_mean"), network.get_buffer("input_spread")
    with seeded(key(config.seed, "untrained")):
        fresh = build_classifier(
            config, describe(store), mean.flatten().tolist(), spread.flatten().tolist()
        )
    return fresh.eval()


@dataclass(frozen=True)
class Restored:
    """A trained model, without any images."""

    model: DualBN
    """In evaluation mode, on the CPU."""
    weights: str
    """The hash of the weights."""
    known: dict[str, Any]
    """What it knows of the store it is for; see `describe`."""


@dataclass(frozen=True)
class Fitted:
    """A trained model and a store seen through its findings."""

    model: DualBN
    weights: str
    """The hash of the weights."""
    aligned: Aligned


def fit_model(run: RunDir, store: Store, checkpoint: str = "best") -> Fitted:
    """The model of a run's checkpoint, and `store` with the model's findings.

    Raises:
        MedrobustError: no such checkpoint, or a store of another task, size or channels, or
            without a finding of the model.
    """
    restored = restore_model(run, checkpoint)
    aligned = align(store, restored.known["findings"], restored.known["task"])
    check_fits(aligned.store, restored.known, run)
    return Fitted(restored.model, restored.weights, aligned)


def restore_model(run: RunDir, checkpoint: str = "best") -> Restored:
    """The model of a run's checkpoint.

    Raises:
        MedrobustError: no such checkpoint, or a damaged one.
    """
    config, saved = run.config(), checkpoints.load(run.checkpoints, checkpoint)
    known = saved.state["model"]
    flat = [0.0] * known["channels"]
    network = build_classifier(config, known, flat, [1.0] * len(flat))
    model = DualBN(network, BRANCHES[config.regime])
    tensors = deployed(saved.tensors)
    load_tensors(model, tensors, f"{run.checkpoints}/{checkpoint}.safetensors")
    return Restored(model.eval(), digest(tensors), known)


def load_model(run: RunDir, store: Store, checkpoint: str = "best") -> tuple[DualBN, str]:
    """The model of a run's checkpoint and the hash of its weights; `store` has its findings.

    Raises:
        MedrobustError: no such checkpoint, or a store of other findings, task, size or channels.
    """
    fitted = fit_model(run, store, checkpoint)
    if fitted.aligned.store.findings != store.findings:
        raise MedrobustError(
            f"{store.path}: expected findings {', '.join(fitted.aligned.store.findings)}, as "
            f"{run.path} was trained, found {', '.join(store.findings)}"
        )
    return fitted.model, fitted.weights


def deployed(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights to use: of `last` the running average, where there is one."""
    return part(tensors, "ema") or part(tensors, "")


def describe(store: Store) -> dict[str, Any]:
    """What a model must know of the store it is for."""
    shape = store.images.shape
    return {
        "findings": store.findings,
        "task": store.info.task,
        "channels": shape[1],
        "size": list(shape[2:]),
    }


def check_fits(store: Store, model: dict[str, Any], run: RunDir) -> None:
    """Refuse a store the model was not made for.

    Raises:
        MedrobustError: other findings, task, channels or size.
    """
    for name, here in describe(store).items():
        if name in model and model[name] != here:
            raise MedrobustError(
                f"{store.path}: expected {name} {model[name]}, as {run.path} was trained, "
                f"found {here}; give a store prepared in the same way"
            )


def build_classifier(
    config: Config, known: dict[str, Any], mean: list[float], spread: list[float]
) -> nn.Module:
    """The network of the settings with fresh weights, for images that are `known` (`describe`)."""
    dimensions = len(known["size"])
    backbone = build_backbone(
        config.network.name,
        channels=known["channels"],
        outputs=len(known["findings"]),
        dimensions=dimensions,
        **config.network.arguments(),
    )
    for module in backbone.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = config.train.bn_momentum
    return Classifier(backbone, mean, spread, dimensions)

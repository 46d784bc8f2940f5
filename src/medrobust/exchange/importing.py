"""From a file of weights to a run directory that `evaluate`, `explain` and `predict` accept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from medrobust import checkpoints
from medrobust.checkpoints import Checkpoint
from medrobust.config import Config, Network, dump_config, resolve
from medrobust.data.store import Store, open_store, verify_checksum
from medrobust.dual import DualBN
from medrobust.errors import MedrobustError
from medrobust.exchange.description import (
    Description,
    channel_values,
    read_description,
)
from medrobust.exchange.published import recognise
from medrobust.files import new_folder, sha256_of, write_json, write_text
from medrobust.models import build_classifier, check_fits
from medrobust.regimes import BRANCHES
from medrobust.rundir import RunDir, provenance_of
from medrobust.weights import load_tensors, read_tensors, tensors_of

SIZE = (256, 256)
"""Pixels of the published radiographs."""
NO_STORE = "imported-without-a-store"
"""Stands for the training store where none is given."""


@dataclass(frozen=True)
class Wanted:
    """What is told of weights; None where the file, or else the published code, decides."""

    findings: Sequence[str] | None = None
    """In the order of the outputs; `finding-1`, ... if nobody names them."""
    task: str | None = None
    channels: int | None = None
    """1 sums the stem of a 3-channel network: grey images in three equal channels give the same."""
    size: int | Sequence[int] | None = None
    mean: Sequence[float] | None = None
    """Of each channel, or of all, as the network was trained; in [0, 1]."""
    spread: Sequence[float] | None = None
    regime: str | None = None
    norm: str | None = None
    eps: float | None = None
    store: Path | None = None
    """The training store, whose validation split then gives the thresholds."""


def import_weights(path: Path, out: Path, wanted: Wanted | None = None) -> Description:
    """Make the run directory `out` of a checkpoint of the published code, or of an export.

    Returns what the network is now known to be.

    Nothing in the file is executed. The directory appears whole or not at all. Its training
    settings are defaults and say nothing of how the weights were found.

    Args:
        path: `.pth` of tensors, or `.safetensors`; what `export` wrote says by itself what it is.
        out: a new folder, such as `runs/published/0`.
        wanted: what the file does not say.

    Raises:
        MedrobustError: the file is unreadable, holds more than tensors, an unknown network, a
            part of one, or values that are not numbers; what is told does not fit; `out` exists.
    """
    wanted = wanted or Wanted()
    if out.exists():
        raise MedrobustError(
            f"{out} exists already: choose another folder for the run, or remove that one"
        )
    tensors, found = _recognised(path)
    store = open_store(wanted.store) if wanted.store else None
    told = _told(found, _with_store(wanted, found, store), str(path))
    if store is not None:
        check_fits(store, known_of(told), RunDir(out))
        verify_checksum(store)
    config = _config(told, out, wanted.store)
    model = _model(config, told, tensors, str(path))
    imported = {"file": path.name, "sha256": sha256_of(path), "branch": told.branch}
    with new_folder(out) as folder:
        state = {"epoch": 0, "step": 0, "model": known_of(told)}
        checkpoints.save(folder / "checkpoints", "best", Checkpoint(tensors_of(model), state))
        record = provenance_of(config, store, "unknown") | {"imported": imported}
        write_json(folder / "provenance.json", record)
        write_text(folder / "config.yaml", dump_config(config))
        write_text(folder / "DONE", "imported\n")
    return told


def known_of(told: Description) -> dict[str, Any]:
    """What a checkpoint's state says of the images; see `models.describe`."""
    return {
        "findings": list(told.findings),
        "task": told.task,
        "channels": told.channels,
        "size": list(told.size),
    }


def _recognised(path: Path) -> tuple[dict[str, Tensor], Description]:
    """The tensors, and what they are as far as the file says or shows it."""
    tensors = read_tensors(path)
    said = read_description(path)
    if said is not None:
        _refuse_own_code(said, path)
        return tensors, said
    found = recognise(tensors, str(path))
    return found.tensors, Description(
        findings=tuple(f"finding-{number + 1}" for number in range(found.outputs)),
        channels=found.channels,
        size=SIZE,
        network=Network(name=found.network, width=found.width),
        regime="dual" if found.is_dual else "standard",
        input_mean=(0.0,) * found.channels,
        input_spread=(1.0,) * found.channels,
    )


def _refuse_own_code(said: Description, path: Path) -> None:
    if ":" in said.network.name:
        raise MedrobustError(
            f"{path}: expected a network of medrobust's own, found {said.network.name}, which is "
            "code that a file of weights must not start; load the tensors in a program of yours"
        )


def _with_store(wanted: Wanted, found: Description, store: Store | None) -> Wanted:
    """What the training store tells where nobody does: size, task, the name of the one output."""
    if store is None:
        return wanted
    findings = wanted.findings
    if findings is None and found.branch == "":  # the file has no names either
        if len(found.findings) > 1:
            raise MedrobustError(
                f"--store: expected --findings with it, in the order of the {len(found.findings)} "
                f"outputs; the store has {', '.join(store.findings)}"
            )
        findings = store.findings
    return replace(
        wanted,
        findings=findings,
        size=wanted.size or store.info.size,
        task=wanted.task or store.info.task,
    )


def _told(found: Description, wanted: Wanted, origin: str) -> Description:
    """What the file says with what was told in its place."""
    if wanted.regime and (wanted.regime == "dual") != (found.regime == "dual"):
        branches = "two branches" if found.regime == "dual" else "one branch"
        raise MedrobustError(f"--regime: {origin} has {branches}, found {wanted.regime!r}")
    if wanted.findings is not None and len(wanted.findings) != len(found.findings):
        raise MedrobustError(
            f"--findings: expected {len(found.findings)} names, one for each output of {origin}, "
            f"found {len(wanted.findings)}"
        )
    changes = {
        name: value
        for name in ("findings", "task", "regime", "norm", "eps")
        if (value := getattr(wanted, name)) is not None
    }
    if wanted.size is not None:
        changes["size"] = _sides(wanted.size, len(found.size), origin)
    return found.changed(origin, **changes | _channels(found, wanted, origin))


def _sides(size: int | Sequence[int], axes: int, origin: str) -> tuple[int, ...]:
    sides = (size,) * axes if isinstance(size, int) else tuple(size)
    if len(sides) != axes:
        raise MedrobustError(f"{origin}: size: expected {axes} sides, found {len(sides)}")
    return sides


def _channels(found: Description, wanted: Wanted, origin: str) -> dict[str, Any]:
    """Channels and their normalisation."""
    channels = wanted.channels or found.channels
    if channels != found.channels and (channels, found.channels) != (1, 3):
        raise MedrobustError(
            f"--channels: expected {found.channels}{' or 1' if found.channels == 3 else ''}, as "
            f"{origin} has, found {channels}"
        )
    values = {
        "input_mean": wanted.mean or found.input_mean,
        "input_spread": wanted.spread or found.input_spread,
    }
    if channels != found.channels and any(len(set(v)) > 1 for v in values.values()):
        raise MedrobustError(
            "--channels 1: expected one mean and one spread for all three channels, found "
            f"{values['input_mean']} and {values['input_spread']}; it can't be made grey"
        )
    same = {name: tuple(v)[:1] if len(set(v)) == 1 else v for name, v in values.items()}
    return {"channels": channels} | {n: channel_values(v, channels) for n, v in same.items()}


def _config(told: Description, out: Path, store: Path | None) -> Config:
    seeded = out.name.isdecimal() and bool(out.absolute().parent.name)
    settings = {
        "name": out.absolute().parent.name if seeded else out.name,
        "seed": int(out.name) if seeded else 0,
        "regime": told.regime,
        "data": {"store": str(store or NO_STORE)},
        "network": told.network.model_dump(mode="json"),
        "attack": {"norm": told.norm, "eps": told.eps},
    }
    return resolve(settings, (), str(out))


def _model(config: Config, told: Description, tensors: Mapping[str, Tensor], origin: str) -> DualBN:
    """The model with the file's weights in it."""
    network = build_classifier(
        config, known_of(told), list(told.input_mean), list(told.input_spread)
    )
    model = DualBN(network, BRANCHES[config.regime])
    own = tensors_of(model)
    given = {name: _grey(tensor, own.get(name)) for name, tensor in tensors.items()}
    load_tensors(model, _unsaid(own) | given, origin)
    return model.eval()


def _unsaid(own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What files need not hold: the normalisation, and counters that nothing depends on."""
    last = ("input_mean", "input_spread", "num_batches_tracked")
    return {name: tensor.clone() for name, tensor in own.items() if name.endswith(last)}


def _grey(tensor: Tensor, own: Tensor | None) -> Tensor:
    """A 3-channel stem summed to one channel where the model has one."""
    if own is None or tensor.ndim < 4 or (tensor.shape[1], own.shape[1]) != (3, 1):
        return tensor
    return tensor.sum(1, keepdim=True)

"""What a run's claims are held against: its files, the stores at hand, its networks."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medrobust import checkpoints
from medrobust.data.aligned import Aligned, align
from medrobust.data.store import Store, open_store, verify_checksum
from medrobust.errors import MedrobustError
from medrobust.findings import Finding, UncheckedError, attempted, judged
from medrobust.metrics import read_metrics
from medrobust.models import deployed, restore_model
from medrobust.predictions import Predictions, finding_names, read_predictions
from medrobust.routing import deployments
from medrobust.rundir import RunDir, check_same_store, store_name
from medrobust.scoring import RECORD, Record, read_record
from medrobust.sweeping import Track
from medrobust.weights import digest


@dataclass
class Evidence:
    """Each file, store and network is read once."""

    run: RunDir
    device: torch.device
    predictions: dict[str, Predictions] = field(default_factory=dict)
    """The readable ones, by stem."""
    stores: dict[str, Store] = field(default_factory=dict)
    """The verified ones, by checksum."""
    claimed: frozenset[str] = frozenset()
    """The stems that `metrics.csv` has numbers of."""
    record: Record | None = None
    """How these were computed, where that can be read."""
    _weights: dict[str, str] = field(default_factory=dict)
    _networks: dict[str, dict[str, nn.Module]] = field(default_factory=dict)

    def told(self, stem: str) -> Predictions:
        """Predictions and their sidecar.

        Raises:
            UncheckedError: they are missing or damaged, which is found elsewhere.
        """
        if stem not in self.predictions:
            raise UncheckedError("its predictions are missing or can't be read")
        return self.predictions[stem]

    def seen(self, stem: str) -> Aligned:
        """The store of these predictions, in the model's words.

        Raises:
            UncheckedError: it is not at hand, or was changed.
        """
        frame, sidecar = self.told(stem)
        checksum = sidecar.get("store_checksum", "")
        if checksum not in self.stores:
            raise UncheckedError(
                f"store {sidecar['store']} (checksum {str(checksum)[:12]}) is not at hand"
            )
        return align(self.stores[checksum], finding_names(frame), sidecar["task"])

    def weights(self, checkpoint: str) -> str:
        """The hash of the weights that a checkpoint deploys.

        Raises:
            UncheckedError: there is no such checkpoint.
            MedrobustError: it is damaged.
        """
        if checkpoint not in self._weights:
            if not checkpoints.exists(self.run.checkpoints, checkpoint):
                raise UncheckedError(f"checkpoint {checkpoint} is not at hand")
            saved = checkpoints.load(self.run.checkpoints, checkpoint)
            self._weights[checkpoint] = digest(deployed(saved.tensors))
        return self._weights[checkpoint]

    def network(self, stem: str) -> nn.Module:
        """The network that made these predictions.

        Raises:
            UncheckedError: it is not at hand: the checkpoint is missing, damaged or another's.
        """
        sidecar = self.told(stem).sidecar
        name = sidecar["checkpoint"]
        try:
            if self.weights(name) != sidecar.get("weights"):
                raise UncheckedError(f"checkpoint {name} has other weights")
            if name not in self._networks:
                model = restore_model(self.run, name).model.to(self.device)
                self._networks[name] = deployments(model, sidecar["task"])
        except MedrobustError as error:
            raise UncheckedError(f"checkpoint {name} can't be used") from error
        if sidecar["branch"] not in self._networks[name]:
            raise MedrobustError(f"the model has no network {sidecar['branch']!r}")
        return self._networks[name][sidecar["branch"]]


def gather(
    run: RunDir, store: Store | None, device: torch.device, track: Track
) -> tuple[Evidence, list[Finding]]:
    """All predictions and the stores they are of, each read and found to be whole or not."""
    evidence, findings = Evidence(run, device), []
    for path in sorted(run.predictions.glob("[!.]*.csv")):
        told, trouble = attempted("predictions", path.stem, partial(read_predictions, path))
        findings += trouble
        if told is not None:
            evidence.predictions[path.stem] = told
    rows, _ = attempted("metrics", run.metrics.name, partial(read_metrics, run.metrics))
    evidence.claimed = frozenset() if rows is None else frozenset(rows["predictions"])
    evidence.record, _ = attempted("metrics", RECORD, partial(read_record, run))
    wanted = {
        str(told.sidecar.get("store_checksum", "")): str(told.sidecar["store"])
        for told in evidence.predictions.values()
    }
    for checksum, name in wanted.items():
        findings += judged(
            "store", name, partial(_verified, evidence, checksum, name, store, track)
        )
    if store is not None and store.checksum not in wanted:
        note = "no predictions are of this store"
        findings.append(Finding("store", str(store.path), "not checked", note))
    return evidence, findings


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        MedrobustError: it is something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise MedrobustError(f"{path.name} can't be read as JSON") from error
    if not isinstance(found, dict):
        raise MedrobustError(f"{path.name} should hold an object")
    return found


def _verified(
    evidence: Evidence, checksum: str, name: str, given: Store | None, track: Track
) -> Iterator[str]:
    """Find the store of this checksum, and read all of it."""
    store = given if given and given.checksum == checksum else _training_store(evidence, checksum)
    _read_all(store, track)
    evidence.stores[checksum] = store
    if store_name(evidence.run, store) != name:
        yield f"predictions call it {name}, its name is {store_name(evidence.run, store)}"


def _read_all(store: Store, track: Track) -> None:
    """Compare the hashes of all files, counted in MiB."""
    total = sum((store.path / name).stat().st_size for name in store.info.checksums)
    tell, told = track(total >> 20, f"reading {store.path} (MiB)"), 0

    def progress(done: int, total: int) -> None:
        nonlocal told
        tell((done >> 20) - told)
        told = done >> 20

    verify_checksum(store, progress)


def _training_store(evidence: Evidence, checksum: str) -> Store:
    run = evidence.run
    if not checksum or run.provenance()["store"]["checksum"] != checksum:
        raise UncheckedError(
            f"no store with checksum {checksum[:12]} is at hand; name it with --store"
        )
    path = run.config().data.store
    if not path.exists():
        raise UncheckedError(f"there is nothing at {path}; name the training store with --store")
    store = open_store(path)
    check_same_store(run, store)
    return store

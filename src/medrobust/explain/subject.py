"""What is explained: the branches of a run's model, and the images of a store they are shown."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medrobust.data.batches import load_images
from medrobust.data.cases import first_cases
from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.explain.methods import Method
from medrobust.folding import folded_if_possible
from medrobust.inference import Cases
from medrobust.job import choose_device
from medrobust.models import fit_model, untrained_like
from medrobust.progress import Count
from medrobust.rundir import RunDir, store_name

Rows = NDArray[np.int64]
Batch = tuple[Rows, Tensor, Tensor, Tensor]
"""Rows of the store, images (N, C, ...), labels (N, K), keys (N,) for random numbers."""


@dataclass(frozen=True)
class Subject:
    """A run's model and the images it is explained on."""

    run: RunDir
    store: Store
    """Seen through the model's findings."""
    name: str
    """The store's, in paths and tables."""
    split: str
    checkpoint: str
    networks: Mapping[str, nn.Module]
    """By branch; in evaluation mode, on the device."""
    device: torch.device
    batch_size: int
    missing: tuple[str, ...]
    """The model's findings that the store has no labels of."""
    notes: tuple[str, ...]
    """What the user should know of store and model."""
    _fast: WeakKeyDictionary[nn.Module, nn.Module] = field(
        default_factory=WeakKeyDictionary, repr=False, compare=False
    )

    @property
    def folder(self) -> Path:
        """`explain`, which reports show; other checkpoints than the best have their own."""
        explain = self.run.explain
        if self.checkpoint == "best":
            return explain
        return explain.with_name(f"explain-{self.checkpoint}")

    @property
    def seed(self) -> int:
        """The run's."""
        return self.run.config().seed

    def ids(self, rows: Rows) -> list[str]:
        """The images' ids."""
        return [str(name) for name in self.store.table["image_id"].iloc[rows]]

    def images(self, rows: Rows) -> Tensor:
        """(N, C, ...) in [0, 1], on the device."""
        return load_images(self.store, rows, self.device)

    def batches(self, rows: Rows, purpose: str) -> Iterator[Batch]:
        """Images, labels and keys; the keys depend on (seed, purpose, image id) alone."""
        return Cases(self.store, rows, self.batch_size, self.device, self.seed).batches(purpose)

    def maps(
        self,
        network: nn.Module,
        method: Method,
        rows: Rows,
        column: int,
        done: Count = lambda count: None,
    ) -> NDArray[np.float32]:
        """(n, H, W) or (n, D, H, W): what a method gives for these rows."""
        seen = network if method.looks_inside or not len(rows) else self.fast(network)
        parts = [np.zeros((0, *self.store.images.shape[2:]), np.float32)]
        for first in range(0, len(rows), self.batch_size):
            batch = rows[first : first + self.batch_size]
            parts.append(method(seen, self.images(batch), column).cpu().numpy())
            done(len(batch))
        return np.concatenate(parts)

    def fast(self, network: nn.Module) -> nn.Module:
        """The same function with its batch norms folded, where that can be done.

        Kept as long as the network.
        """
        if network not in self._fast:
            few = self.images(self.store.rows(self.split)[:2])
            self._fast[network] = folded_if_possible(network, few)
        return self._fast[network]

    def column(self, finding: str) -> int:
        """The logit of a finding."""
        return self.store.findings.index(finding)

    def title(self, what: str) -> str:
        """Of a progress bar."""
        return f"{self.run.path}: {what}"

    def first_rows(self, rows: Rows, count: int) -> Rows:
        """The first of these rows by a hash of the image id, ascending."""
        return np.array(sorted(first_cases(self.store, rows, count)), dtype=np.int64)

    def untrained(self) -> nn.Module:
        """The same network with fresh weights."""
        first = next(iter(self.networks.values()))
        fresh = untrained_like(first, self.run.config(), self.store)
        return fresh.to(self.device)

    def chosen(self, findings: Sequence[str] | None = None) -> list[str]:
        """The findings to explain: those asked for, or all that the store has labels of.

        Raises:
            MedrobustError: one asked for is not among them.
        """
        labelled = _without(self.store.findings, self.missing)
        unknown = _without(findings or (), labelled)
        if unknown:
            raise MedrobustError(
                f"finding: expected some of {', '.join(labelled)}, found {unknown[0]!r}"
            )
        return list(findings or labelled)


def open_subject(
    run: RunDir,
    store: Store | None = None,
    *,
    split: str = "test",
    checkpoint: str = "best",
    batch_size: int = 64,
    device: str = "auto",
) -> Subject:
    """Load the model, and see the store (the training store if not given) through its findings.

    Raises:
        MedrobustError: empty split, no such checkpoint, or a store that does not fit the model.
    """
    store = store or run.training_store()
    store.rows(split)
    fitted, where = fit_model(run, store, checkpoint), choose_device(device)
    return Subject(
        run=run,
        store=fitted.aligned.store,
        name=store_name(run, fitted.aligned.store),
        split=split,
        checkpoint=checkpoint,
        networks={name: fitted.model.branch(name).to(where) for name in fitted.model.branches},
        device=where,
        batch_size=batch_size,
        missing=fitted.aligned.missing,
        notes=tuple(f"{store.path}: {note}" for note in fitted.aligned.notes),
    )


def _without(names: Sequence[str], others: Collection[str]) -> list[str]:
    return [name for name in names if name not in others]

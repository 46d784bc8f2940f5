"""Images shown again: does the network still give the predictions?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medrobust.attacks.gradient import frozen, full_precision
from medrobust.attacks.worst import class_margin
from medrobust.conditions import Condition
from medrobust.data.store import Store
from medrobust.errors import MedrobustError
from medrobust.evaluate import change_of
from medrobust.findings import Finding, judged
from medrobust.inference import Cases, logits_of
from medrobust.losses import rank_scores
from medrobust.predictions import CLASS_MARGIN, LOGIT
from medrobust.verify.evidence import Evidence

TOLERANCE = 0.01
"""Of a score shown again, absolute and relative to its size.

In float32 other batches change it by 1e-5; other machines, and the 10-bit mantissas (TF32) with
which GPUs may multiply, by thousandths.
"""

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Showing:
    """One file of predictions, its store and the rows (n,) of the images that are shown again."""

    frame: pd.DataFrame
    sidecar: Mapping[str, Any]
    store: Store
    rows: NDArray[np.int64]
    image_id: Sequence[str]

    @classmethod
    def of(cls, evidence: Evidence, stem: str, ids: Sequence[str]) -> "Showing":
        """These images of the predictions.

        Raises:
            UncheckedError: the store is not at hand.
            MedrobustError: they are not images of the predictions, each once.
        """
        frame, sidecar = evidence.told(stem)
        store = evidence.seen(stem).store
        rows = pd.Index(store.table["image_id"].astype(str)).get_indexer(pd.Index(ids))
        strange = not set(ids) <= set(frame["image_id"]) or len(set(ids)) < len(ids)
        if strange or (rows < 0).any():
            raise MedrobustError(f"{stem}: expected images of the predictions, each once")
        return cls(frame, sidecar, store, rows.astype(np.int64), ids)

    @property
    def slots(self) -> list[str]:
        """The columns of the predictions that have an attacked image each."""
        margin = [CLASS_MARGIN] if self.sidecar["task"] == "exclusive" else []
        return [*(LOGIT + finding for finding in self.store.findings), *margin]

    def differences(self, slot: int, logits: Tensor, tolerance: float) -> Iterator[str]:
        """Where the logits (n, K) of a slot's images do not give its predictions."""
        name = self.slots[slot]
        found = self._scores(slot, logits).double().numpy()
        told = self.frame.set_index("image_id").loc[list(self.image_id), name].to_numpy(float)
        off = ~np.isclose(found, told, rtol=tolerance, atol=tolerance, equal_nan=True)
        if off.any():
            first = int(off.argmax())
            yield (
                f"{name}: image {self.image_id[first]!r} gives {found[first]:.6g}, predicted was "
                f"{told[first]:.6g} ({int(off.sum())} of {len(off)} images are off)"
            )

    def _scores(self, slot: int, logits: Tensor) -> Tensor:
        """(n,) a finding's score, or the margin of the class (NaN where it is unknown)."""
        if slot < len(self.store.findings):
            return rank_scores(logits, self.sidecar["task"])[:, slot]
        labels = torch.from_numpy(self.store.labels[self.rows])
        return class_margin(logits, labels)


def check_shown(evidence: Evidence, stem: str, tolerance: float, batch: int) -> list[Finding]:
    """All images of predictions that no attack was needed for: clean, with noise, corrupted."""
    if evidence.told(stem).sidecar["attack"].get("attacked_branch"):
        return []
    return judged("images", stem, lambda: _shown(evidence, stem, tolerance, batch))


def _shown(evidence: Evidence, stem: str, tolerance: float, batch: int) -> Iterator[str]:
    frame, sidecar = evidence.told(stem)
    showing = Showing.of(evidence, stem, frame["image_id"].tolist())
    network, attack = evidence.network(stem), sidecar["attack"]
    logits = logits_of(
        {stem: network},
        Cases(showing.store, showing.rows, batch, evidence.device, attack["seed"]),
        attack=change_of(evidence.run.config(), Condition(attack["name"], attack["eps"])),
        attacked=network,
        name=attack["name"],
    )[stem]
    for slot in range(len(showing.slots)):
        yield from showing.differences(slot, logits, tolerance)


def logits_again(network: nn.Module, images: Tensor, batch: int, device: torch.device) -> Tensor:
    """(n, K) of images (n, C, ...), on the CPU."""
    with frozen(network):
        parts = [
            full_precision(network(part.to(device))).cpu() for part in torch.split(images, batch)
        ]
    return torch.cat(parts)

"""What an attack is after: all findings at once, one of them, or that one vanishes or appears."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["total", "finding", "vanish", "appear"]


@dataclass(frozen=True)
class Goal:
    """Which labels an attack works against.

    Args:
        kind: `total`, all known labels at once; `finding`, one finding, whose positives are lowered
            and whose negatives are raised (a bound of its AUROC); `vanish`, only its positives;
            `appear`, only its negatives.
        finding: the column; not for `total`.
    """

    kind: Kind = "total"
    finding: int | None = None

    def labels(self, labels: Tensor) -> Tensor:
        """The labels (N, K) with all others unknown: an attack leaves unknown labels alone."""
        if self.finding is None:
            return labels
        given = labels[:, self.finding]
        if self.kind != "finding":
            wanted = 1.0 if self.kind == "vanish" else 0.0
            given = torch.where(given == wanted, given, torch.nan)
        masked = torch.full_like(labels, torch.nan)
        masked[:, self.finding] = given
        return masked

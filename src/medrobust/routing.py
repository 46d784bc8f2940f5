"""What a model with several branches can be deployed as, each an ordinary network.

A branch by itself; the mean of all (and so the attack of someone who does not know the route); a
router that takes, for each image, the branch that is more confident.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medrobust.dual import DualBN
from medrobust.losses import log_odds

MEAN, ROUTER = "mean", "router"


class Mean(nn.Module):
    """The mean of the branches' logits."""

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images (N, C, ...)."""
        return torch.stack([branch(images) for branch in self.branches]).mean(0)


class Router(nn.Module):
    """The logits of the branch that is more confident of each image.

    Confidence is the mean of |logit| over the findings; of exclusive classes it is the log-odds of
    the likeliest one.
    """

    def __init__(self, branches: Sequence[nn.Module], task: str) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self._task = task

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images (N, C, ...)."""
        logits = torch.stack([branch(images) for branch in self.branches])
        chosen = torch.stack([self._confidence(one) for one in logits]).argmax(0)
        return logits[chosen, torch.arange(logits.shape[1], device=logits.device)]

    def _confidence(self, logits: Tensor) -> Tensor:
        if self._task == "exclusive":
            return log_odds(logits).amax(1)
        return logits.abs().mean(1)


def deployments(model: DualBN, task: str) -> dict[str, nn.Module]:
    """Every network that the model can be deployed as, by name; the branches come first."""
    found: dict[str, nn.Module] = {name: model.branch(name) for name in model.branches}
    if len(found) > 1:
        branches = list(found.values())
        found |= {MEAN: Mean(branches), ROUTER: Router(branches, task)}
    return found

"""Visual counterfactuals: the nearest images of which a model says otherwise.

Boreiko et al. (2022, arXiv 2205.07972): on an adversarially trained network the change that raises
or lowers a finding's score most is one that a person can see and judge; on any other it is noise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medrobust.attacks.frank_wolfe import STEPS, Watch, frank_wolfe
from medrobust.attacks.gradient import frozen, full_precision
from medrobust.errors import MedrobustError
from medrobust.losses import Loss, margin_loss, rank_scores

LEVEL = 9 / 255
"""A radius of 100 at 224 × 224 × 3, the middle of the published ones (50 to 150, p = 1.5)."""
FRAMES = 4
VISIBLE = 1 / 255
"""A pixel that changes by more has changed: one grey level of an 8-bit image."""
TOP = 0.05


def radius_for(shape: Sequence[int], p: float = 1.5, level: float = LEVEL) -> float:
    """The radius of the l_p ball in which all pixels may change by `level`.

    The length of one and the same change grows with d^(1/p) (d values in an image), so a level
    means the same at every size, where a radius does not. What one pixel does not use of it,
    others may: by several levels, where few pixels change.

    Args:
        shape: (C, ...) of an image.
        p: the norm, 1 ≤ p ≤ ∞.
        level: mean change per value, in (0, 1].

    Raises:
        MedrobustError: a level that cannot be.
    """
    if not 0 < level <= 1:
        raise MedrobustError(
            f"level: expected a mean change per pixel above 0 up to 1, such as 9/255, found {level}"
        )
    return float(level * math.prod(shape) ** (1 / p))


def wanted_labels(findings: int, column: int, towards: Tensor) -> Tensor:
    """(N, K) labels that images are changed towards: 1 or 0 of one finding, NaN of all others.

    Args:
        findings: K.
        column: the finding's; of exclusive classes that of the class to reach or to leave.
        towards: (N,) bool; true where the finding is to appear.
    """
    labels = torch.full((len(towards), findings), torch.nan, device=towards.device)
    labels[:, column] = towards.float()
    return labels


def objective(task: str) -> Loss:
    """How much the scores speak for the labels wanted: what a counterfactual raises.

    Of independent findings the logit, up or down; of exclusive classes the log-odds, which are
    largest where the log-probability is and, unlike it, keep their gradient when it is near 0.
    """
    return lambda logits, labels: -margin_loss(rank_scores(logits, task), labels)


@dataclass(frozen=True)
class Counterfactual:
    """Images on their way to what was wanted; the network's scores at each stop."""

    path: Tensor
    """(N, S, C, ...): the images, the best points at some steps, the best of all."""
    scores: Tensor
    """(N, S, K): logits, or log-odds of exclusive classes."""
    steps: tuple[int, ...]
    """After how many steps each of the S stops was reached."""

    @property
    def start(self) -> Tensor:
        """(N, C, ...) the images themselves."""
        return self.path[:, 0]

    @property
    def end(self) -> Tensor:
        """(N, C, ...) the counterfactuals."""
        return self.path[:, -1]

    @property
    def difference(self) -> Tensor:
        """(N, C, ...) what was changed."""
        return self.end - self.start


def counterfactual(
    network: nn.Module,
    images: Tensor,
    wanted: Tensor,
    keys: Tensor,
    *,
    task: str,
    radius: float,
    p: float = 1.5,
    steps: int = STEPS,
    watch: Watch = lambda step, best: None,
) -> Counterfactual:
    """Change images within the l_p ball so that the network sees what is wanted.

    Args:
        network: images -> logits (N, K); left as it was.
        images: (N, C, ...) in [0, 1].
        wanted: (N, K) as `wanted_labels` makes them.
        keys: (N,) decide the random starts.
        task: `multilabel` or `exclusive`.
        radius: above 0, in units of the images' range; see `radius_for`.
        p: the norm, 1 ≤ p ≤ ∞.
        steps: of the search, see `frank_wolfe`.
        watch: is shown the way.

    Raises:
        MedrobustError: a radius of 0, or settings that cannot be.
    """
    if radius == 0:
        raise MedrobustError("radius: expected a number above 0, found 0: nothing could change")
    stops, path = frame_steps(steps), [images]

    def keep(step: int, best: Tensor) -> None:
        if step in stops:
            path.append(best)
        watch(step, best)

    frank_wolfe(
        network,
        images,
        wanted,
        keys,
        radius=radius,
        loss=objective(task),
        p=p,
        steps=steps,
        watch=keep,
    )
    with frozen(network):
        scores = [rank_scores(full_precision(network(shown)), task) for shown in path]
    return Counterfactual(torch.stack(path, 1), torch.stack(scores, 1), (0, *stops))


def frame_steps(steps: int, frames: int = FRAMES) -> tuple[int, ...]:
    """After which steps to look: at most `frames`, close together at first, and the last one."""
    looks = {round(steps ** (k / (frames + 1))) for k in range(1, frames + 2)}
    return tuple(sorted(looks))


def sizes(difference: Tensor, p: float) -> dict[str, Tensor]:
    """How large and how sparse changes (N, C, ...) are, each (N,).

    `l1`, `l2`, `linf` and `lp` are norms; `changed` the share of pixels of which any channel
    changed by more than one of 255 grey levels; `top` the share of the l1 change that lies in the
    5 % of pixels that changed most (0.05 if all changed alike, 1 if only those did; NaN if none).
    """
    values = difference.flatten(2).double().abs()
    flat, pixels = values.flatten(1), values.sum(1)
    most = math.ceil(TOP * pixels.shape[1])
    total = flat.sum(1)
    return {
        **{
            name: torch.linalg.vector_norm(flat, order, 1)
            for name, order in (("l1", 1.0), ("l2", 2.0), ("linf", math.inf), ("lp", p))
        },
        "changed": (values.amax(1) > VISIBLE).double().mean(1),
        "top": pixels.topk(most, 1).values.sum(1) / torch.where(total > 0, total, torch.nan),
    }


def crossed(before: Tensor, after: Tensor, threshold: float, towards: Tensor) -> Tensor:
    """Whether decisions changed as wanted: 1 or 0, NaN where it stood so before.

    Args:
        before: (N,) probabilities of the images.
        after: (N,) those of the counterfactuals.
        threshold: from which probability on the finding counts as positive.
        towards: (N,) bool; true where the finding was to appear.
    """
    stood, stands = ((p >= threshold) == towards for p in (before, after))
    return torch.where(stood, torch.nan, stands.double())

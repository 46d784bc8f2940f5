"""The loss around an image: over a plane through it, and how steep it is at the image itself.

The plane is that of the study (Han et al. 2021): along the sign of the loss's gradient, and along
random signs, in units of ε. The network is in evaluation mode and every point is clipped to the box
[0, 1]; the published script did neither.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medrobust.attacks.gradient import ascent, frozen, full_precision
from medrobust.errors import MedrobustError
from medrobust.losses import Loss
from medrobust.progress import Count
from medrobust.randomness import uniform

AXIS = tuple(step / 5 for step in range(-10, 11))
"""-2, -1.8, ..., 2: in units of ε, twice as far as an attack may go."""


@dataclass(frozen=True)
class Surface:
    """The loss of each image over its plane."""

    losses: Tensor
    """(N, A, B)."""
    clipped: Tensor
    """(N,) in [0, 1]: of all pixels that were to be moved, the share that the box held back."""


def loss_surface(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    eps: float,
    loss: Loss,
    along: Sequence[float] = AXIS,
    across: Sequence[float] = AXIS,
    done: Count = lambda count: None,
) -> Surface:
    """The loss at x + ε (a · sign ∇ + b · r), clipped to the box, for all a and b.

    r has a random sign for each pixel, which depends on the image's key alone. Where the gradient
    is zero, nothing moves along it.

    Args:
        network: images -> logits (N, K); shown in evaluation mode, left as it was.
        images: (N, C, ...) in [0, 1].
        labels: (N, K), NaN = unknown.
        keys: (N,).
        eps: the unit of both axes, a change of pixel values; > 0.
        loss: per image.
        along: (A,) values of a.
        across: (B,) values of b.
        done: is told how many images were shown a whole row of points.

    Raises:
        MedrobustError: ε is not above 0.
    """
    check_radius(eps)
    with frozen(network):
        first = ascent(network, images, labels, loss).sign()
        second = random_signs(keys, images)
        rows, clipped = [], torch.zeros(len(images), device=images.device)
        for a in along:
            points = [images + eps * (a * first + b * second) for b in across]
            rows.append([_loss_at(network, point, labels, loss) for point in points])
            clipped += sum(_outside(point) for point in points)
            done(len(images))
    losses = torch.stack([torch.stack(row, 1) for row in rows], 1)
    return Surface(losses, clipped / (len(along) * len(across)))


def random_signs(keys: Tensor, images: Tensor) -> Tensor:
    """-1 or 1 for each value of the images (N, ...), from their keys (N,)."""
    return torch.where(uniform(keys, images.shape[1:]) < 0.5, -1.0, 1.0).to(images)


def gradient_norms(
    network: nn.Module, images: Tensor, labels: Tensor, loss: Loss
) -> dict[str, Tensor]:
    """The length (N,) of the loss's gradient at each image, in `l1`, `l2` and `linf`.

    An attack inside a small ball of radius ε raises the loss by ε times the *dual* norm: l1 for
    an l∞ ball, l2 for an l2 ball, l∞ for an l1 ball.
    """
    with frozen(network):
        gradient = ascent(network, images, labels, loss)
    return {norm: lengths(gradient, norm) for norm in ("l1", "l2", "linf")}


def lengths(vectors: Tensor, norm: str) -> Tensor:
    """(N,) of (N, ...), summed in double precision."""
    order = {"l1": 1, "l2": 2, "linf": torch.inf}[norm]
    found: Tensor = torch.linalg.vector_norm(vectors.flatten(1).double(), order, dim=1)
    return found


def check_radius(eps: float) -> None:
    """Raise MedrobustError unless ε is above 0."""
    if not eps > 0:
        raise MedrobustError(
            f"eps: expected a number above 0, found {eps:g}: a ball of no size has nothing "
            "in it to measure"
        )


def _loss_at(network: nn.Module, points: Tensor, labels: Tensor, loss: Loss) -> Tensor:
    return loss(full_precision(network(points.clamp(0, 1))), labels)


def _outside(points: Tensor) -> Tensor:
    """(N,) share of values outside the box."""
    return ((points < 0) | (points > 1)).flatten(1).float().mean(1)

"""Attacks that follow the gradient: FGSM, N-FGSM and PGD.

Each leaves the network as it found it (mode, gradients, buffers, random state) and returns a
detached tensor. They run in evaluation mode: batch norms use their running statistics.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from medrobust.attacks.ball import Ball, per_image
from medrobust.attacks.circles import moved_often
from medrobust.errors import MedrobustError
from medrobust.losses import Loss
from medrobust.randomness import image_keys, key

Attack = Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor]
"""(network, images (N, C, ...) in the box, labels (N, K), keys (N,)) -> attacked images."""

MANY = 50
"""Steps from which looking for circles pays."""

Broken = Callable[[Tensor, Tensor], Tensor]
"""(logits (N, K), labels (N, K)) -> (N,), true where an image needs no more attack."""

Look = tuple[Tensor, Tensor]
"""The loss of each image, (N,), and its gradient, (N, C, ...)."""


def fgsm(
    network: nn.Module, images: Tensor, labels: Tensor, keys: Tensor, *, ball: Ball, loss: Loss
) -> Tensor:
    """One step of the full radius (Goodfellow et al. 2015); `keys` are not used."""
    with frozen(network):
        gradient = ascent(network, images, labels, loss)
        return ball.project(ball.step(images, gradient, ball.radius), images)


def n_fgsm(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    ball: Ball,
    loss: Loss,
    noise: float = 2.0,
) -> Tensor:
    """One step of the radius from strong noise, not clipped to the ball (arXiv 2202.01181).

    For training only: the result stays in the box, and within (noise + 1) radii of the image.
    The missing projection is what keeps one-step training from collapsing.
    """
    wide = ball.scaled(noise)
    with frozen(network):
        start = wide.start(images, keys)
        gradient = ascent(network, start, labels, loss)
        return ball.step(start, gradient, ball.radius).clamp(ball.low, ball.high)


def pgd(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    ball: Ball,
    loss: Loss,
    steps: int = 10,
    step_size: float | None = None,
    restarts: int = 1,
    random_start: bool = True,
) -> Tensor:
    """Projected gradient ascent on the loss (Madry et al. 2018).

    From 50 steps on an image in l∞ is left alone once it goes in a circle, which changes nothing.

    Args:
        network: images -> logits (N, K).
        images: (N, C, ...) inside the ball's box.
        labels: (N, K), NaN = unknown (never attacked).
        keys: (N,) decide the random starts.
        ball: the threat model.
        loss: what is raised, per image.
        steps: gradient steps of each restart.
        step_size: in the ball's units; 2.5 · radius / steps by default.
        restarts: of several runs each image keeps the one of highest loss.
        random_start: start anywhere in the ball; if not, at the image, and restarts are vain.

    Raises:
        MedrobustError: fewer than one step or restart; several restarts without random start.
    """
    check_budget(steps, restarts, random_start)
    size = 2.5 * ball.radius / steps if step_size is None else step_size

    def run(restart: int) -> Tensor:
        attacked = images
        if random_start:
            attacked = ball.start(images, image_keys(key("restart", restart), keys))
        if steps >= MANY and ball.norm == "linf":
            return moved_often(move, attacked, steps)
        for _ in range(steps):
            attacked = move(attacked)
        return attacked

    def move(attacked: Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
        gradient = ascent(network, attacked, labels[rows], loss)
        return ball.project(ball.step(attacked, gradient, size), images[rows])

    with frozen(network):
        best = run(0)
        for restart in range(1, restarts):
            best = _worse(network, labels, loss, best, run(restart))
        return best


def ascent(network: nn.Module, images: Tensor, labels: Tensor, loss: Loss) -> Tensor:
    """The gradient of each image's own loss with respect to that image."""
    return look(network, images, labels, loss)[1]


def look(network: nn.Module, images: Tensor, labels: Tensor, loss: Loss) -> Look:
    """Each image's own loss and its gradient, in one pass; the network's mode is not touched."""
    with torch.enable_grad():
        images = images.detach().clone().requires_grad_()
        value = loss(full_precision(network(images)), labels)
        gradient = torch.autograd.grad(value.sum(), images)[0]
    return value.detach(), gradient


def full_precision(logits: Tensor) -> Tensor:
    """Logits in at least float32: half precision is for the network, not for its loss."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Evaluation mode without parameter gradients; the former state comes back afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    wanted = [parameter for parameter in network.parameters() if parameter.requires_grad]
    network.eval()
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        with torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
        for module, training in modes:
            module.training = training


def _worse(network: nn.Module, labels: Tensor, loss: Loss, one: Tensor, other: Tensor) -> Tensor:
    """Of two versions of each image the one with the higher loss."""
    better = _loss_of(network, other, labels, loss) > _loss_of(network, one, labels, loss)
    return torch.where(per_image(better, one), other, one)


def _loss_of(network: nn.Module, images: Tensor, labels: Tensor, loss: Loss) -> Tensor:
    return loss(full_precision(network(images)), labels)


def check_budget(steps: int, restarts: int, random_start: bool) -> None:
    """Raise MedrobustError for fewer than one step or restart, or restarts from one point."""
    if steps < 1 or restarts < 1:
        raise MedrobustError(
            f"attack: expected at least 1 step and 1 restart, found {steps} and {restarts}"
        )
    if restarts > 1 and not random_start:
        raise MedrobustError(
            f"attack: {restarts} restarts from the same point are one; "
            "use restarts=1 or random_start=true"
        )

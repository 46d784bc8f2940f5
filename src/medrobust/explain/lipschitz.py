"""How fast logits can change near an image: a lower bound of the local Lipschitz constant.

Over the part of an ε ball that lies in the box, the constant is the supremum of |f(y) - f(z)| /
‖y - z‖ over all its points y and z. Here z is the image itself, and y is searched by gradient
ascent, as in Yang et al. 2020 ("A closer look at accuracy vs. robustness", arXiv 2003.02460). What
ascent finds is attained, hence a *lower* bound: the true constant may be larger, and an upper bound
would need a verifier. (The constant is also the supremum of the gradient's dual norm over
the ball; but in networks of ReLUs that norm is constant in pieces, so there is nothing to climb.)
"""

import torch
from torch import Tensor, nn

from medrobust.attacks.apgd import apgd
from medrobust.attacks.ball import Ball
from medrobust.attacks.gradient import frozen, full_precision
from medrobust.explain.landscape import check_radius, lengths

SHARES = (1.0, 0.5, 0.25)
"""Of ε: where a network saturates, the steepest secant ends inside the ball."""
STARTS = 2
"""For each share; a logit may rise faster than it falls."""


def lipschitz_lower_bound(
    network: nn.Module,
    images: Tensor,
    keys: Tensor,
    *,
    ball: Ball,
    column: int | None = None,
    steps: int = 20,
) -> Tensor:
    """(N,) the steepest secant from each image that APGD finds, in logits per unit of `ball.norm`.

    Args:
        network: images -> logits (N, K); in evaluation mode, left as it was.
        images: (N, C, ...) in the ball's box.
        keys: (N,) decide the random starts.
        ball: its radius is ε > 0; its norm measures how far images are apart.
        column: |·| of one logit; None: the sum of |·| over all logits, as in the paper.
        steps: of each ascent; there are `len(SHARES) * STARTS` of them.

    Raises:
        MedrobustError: ε is not above 0, or there are no steps.
    """
    check_radius(ball.radius)

    def apart(logits: Tensor, at_image: Tensor) -> Tensor:
        difference = (logits - at_image).abs()
        return difference.sum(1) if column is None else difference[:, column]

    best = torch.zeros(len(images), dtype=torch.float64, device=images.device)
    with frozen(network):
        at_image = full_precision(network(images))
        for share in SHARES:
            near = ball.scaled(share)
            found = apgd(
                *(network, images, at_image, keys),
                ball=near,
                loss=apart,
                steps=steps,
                restarts=STARTS,
            )
            length = lengths(found - images, ball.norm)
            height = apart(full_precision(network(found)), at_image)
            best = best.maximum(torch.where(length > 0, height / length, 0.0))
    return best

"""All checks of one deployed network at one radius, with what they share measured once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medrobust.attacks.apgd import apgd
from medrobust.attacks.ball import Ball
from medrobust.errors import MedrobustError
from medrobust.progress import Count
from medrobust.randomness import key, seeded
from medrobust.trust import masking, strength
from medrobust.trust.planted import planted
from medrobust.trust.subject import Climb, Subject
from medrobust.trust_table import Check

CHECKS = (
    *("steps", "restarts", "radius", "half", "black-box", "transfer"),
    *("zero-gradients", "randomised", "noise", "planted"),
)


@dataclass(frozen=True)
class TrustBudget:
    """How much the checks may cost.

    With these numbers an image costs about 400 gradients, 500 answers to Square (a third of a
    gradient each) and 20 gradients for each other network.
    """

    steps: tuple[int, ...] = (10, 50, 100)
    """Of `steps`, growing."""
    quick_steps: int = 20
    """Of every other attack."""
    restarts: int = 5
    queries: int = 500
    """Of Square."""
    batch_size: int = 32


def check_trust(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    ball: Ball,
    task: str,
    cuts: Tensor,
    others: Mapping[str, nn.Module] | None = None,
    budget: TrustBudget | None = None,
    attack: Climb = apgd,
    progress: Count = lambda done: None,
) -> list[Check]:
    """Whether an attack's result on this network can be believed, in the order of `CHECKS`.

    The network is left as it was found, and so are the global random generators.

    Args:
        network: images -> logits (N, K), as it is deployed.
        images: (N, C, ...) inside the ball's box; about 64 are enough.
        labels: (N, K), NaN = unknown; an image without a known label is left out.
        keys: (N,) decide all random numbers.
        ball: the threat model, of a radius above 0.
        task: `multilabel` (sigmoids, also a single one) or `exclusive` (softmax).
        cuts: (K,) the scores from which a finding counts as positive.
        others: networks whose attacks are tried on this one, by name; other branches, a mean.
        budget: steps, restarts and queries.
        attack: what is checked together with the network.
        progress: is told of every check that is done.

    Raises:
        MedrobustError: a radius of 0, no image with a known label, a logit that isn't finite.
    """
    budget = budget or TrustBudget()
    known = (labels == 1).any(1) if task == "exclusive" else (~torch.isnan(labels)).any(1)
    _check(ball, known)
    subject = Subject(
        *(network, images[known].detach(), labels[known], keys[known], ball, task, cuts),
        attack=attack,
        batch_size=budget.batch_size,
    )
    found = []
    with seeded(key("trust"), images.device):
        for check in _checks(subject, others or {}, budget):
            found.append(check)
            progress(1)
    return found


def _checks(
    subject: Subject, others: Mapping[str, nn.Module], budget: TrustBudget
) -> Iterator[Check]:
    clean, quick = subject.clean(), budget.quick_steps
    by_steps = {steps: subject.attacked(steps) for steps in budget.steps}
    yield strength.steps(subject, clean, by_steps)

    one, many = subject.attacked(quick), subject.attacked(quick, budget.restarts)
    yield strength.restarts(subject, one, many, budget.restarts)
    white = subject.worst([*by_steps.values(), one, many])

    wider = {factor: subject.ball.scaled(factor) for factor in strength.RADII}
    by_radius = {
        factor: one if factor == 1 else subject.attacked(quick, ball=ball)
        for factor, ball in wider.items()
    }
    yield strength.radius(subject, clean, by_radius)
    yield strength.half(subject, quick)

    yield masking.black_box(subject, clean, white, budget.queries)
    yield masking.transfer(subject, clean, white, others, quick)
    yield masking.zero_gradients(subject, clean, white)
    yield masking.randomised(subject, clean)
    yield strength.noise(subject, clean, white)
    yield planted(subject, clean, white, quick)


def _check(ball: Ball, known: Tensor) -> None:
    if ball.radius == 0:
        raise MedrobustError("trust: expected a radius above 0, found 0; name an attacked radius")
    if not known.any():
        raise MedrobustError(
            f"trust: expected images with a known label, found none among {len(known)}; "
            "choose others"
        )

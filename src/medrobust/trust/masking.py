"""Checks of the network: does it hide its gradient rather than resist?"""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from medrobust.attacks.gradient import ascent, frozen
from medrobust.attacks.square import square
from medrobust.losses import Loss
from medrobust.trust import limits
from medrobust.trust.subject import Subject
from medrobust.trust.verdict import judged, unchecked
from medrobust.trust_table import Check


def black_box(subject: Subject, clean: Tensor, white: Tensor, queries: int) -> Check:
    """An attack that asks for no gradient must not do better than one that does."""
    if subject.ball.norm == "l1":
        return unchecked("black-box", "the Square attack has no form for the norm l1")
    asked = partial(square, subject.network, ball=subject.ball, loss=subject.margin)
    found = subject.answers(partial(asked, queries=queries))
    return _compared(
        subject,
        "black-box",
        stronger(subject, clean, white, found),
        f"Square with {queries} queries, which uses no gradient,",
    )


def transfer(
    subject: Subject, clean: Tensor, white: Tensor, others: Mapping[str, nn.Module], steps: int
) -> Check:
    """Images made on other networks must not do better than those made on this one."""
    if not others:
        return unchecked("transfer", "there is no other network to attack")
    found = [
        stronger(subject, clean, white, subject.attacked(steps, source=other))
        for other in others.values()
    ]
    who = f"An attack made on {' or '.join(others)}"
    return _compared(subject, "transfer", torch.stack(found).any(0), who)


def stronger(subject: Subject, clean: Tensor, white: Tensor, other: Tensor) -> Tensor:
    """(N,) where another attack's logits (N, K) serve an image worse than the white box's.

    Its loss must be higher, and either clearly so or enough to break an unbroken image.
    """
    start, known, new = (subject.losses(logits) for logits in (clean, white, other))
    spare = limits.HIGHER * (known - start).clamp(min=0)
    spare = spare + limits.ROUNDING * known.abs().clamp(min=1)
    breaks = subject.broken(other) & ~subject.broken(white)
    return (new > known) & (breaks | (new > known + spare))


def zero_gradients(subject: Subject, clean: Tensor, white: Tensor) -> Check:
    """Without a gradient an attack that follows it goes nowhere."""
    losses = subject.cross_entropy, subject.margin
    entropy, margin = (_share(_lost(subject, loss)) for loss in losses)
    still = _share(subject.losses(white) <= subject.losses(clean))
    value = max(entropy, margin, still)
    bad = "attacks that follow the gradient cannot be believed"
    if margin <= limits.NO_GRADIENT and still <= limits.NO_GRADIENT:
        bad = "attacks on the cross-entropy cannot be believed, those on the margin can"
    return judged(
        "zero-gradients",
        value,
        limits.NO_GRADIENT,
        value > limits.NO_GRADIENT,
        f"{entropy:.1%} of images have no gradient of the cross-entropy, {margin:.1%} none of the "
        f"margin; on {still:.1%} the attack raised nothing",
        fine="there is a gradient to follow",
        bad=bad,
    )


def randomised(subject: Subject, clean: Tensor) -> Check:
    """A network that answers by chance needs an attack that averages over it."""
    again = subject.clean()
    largest = float(clean.abs().max().clamp(min=torch.finfo(clean.dtype).tiny))
    value = float((again - clean).abs().max()) / largest
    return judged(
        "randomised",
        value,
        limits.DIFFERENT,
        not value <= limits.DIFFERENT,
        f"Logits of the same images differ by {value:.2g} of the largest one when asked twice",
        fine="the network always gives the same answer",
        bad="the network answers by chance, which this attack does not average over",
    )


def _lost(subject: Subject, loss: Loss) -> Tensor:
    """(N,) whether the gradient at the clean image is zero everywhere, or not a number."""

    def lost(images: Tensor, labels: Tensor, keys: Tensor) -> Tensor:
        with frozen(subject.network):
            gradient = ascent(subject.network, images, labels, loss).flatten(1)
        return (gradient == 0).all(1) | ~gradient.isfinite().all(1)

    return subject.each(lost)


def _compared(subject: Subject, name: str, better: Tensor, who: str) -> Check:
    value, limit = _share(better), max(limits.STRONGER, 1 / len(better))
    return judged(
        name,
        value,
        limit,
        value > limit,
        f"{who} does better than the white-box attack on {value:.1%} of images",
        fine="the gradient leads to the weakest points",
        bad="the white box misses weak points, and the network is weaker than it seems",
    )


def _share(flags: Tensor) -> float:
    return float(flags.double().mean())

"""Checks of the attack's strength: does it find more where there must be more to find?"""

from dataclasses import replace
from itertools import pairwise

from torch import Tensor

from medrobust.attacks.ball import Ball
from medrobust.attacks.goals import Goal
from medrobust.attacks.noise import gaussian_noise
from medrobust.trust import limits
from medrobust.trust.subject import Subject
from medrobust.trust.verdict import judged
from medrobust.trust_table import Check

RADII = (0.5, 1.0, 2.0, 4.0)
"""Of `radius`, in multiples of the radius; 0 is the clean image."""


def steps(subject: Subject, clean: Tensor, by_steps: dict[int, Tensor]) -> Check:
    """The loss must not fall as steps grow, and few steps must find most of it."""
    start = subject.loss(clean)
    losses = [subject.loss(logits) for logits in by_steps.values()]
    rise = losses[-1] - start
    late = _share(losses[-1] - losses[0], rise)
    falls = _fall(losses) > _allowed(rise, losses)
    nothing = rise <= limits.ROUNDING * max(1, abs(start))
    counts = list(by_steps)
    told = ", ".join(f"{loss:.3g} after {n}" for n, loss in zip(counts, losses, strict=True))
    return judged(
        "steps",
        late,
        limits.LATE,
        falls or nothing or late > limits.LATE,
        f"Mean margin loss {start:.3g} without attack, {told} steps; {late:.1%} of the rise came "
        f"after step {counts[0]}",
        fine="more steps add little",
        bad=_steps_fault(falls, nothing),
    )


def restarts(subject: Subject, one: Tensor, many: Tensor, number: int) -> Check:
    """More random starts must not find much more, and never less."""
    losses = [subject.loss(one), subject.loss(many)]
    single, several = _scored(subject, one), _scored(subject, many)
    falls = _fall(losses) > limits.ROUNDING * max(1, abs(losses[0]))
    word = "Mean AUROC" if subject.aurocs(one) else "Accuracy"
    return judged(
        "restarts",
        several,
        single,
        falls or single - several > limits.RESTARTS,
        f"{word} {single:.3f} under 1 start, {several:.3f} under {number}",
        fine="one start finds nearly all",
        bad="more starts do worse" if falls else "the result depends on where the attack starts",
    )


def radius(subject: Subject, clean: Tensor, by_radius: dict[float, Tensor]) -> Check:
    """A larger ball holds all points of a smaller one, so it is never harder."""
    losses = [subject.loss(clean)] + [subject.loss(logits) for logits in by_radius.values()]
    rise = max(losses) - losses[0]
    fall, allowed = _fall(losses), _allowed(rise, losses)
    nothing = rise <= limits.ROUNDING * max(1, abs(losses[0]))
    told = ", ".join(f"{loss:.3g}" for loss in losses)
    factors = ", ".join(f"{factor:g}" for factor in by_radius)
    return judged(
        "radius",
        fall,
        allowed,
        nothing or fall > allowed,
        f"Mean margin loss {told} at 0, {factors} times the radius; the largest fall is {fall:.2g}",
        fine="a larger radius is never harder",
        bad="a larger radius is harder, which cannot be"
        if fall > allowed
        else "no radius has an effect",
    )


def half(subject: Subject, steps: int) -> Check:
    """Where every image may become the same grey, nothing better than chance can be left."""
    ball = half_ball(subject.ball, subject.images[0].numel())
    logits = subject.attacked(steps, ball=ball)
    found = subject.aurocs(logits)
    if not found:
        return _half_accuracy(subject, logits)
    for column in [column for column, value in found.items() if value > 0.5]:
        # all findings together may spare one, so it is attacked alone before it is blamed
        alone = subject.attacked(steps, ball=ball, goal=Goal("finding", column))
        found[column] = min(found[column], subject.aurocs(alone)[column])
    value = max(found.values())
    return judged(
        "half",
        value,
        0.5,
        value > 0.5,
        f"The best AUROC of a finding is {value:.3f} at {ball.norm} radius {ball.radius:g}, where "
        "all images can be made alike",
        fine="that is no better than chance",
        bad="that is better than chance, so the attack misses what is there",
    )


def noise(subject: Subject, clean: Tensor, white: Tensor) -> Check:
    """Noise of the same size must do much less than the attack."""
    shaken = subject.answers(
        lambda images, labels, keys: gaussian_noise(
            subject.network, images, labels, keys, ball=subject.ball
        )
    )
    start, blind, aimed = (subject.loss(logits) for logits in (clean, shaken, white))
    found = _share(blind - start, aimed - start)
    return judged(
        "noise",
        found,
        limits.NOISE,
        found > limits.NOISE or aimed - start <= limits.ROUNDING * max(1, abs(start)),
        f"Mean margin loss {start:.3g} without attack, {blind:.3g} with noise of the same size, "
        f"{aimed:.3g} under attack",
        fine="the attack does much more than noise",
        bad="the attack does little more than noise",
    )


def half_ball(ball: Ball, pixels: int) -> Ball:
    """The ball that reaches from any image to the middle of the box."""
    lengths = {"linf": 1.0, "l2": pixels**0.5, "l1": float(pixels)}
    return replace(ball, radius=(ball.high - ball.low) / 2 * lengths[ball.norm])


def _steps_fault(falls: bool, nothing: bool) -> str:
    if falls:
        return "more steps do worse"
    return "steps do nothing" if nothing else "the attack has not settled and may miss a lot"


def _half_accuracy(subject: Subject, logits: Tensor) -> Check:
    chance = 1 / logits.shape[1] if subject.task == "exclusive" else 0.5
    value = subject.accuracy(logits)
    return judged(
        "half",
        value,
        chance,
        value > chance,
        f"Accuracy {value:.3f} where all images can be made alike; chance is {chance:.3f}",
        fine="that is no better than chance",
        bad="that is better than chance, so the attack misses what is there",
    )


def _scored(subject: Subject, logits: Tensor) -> float:
    """Mean AUROC, or accuracy where no finding has both classes and of exclusive classes."""
    aurocs = subject.aurocs(logits)
    return sum(aurocs.values()) / len(aurocs) if aurocs else subject.accuracy(logits)


def _fall(losses: list[float]) -> float:
    """The largest fall between neighbours; 0 if there is none."""
    return max([0.0, *(a - b for a, b in pairwise(losses))])


def _allowed(rise: float, losses: list[float]) -> float:
    return max(limits.FALL * rise, limits.ROUNDING * max(1, *map(abs, losses)))


def _share(part: float, whole: float) -> float:
    """The part of the whole rise; 0 where nothing rose."""
    return part / whole if whole > 0 else 0.0

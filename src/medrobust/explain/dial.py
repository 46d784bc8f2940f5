"""A dial between the two branches: one network whose batch norms lie between theirs.

Rebuffi et al. 2023 ("Revisiting adapters with adversarial training", arXiv 2210.04886): where a
network has a few parameters of its own for clean and for attacked images, those in between give
networks in between, from accurate to robust, without any training.
"""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from medrobust.assault import Assault, Shown, attack_images
from medrobust.attacks import Ball
from medrobust.attacks.suite import suite_of
from medrobust.errors import MedrobustError
from medrobust.progress import Count


def dialled(clean: nn.Module, adv: nn.Module, share: float) -> nn.Module:
    """A network of its own with batch norms between those of two branches.

    Weight, bias, running mean and running variance are each (1 - share) of the clean branch's plus
    share of the adversarial one's. The variance is mixed as such, not its root: that is the
    variance of images of which a share is attacked, as far as the means agree.

    Args:
        clean: given back, bit for bit, at share 0.
        adv: its twin, given back at share 1.
        share: in [0, 1].

    Returns:
        A copy in evaluation mode; the branches stay as they are.

    Raises:
        MedrobustError: a share outside [0, 1], or networks that differ in more than batch norms.
    """
    if not 0 <= share <= 1:
        raise MedrobustError(f"share: expected a number between 0 and 1, found {share:g}")
    mine, theirs = clean.state_dict(), adv.state_dict()
    own = _norm_entries(clean)
    _check_twins(mine, theirs, own)
    mixed = copy.deepcopy(clean).eval()
    mixed.load_state_dict(
        {name: _between(mine[name], theirs[name], share) for name in own}, strict=False
    )
    return mixed


def clean_and_attacked(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor, Tensor]],
    ball: Ball,
    task: str,
    done: Count = lambda count: None,
) -> tuple[Tensor, Tensor]:
    """Scores (N, K) of images as they are, and under the suite `fast` against this very network.

    Args:
        network: images -> logits (N, K).
        batches: of images (n, C, ...), labels (n, K) with NaN = unknown, and keys (n,).
        ball: the threat model.
        task: `multilabel` (scores are logits) or `exclusive` (log-odds).
        done: is told how many images are done.

    Raises:
        MedrobustError: there are no images.
    """
    found = []
    for images, labels, keys in batches:
        members = suite_of("fast", task=task, findings=labels.shape[1], norm=ball.norm)
        cuts = {"": torch.zeros(labels.shape[1])}  # `fast` does not ask when an image is broken
        assault = Assault(members, "", {"": network}, cuts, (ball.radius,), ball.norm, task)
        none = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        found.append(attack_images(assault, Shown(images, labels, keys, none, none))["score "])
        done(len(images))
    if not found:
        raise MedrobustError("dial: expected images, found none")
    clean, attacked = torch.cat([torch.from_numpy(scores) for scores in found], 1)
    return clean, attacked


def _between(mine: Tensor, theirs: Tensor, share: float) -> Tensor:
    """A mixture that is exact at both ends; of counts the nearer one."""
    if not mine.is_floating_point():
        return mine if share < 0.5 else theirs
    return torch.lerp(mine, theirs, share)


def _norm_entries(network: nn.Module) -> list[str]:
    """The names of what belongs to batch norms, as in `state_dict`."""
    return [
        f"{name}.{own}" if name else own
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm)
        for own in module.state_dict()
    ]


def _check_twins(mine: dict[str, Tensor], theirs: dict[str, Tensor], own: list[str]) -> None:
    shared = [name for name in mine if name not in own]
    alike = mine.keys() == theirs.keys() and all(mine[n].shape == theirs[n].shape for n in mine)
    other = [name for name in shared if alike and not torch.equal(mine[name], theirs[name])]
    if not own or not alike or other:
        differing = f"another {other[0]}" if other else "other layers"
        found = differing if own else "no batch norms"
        raise MedrobustError(
            "dial: expected two branches of one network, which differ in their batch norms only, "
            f"found {found}"
        )

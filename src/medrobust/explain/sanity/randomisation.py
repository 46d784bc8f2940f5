"""Cascading parameter randomisation (Adebayo et al. 2018, section 3).

Layers get fresh weights one after the other, from the output towards the input. A map that
explains what a network has learnt must come to look different; one that stays was drawn from the
image, as an edge detector draws it.
"""

import copy
from collections.abc import Collection, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from medrobust.attacks.gradient import frozen
from medrobust.errors import MedrobustError
from medrobust.explain.sanity.methods import Method
from medrobust.randomness import key, seeded
from medrobust.watching import watched

NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


class Stage(NamedTuple):
    """The maps once this layer, and all between it and the output, have fresh weights."""

    layer: str
    """The module's name."""
    maps: Tensor
    """(N, ...)."""


def cascade(
    network: nn.Module, method: Method, images: Tensor, finding: int, *, seed: int = 0
) -> Iterator[Stage]:
    """Maps after each layer's randomisation; the last stage's network is wholly untrained.

    The work is done on a deep copy. Norms go together with the layer before them (their running
    statistics and affine parameters are those of its outputs, and would not fit fresh ones).
    Fresh weights are those of the layer's own `reset_parameters`; parameters that belong to a
    module without one are drawn anew from a normal distribution of their mean and spread.

    Args:
        network: images -> logits (N, K).
        method: what makes the maps.
        images: (N, C, ...) in [0, 1].
        finding: the logit's column.
        seed: decides the fresh weights, with the layer's name.

    Raises:
        MedrobustError: a network without weights.
    """
    fresh = copy.deepcopy(network).eval()
    for group in layers(fresh, images[:1]):
        for name in group:
            _reset(fresh, name, seed)
        yield Stage(group[0], method(fresh, images, finding))


def layers(network: nn.Module, images: Tensor) -> list[list[str]]:
    """Names of the modules with weights, the last one used first; norms with the layer before.

    Raises:
        MedrobustError: no module with weights takes part in a forward pass.
    """
    calls = _calls(network, images)
    used = list(dict.fromkeys(reversed(calls)))[::-1]  # by a layer's last use
    groups: list[list[str]] = []
    for name in used:
        if groups and isinstance(network.get_submodule(name), NORMS):
            groups[-1].append(name)
        else:
            groups.append([name])
    if not groups:
        raise MedrobustError(
            "parameter randomisation: expected a network with weights to draw anew, found "
            f"{type(network).__name__} without any"
        )
    for name in _weighted(network):
        if name not in calls and (parent := _parent(name, calls)) is not None:
            next(group for group in groups if parent in group).append(name)
    return groups[::-1]


def _weighted(network: nn.Module) -> list[str]:
    """Names of the modules with parameters of their own."""
    return [n for n, m in network.named_modules() if any(True for _ in m.parameters(recurse=False))]


def _parent(name: str, calls: Collection[str]) -> str | None:
    """The innermost called module around one whose weights are used without calling it."""
    while name:
        name = name.rpartition(".")[0]
        if name in calls:
            return name
    return None


def _calls(network: nn.Module, images: Tensor) -> list[str]:
    """Modules with weights of their own, in the order in which a forward pass uses them."""
    names = {network.get_submodule(name): name for name in _weighted(network)}
    calls: list[str] = []
    with watched(names, lambda module, *_: calls.append(names[module])), frozen(network):
        network(images)
    return calls


def _reset(network: nn.Module, name: str, seed: int) -> None:
    module = network.get_submodule(name)
    reset = getattr(module, "reset_parameters", None)
    with seeded(key(seed, "randomise", name), next(module.parameters()).device), torch.no_grad():
        if callable(reset):
            reset()
            return
        for parameter in module.parameters(recurse=False):
            parameter.normal_(float(parameter.mean()), float(parameter.std(correction=0)))

"""How alike layers represent the same images: debiased linear CKA, in mini-batches.

Centred kernel alignment (Kornblith et al. 2019, arXiv 1905.00414) of two layers is 1 where they
differ by a rotation and a scale only, and near 0 where they have nothing in common. The usual
estimate is biased upwards, the more so the more features there are for each image. Here
HSIC is the unbiased one (Song et al. 2012, "Feature selection via dependence maximization",
equation 5), in the form of Székely and Rizzo (2014): an inner product of Gram matrices that are
"U-centred". Sums of it over batches keep it unbiased (Nguyen et al. 2021, arXiv 2010.15327,
equations 2 to 4), and no more than a batch's Gram matrices has to be held.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from medrobust.attacks.gradient import frozen
from medrobust.errors import MedrobustError
from medrobust.watching import watched

LEAST = 4
"""Images in a batch: the unbiased estimate is not defined for fewer."""


@dataclass(frozen=True)
class Alignment:
    """CKA of every layer with every other."""

    layers: tuple[tuple[str, str], ...]
    """(network, layer), in the order in which images pass them."""
    values: Tensor
    """(M, M) double, symmetric, 1 on the diagonal; NaN for a layer that gives always the same."""


def cka(
    networks: Mapping[str, nn.Module],
    batches: Iterable[Tensor],
    layers: Sequence[str] | None = None,
) -> Alignment:
    """Debiased linear CKA of the layers of one or several networks on the same images.

    Args:
        networks: by name; in evaluation mode, left as they were.
        batches: images (N, C, ...), at least 4 each; the last should be as large as the others.
        layers: names of submodules whose output is compared, in every network that has them; all
            convolutions and linear layers if not given.

    Raises:
        MedrobustError: no images, a batch of fewer than 4, or a layer that no
            network has or uses.
    """
    names: list[tuple[str, str]] = []
    products: Tensor | None = None
    for images in batches:
        if len(images) < LEAST:
            raise MedrobustError(
                f"CKA: expected at least {LEAST} images in every batch, found {len(images)}; "
                "take more images or larger batches"
            )
        seen = {
            (name, layer): gram
            for name, network in networks.items()
            for layer, gram in grams(network, images, layers).items()
        }
        if not names:
            _check_layers(layers, seen, networks, images)
        names, centred = list(seen), torch.stack([u_centred(g).flatten() for g in seen.values()])
        product = centred @ centred.T / (len(images) * (len(images) - 3))
        products = product if products is None else products + product
    if products is None:
        raise MedrobustError("CKA: expected images, found none")
    length = products.diagonal().sqrt()
    return Alignment(tuple(names), products / (length[:, None] * length))


def grams(
    network: nn.Module, images: Tensor, layers: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """Layer -> Gram matrix (N, N) of its output, in the order of the pass.

    Of a layer that is used several times in a pass it is the last output.
    """
    found: dict[str, Tensor] = {}
    names = {
        module: name
        for name, module in network.named_modules()
        if (name in layers if layers is not None else isinstance(module, _ConvNd | nn.Linear))
    }

    def watch(module: nn.Module, given: Any, out: Any) -> None:
        if isinstance(out, Tensor):  # at once: what follows may change an output in place
            found[names[module]] = gram(out)

    with frozen(network), watched(names, watch):
        network(images)
    return found


def gram(features: Tensor) -> Tensor:
    """(N, N) inner products of features (N, ...), less their mean, in double precision."""
    flat = features.detach().flatten(1).double()
    flat = flat - flat.mean(0)  # changes nothing after U-centring, but saves digits
    return flat @ flat.T


def u_centred(gram: Tensor) -> Tensor:
    """The matrix (N, N) less its row, column and total means, unbiased; 0 on the diagonal.

    Székely and Rizzo 2014 ("Partial distance correlation", definition 2): the inner product of two
    such matrices is N (N - 3) times the unbiased HSIC.
    """
    n = len(gram)
    off = gram - torch.diag(gram.diagonal())
    sums = off.sum(0)
    centred = off - (sums[:, None] + sums) / (n - 2) + sums.sum() / ((n - 1) * (n - 2))
    return centred - torch.diag(centred.diagonal())


def _check_layers(
    layers: Sequence[str] | None,
    seen: Iterable[tuple[str, str]],
    networks: Mapping[str, nn.Module],
    images: Tensor,
) -> None:
    """Raise MedrobustError for a layer that no image passes, and for networks without any."""
    used = {layer for _, layer in seen}
    unknown = [layer for layer in layers or () if layer not in used]
    if unknown or not used:
        there = dict.fromkeys(name for one in networks.values() for name in grams(one, images))
        raise MedrobustError(
            "layer: expected modules that images pass, such as "
            f"{', '.join(there) or 'a convolution or linear layer'}, "
            f"found {repr(unknown[0]) if unknown else 'none'}"
        )

"""How alike two saliency maps of the same image are.

The three measures of Adebayo et al. 2018 ("Sanity checks for saliency maps", NeurIPS) that need no
choice of features: rank correlation of absolute and of signed values, and SSIM. All are blind to
a map's scale. NaN, not comparable: a map that is constant or not finite (of absolute values
where those are compared).
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

Floats = NDArray[np.float64]
Similarity = Callable[[Tensor, Tensor], Floats]
"""(maps (N, ...), maps (N, ...)) -> (N,), 1 where they are alike."""

WINDOW, SPREAD = 11, 1.5
"""SSIM's Gaussian window and its standard deviation in pixels (Wang et al. 2004)."""


def rank_similarity(first: Tensor, second: Tensor) -> Floats:
    """Spearman's rank correlation of |values|, (N,) in [-1, 1]: do they stress the same pixels?"""
    return _rank_correlation(first.abs(), second.abs())


def signed_similarity(first: Tensor, second: Tensor) -> Floats:
    """Spearman's rank correlation of signed values, (N,) in [-1, 1]."""
    return _rank_correlation(first, second)


def structural_similarity(first: Tensor, second: Tensor) -> Floats:
    """SSIM of |values|, each map divided by its own maximum; (N,), at most 1.

    Windows lie wholly inside the image; in an image of fewer than 11 pixels they are as large as
    it allows.
    """
    from monai.metrics.regression import compute_ssim_and_cs  # takes a second to import

    ours, theirs = first.abs(), second.abs()
    usable = is_comparable(ours) & is_comparable(theirs)
    found = np.full(len(first), np.nan)
    if not usable.any():
        return found
    windows = [min(WINDOW, size - 1 + size % 2) for size in first.shape[1:]]
    chosen = torch.from_numpy(usable)
    values, _ = compute_ssim_and_cs(
        _unit(ours.cpu()[chosen]),
        _unit(theirs.cpu()[chosen]),
        spatial_dims=len(windows),
        kernel_size=windows,
        kernel_sigma=[SPREAD] * len(windows),
    )
    found[usable] = values.flatten(1).double().mean(1).numpy()
    return found


SIMILARITIES: Mapping[str, Similarity] = {
    "rank": rank_similarity,
    "signed rank": signed_similarity,
    "SSIM": structural_similarity,
}


def is_comparable(maps: Tensor) -> NDArray[np.bool_]:
    """(N,) true where a map (...) is finite and not constant."""
    values = maps.detach().cpu().flatten(1)
    varied = values.amax(1) > values.amin(1)
    usable: NDArray[np.bool_] = (torch.isfinite(values).all(1) & varied).numpy()
    return usable


def _rank_correlation(first: Tensor, second: Tensor) -> Floats:
    usable = is_comparable(first) & is_comparable(second)
    found = np.full(len(first), np.nan)
    if usable.any():
        ours, theirs = (_ranks(maps, usable) for maps in (first, second))
        found[usable] = (ours * theirs).sum(1)
    return found


def _ranks(maps: Tensor, usable: NDArray[np.bool_]) -> Floats:
    """Ranks (n, pixels) of the usable maps, ties averaged, of mean 0 and length 1."""
    values = maps.detach().cpu().flatten(1).numpy()[usable]
    ranks: Floats = stats.rankdata(values, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    ranks /= np.linalg.norm(ranks, axis=1, keepdims=True)
    return ranks


def _unit(maps: Tensor) -> Tensor:
    """(n, 1, ...) float32, each map divided by its maximum."""
    largest = maps.flatten(1).amax(1).reshape(-1, *[1] * (maps.ndim - 1))
    return (maps / largest).float()[:, None]

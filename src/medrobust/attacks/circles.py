"""Moves that lead back to where an image has been need not be made.

Sign steps of one size inside a box take few different values, so that on a robust network many
images soon go in a circle (Doldo et al., Stop walking in circles, CVPR 2025, arXiv 2503.19347).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from medrobust.randomness import image_keys, key

Move = Callable[[Tensor, Tensor], Tensor]
"""(images (M, ...), their numbers (M,)) -> the images moved: each a function of itself alone."""


def moved_often(move: Move, images: Tensor, times: int) -> Tensor:
    """What `times` moves make of images (N, ...).

    An image that is where it was p moves ago makes only as many more moves as are left over by
    whole rounds of p. Images are compared by a hash of 64 bits.
    """
    moved = images.clone()
    last = torch.full((len(images),), times, device=images.device)
    been = _hashes(images)[None].repeat(times + 1, 1)
    for time in range(1, times + 1):
        going = (last >= time).nonzero().squeeze(1)
        if not len(going):
            break
        moved[going] = move(moved[going], going)
        been[time, going] = _hashes(moved[going])
        came_back = been[:time, going] == been[time, going]
        period = time - came_back.int().argmax(0)
        is_new = came_back.any(0) & (last[going] == times)
        last[going] = torch.where(is_new, time + (times - time) % period, last[going])
    return moved


def _hashes(images: Tensor) -> Tensor:
    """(N,) int64, equal for images of the same bits."""
    whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}[images.element_size()]
    bits = images.flatten(1).contiguous().view(whole).long()
    numbers = torch.arange(bits.shape[1], device=images.device)
    return (bits * (image_keys(key("circles"), numbers) | 1)).sum(1)

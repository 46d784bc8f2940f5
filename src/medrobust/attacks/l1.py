"""The l1 ball inside the box: exact projection, and steps that change few pixels.

Croce & Hein, "Mind the box: l1-APGD for sparse adversarial attacks on image classifiers" (2021,
arXiv 2103.01208): projecting on the ball first and the box afterwards loses much of the radius, so
both are met at once.
"""

import torch
from torch import Tensor


def project_l1(images: Tensor, centre: Tensor, radius: float, low: float, high: float) -> Tensor:
    """The nearest points (Euclidean) of the l1 balls around `centre` (N, ...) inside the box.

    The change of pixel i is sign(u_i) · clip(|u_i| − λ, 0, g_i), where u is the change wanted, g_i
    the room to the box's wall, and λ ≥ 0 the one number that makes the length the radius. The
    length falls piecewise linearly in λ, with corners at |u_i| − g_i and |u_i|: they are sorted
    and λ lies between two of them.
    """
    change = (images - centre).flatten(1).double()
    size = change.abs()
    ahead = torch.where(change > 0, high - centre.flatten(1), centre.flatten(1) - low)
    room = torch.minimum(ahead.double(), size)
    threshold = _threshold(size, room, radius)
    kept = torch.minimum((size - threshold[:, None]).clamp(min=0), room)
    moved = centre.flatten(1).double() + change.sign() * kept
    return moved.clamp(low, high).to(images.dtype).reshape(images.shape)


def sparse_direction(gradient: Tensor, share: Tensor) -> Tensor:
    """The signs of each image's largest gradient entries, of l1 length 1.

    Args:
        gradient: (N, ...).
        share: (N,) of the entries that move, in (0, 1]; at least one does. Entries that tie with
            the smallest of them move too; zero ones never do.
    """
    size = gradient.flatten(1).abs()
    count = size.shape[1]
    place = ((1 - share.to(size)) * count).long().clamp(0, count - 1)
    least = size.sort(dim=1).values.gather(1, place[:, None])
    signs = gradient.flatten(1).sign() * (size >= least)
    length = signs.abs().sum(1, keepdim=True).clamp(min=1)
    return (signs / length).reshape(gradient.shape)


def l1_corner(gradient: Tensor, centre: Tensor, radius: float, low: float, high: float) -> Tensor:
    """Where a linear function of this gradient is largest in ball and box (N, ...), exactly.

    The steepest pixels move first, each as far as its wall; the last one as far as the radius lets
    it. Pixels without a gradient stay.
    """
    slope, start = gradient.flatten(1), centre.flatten(1).double()
    room = torch.where(slope > 0, high - start, start - low) * (slope != 0)
    order = slope.abs().argsort(dim=1, descending=True, stable=True)
    ahead = room.gather(1, order)
    left = (radius - (ahead.cumsum(1) - ahead)).clamp(min=0)
    kept = torch.zeros_like(room).scatter(1, order, left.minimum(ahead))
    moved = (start + slope.sign() * kept).clamp(low, high)
    return moved.to(centre.dtype).reshape(centre.shape)


def _threshold(size: Tensor, room: Tensor, radius: float) -> Tensor:
    """(N,) the λ at which Σ clip(size − λ, 0, room) is the radius; 0 where it is less already."""
    corners = torch.cat([size - room, size], dim=1)
    slopes = torch.cat([torch.full_like(size, -1.0), torch.ones_like(size)], dim=1)
    corners, order = corners.sort(dim=1)
    slope = slopes.gather(1, order).cumsum(1)  # of the length, right of each corner
    falls = slope[:, :-1] * corners.diff(dim=1)
    full = room.sum(1, keepdim=True)
    length = torch.cat([full, full + falls.cumsum(1)], dim=1)  # at each corner
    # the last corner at which the length is still at least the radius
    last = ((length >= radius).sum(1, keepdim=True) - 1).clamp(min=0)
    above, left = length.gather(1, last), corners.gather(1, last)
    step = slope.gather(1, last)
    crossing = left + torch.where(step < 0, (above - radius) / -step, torch.zeros_like(step))
    inside = (full <= radius)[:, 0]
    return torch.where(inside, torch.zeros_like(crossing[:, 0]), crossing[:, 0].clamp(min=0))

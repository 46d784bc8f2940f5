"""Square attack: random search with square-shaped changes, which asks for no gradient.

Andriushchenko, Croce, Flammarion & Hein 2020, "Square Attack: a query-efficient black-box
adversarial attack via random search" (arXiv 1912.00049). What masks a model's gradient does not
stop it. A "square" is a window in all spatial axes: a square of an image, a cube of a volume, a
stretch of a vector.
"""

import math
from dataclasses import dataclass, fields, replace
from functools import lru_cache, reduce

import torch
from torch import Tensor, nn

from medrobust.attacks.ball import Ball, per_image
from medrobust.attacks.gradient import Broken, frozen, full_precision
from medrobust.errors import MedrobustError
from medrobust.losses import Loss
from medrobust.randomness import image_keys, key, uniform

HALVED = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""After which of 10 000 queries the windows' share of all pixels is halved."""
TILES = 5
"""Along each axis, in the l2 start."""
SMALLEST = {"linf": 1, "l2": 3}
"""Window side; in l2 a window has a middle and two signs."""


def square(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    keys: Tensor,
    *,
    ball: Ball,
    loss: Loss,
    queries: int = 5000,
    share: float = 0.8,
    broken: Broken | None = None,
) -> Tensor:
    """The point of highest loss that random search finds for each image (algorithm 1).

    An image's random numbers depend on its key and the query alone, so the result does not depend
    on the batch it is in.

    Args:
        network: images -> logits (N, K); only its outputs are used.
        images: (N, C, ...) or (N, d) inside the ball's box.
        labels: (N, K), NaN = unknown (never attacked).
        keys: (N,) decide the windows and their signs.
        ball: the threat model, l∞ or l2.
        loss: what is raised, per image.
        queries: how often the network sees each image, the clean one included.
        share: of all pixels, in the first windows; halved nine times (section 4).
        broken: (logits, labels) -> (N,) bool. An image for which it is true is asked no more, and
            the point for which it was true is returned, whatever its loss. Without it every image
            uses all queries.

    Returns:
        Images like `images`, no loss lower than the clean image's unless `broken` was true.

    Raises:
        MedrobustError: another norm, fewer than two queries, a share outside (0, 1].
    """
    _check(ball, queries, share)
    with frozen(network):
        search = _Search(network, images.detach(), labels, keys, loss, broken)
        for query in range(1, queries):
            if not search.left:
                break
            search.ask(_proposed(search.state, ball, query, window_share(query, queries, share)))
        return search.found()


def window_share(query: int, queries: int, share: float) -> float:
    """The windows' share of all pixels at a query: piecewise constant, scaled to all queries."""
    return share * 0.5 ** sum(10_000 * query / queries > stop for stop in HALVED)


@dataclass(frozen=True)
class _State:
    """The images still searched: their number in the batch, best point and losses."""

    number: Tensor
    clean: Tensor
    here: Tensor
    labels: Tensor
    keys: Tensor
    before: Tensor
    highest: Tensor

    def only(self, wanted: Tensor) -> "_State":
        return _State(*(getattr(self, field.name)[wanted] for field in fields(self)))


class _Search:
    """Asks the network and keeps what is better."""

    def __init__(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        keys: Tensor,
        loss: Loss,
        broken: Broken | None,
    ) -> None:
        self._network, self._loss, self._broken = network, loss, broken
        self._found = images.clone()
        logits = full_precision(network(images))
        value = loss(logits, labels)
        number = torch.arange(len(images), device=images.device)
        # The search starts at its own first point, even where the clean image's loss is higher.
        nothing = torch.full_like(value, -math.inf)
        self.state = _State(number, images, images, labels, keys, value, nothing)
        self._retire(images, logits)

    @property
    def left(self) -> int:
        """How many images are still searched."""
        return len(self.state.number)

    def ask(self, points: Tensor) -> None:
        """One query of each image left: the points of higher loss replace the best ones."""
        logits = full_precision(self._network(points))
        state = self.state
        value = self._loss(logits, state.labels)
        better = value > state.highest
        here = torch.where(per_image(better, points), points, state.here)
        highest = torch.where(better, value, state.highest)
        self.state = replace(state, here=here, highest=highest)
        self._retire(points, logits)

    def found(self) -> Tensor:
        """What was found for all images of the batch."""
        risen = self.state.only(self.state.highest > self.state.before)
        self._found[risen.number] = risen.here
        return self._found

    def _retire(self, points: Tensor, logits: Tensor) -> None:
        if self._broken is None:
            return
        broken = self._broken(logits, self.state.labels)
        if broken.any():
            self._found[self.state.number[broken]] = points[broken]
            self.state = self.state.only(~broken)


def _proposed(state: _State, ball: Ball, query: int, share: float) -> Tensor:
    """The next point of each image; vectors (N, d) are images of one channel and one axis."""
    keys = image_keys(key("square", query), state.keys)
    clean, here = (x[:, None] if x.ndim == 2 else x for x in (state.clean, state.here))
    if query == 1:
        moved = (_stripes if ball.norm == "linf" else _tiles)(clean, keys, ball.radius)
    else:
        sides = _sides(clean.shape[2:], share, SMALLEST[ball.norm])
        move = _repainted if ball.norm == "linf" else _gathered
        moved = move(clean, here, keys, ball.radius, sides)
    return ball.project(moved, clean).reshape(state.clean.shape)


def _stripes(clean: Tensor, keys: Tensor, radius: float) -> Tensor:
    """l∞ start: vertical stripes one pixel wide, each at ±radius in each channel."""
    channels, spatial = clean.shape[1], clean.shape[2:]
    signs = _signs(uniform(keys, (channels, *[1] * (len(spatial) - 1), spatial[-1])), clean)
    return clean + radius * signs


def _repainted(
    clean: Tensor, here: Tensor, keys: Tensor, radius: float, sides: list[int]
) -> Tensor:
    """l∞ step (algorithm 2): one window at ±radius, one sign a channel."""
    channels, spatial = clean.shape[1], clean.shape[2:]
    drawn = uniform(keys, (len(spatial) + channels,))
    window = _coordinates(_corners(drawn[:, : len(spatial)], spatial, sides), spatial)
    signs = _signs(drawn[:, len(spatial) :], clean).reshape(-1, channels, *[1] * len(spatial))
    return torch.where(_inside(window, sides)[:, None], clean + radius * signs, here)


def _tiles(clean: Tensor, keys: Tensor, radius: float) -> Tensor:
    """l2 start: a grid of tiles, each the pattern of a step, split along a random axis."""
    channels, spatial = clean.shape[1], clean.shape[2:]
    sides = [max(1, size // TILES) for size in spatial]
    counts = [min(TILES, size // side) for size, side in zip(spatial, sides, strict=True)]
    drawn = uniform(keys, (1 + channels, *counts))
    whole = [count * side for count, side in zip(counts, sides, strict=True)]
    edge = [(size - covered) // 2 for size, covered in zip(spatial, whole, strict=True)]
    pixels = _coordinates(torch.tensor([edge], device=clean.device), spatial)
    inside = _inside(pixels, whole)
    pixels = [pixel[0].clamp(0, end - 1) for pixel, end in zip(pixels, whole, strict=True)]
    tile = [pixel // side for pixel, side in zip(pixels, sides, strict=True)]
    within = [pixel % side for pixel, side in zip(pixels, sides, strict=True)]
    place: tuple[slice | Tensor, ...] = (slice(None), slice(None), *tile)
    drawn = drawn[place]
    split = (drawn[:, 0] * len(spatial)).long()
    pattern = _patterns(tuple(sides)).to(clean)[split, *within] * inside
    offset = _signs(drawn[:, 1:], clean) * pattern[:, None]
    return clean + radius * _unit(offset.flatten(1)).reshape(clean.shape)


def _gathered(clean: Tensor, here: Tensor, keys: Tensor, radius: float, sides: list[int]) -> Tensor:
    """l2 step (algorithm 3): one window gets what two windows had, and what was still unused."""
    channels, spatial = clean.shape[1], clean.shape[2:]
    axes = len(spatial)
    drawn = uniform(keys, (2 * axes + 1 + channels,))
    one, other = (
        _coordinates(_corners(part, spatial, sides), spatial)
        for part in (drawn[:, :axes], drawn[:, axes : 2 * axes])
    )
    first, second = (_inside(window, sides)[:, None] for window in (one, other))
    split = (drawn[:, 2 * axes] * axes).long().reshape(-1, *[1] * axes)
    near = [pixel.clamp(0, side - 1) for pixel, side in zip(one, sides, strict=True)]
    pattern = _patterns(tuple(sides)).to(clean)[split, *near][:, None] * first
    signs = _signs(drawn[:, 2 * axes + 1 :], clean).reshape(-1, channels, *[1] * axes)

    offset = here - clean
    energy = offset.square()
    unused = (radius**2 - energy.flatten(1).sum(1)).clamp(min=0).reshape(-1, 1, 1)
    had = (energy * (first | second)).flatten(2).sum(2, keepdim=True)
    available = (had + unused / channels).sqrt()
    mixed = (signs * pattern).flatten(2) + _unit((offset * first).flatten(2))
    new = (_unit(mixed, 1e-6) * available).reshape(clean.shape)  # opposites leave rounding only
    return clean + torch.where(first, new, offset * ~second)


@lru_cache(maxsize=16)
def _patterns(sides: tuple[int, ...]) -> Tensor:
    """(axes, *sides) of length 1 each: a rise and a fall, split along each axis in turn."""
    found = []
    for axis, side in enumerate(sides):
        halves = [
            _bump([half if a == axis else s for a, s in enumerate(sides)])
            for half in (side // 2, side - side // 2)
        ]
        found.append(torch.cat([halves[0], -halves[1]], axis))
    return torch.stack([pattern / pattern.norm() for pattern in found])


def _bump(sides: list[int]) -> Tensor:
    """η of equation 2: each smaller square around the middle adds 1 / (n + 1 - k)²."""
    levels = max(sides) // 2
    height = torch.arange(levels + 1, 0, -1, dtype=torch.float64).pow(-2).cumsum(0)
    distances = [(torch.arange(side) - side // 2).abs() for side in sides]
    return height[levels - torch.stack(torch.meshgrid(*distances, indexing="ij")).amax(0)]


def _sides(spatial: torch.Size, share: float, smallest: int) -> list[int]:
    """Of the window with about this share of the pixels, equal where the axes allow it."""
    side = max(round((share * spatial.numel()) ** (1 / len(spatial))), smallest)
    return [min(side, size) for size in spatial]


def _corners(drawn: Tensor, spatial: torch.Size, sides: list[int]) -> Tensor:
    """(N, axes) first pixels of windows inside the image, from uniform numbers."""
    places = [size - side + 1 for size, side in zip(spatial, sides, strict=True)]
    return (drawn.double() * torch.tensor(places, device=drawn.device)).long()


def _coordinates(corners: Tensor, spatial: torch.Size) -> list[Tensor]:
    """Each pixel's place relative to the corners (N, axes): an axis each, (N, 1, size, 1)."""
    axes = len(spatial)
    return [
        (torch.arange(size, device=corners.device) - corners[:, axis, None]).reshape(
            -1, *[size if a == axis else 1 for a in range(axes)]
        )
        for axis, size in enumerate(spatial)
    ]


def _inside(coordinates: list[Tensor], sides: list[int]) -> Tensor:
    """(N, *spatial) bool: the pixels of the windows."""
    within = [(at >= 0) & (at < side) for at, side in zip(coordinates, sides, strict=True)]
    return reduce(torch.logical_and, within)


def _signs(drawn: Tensor, like: Tensor) -> Tensor:
    """-1 or 1 from uniform numbers."""
    return (drawn < 0.5).to(like) * 2 - 1


def _unit(vectors: Tensor, least: float = 0.0) -> Tensor:
    """The last axis brought to length 1, or to 0 where it is no longer than `least`."""
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return torch.where(length > least, vectors / length, 0.0)


def _check(ball: Ball, queries: int, share: float) -> None:
    if ball.norm not in SMALLEST:
        raise MedrobustError(
            f"square: expected norm linf or l2, found {ball.norm}; attack l1 with apgd"
        )
    if queries < 2:
        raise MedrobustError(
            f"square: expected at least 2 queries (the image and one change), found {queries}"
        )
    if not 0 < share <= 1:
        raise MedrobustError(
            f"square: expected a share of the pixels above 0 and at most 1, found {share}"
        )

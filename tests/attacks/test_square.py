"""Square attack: a second implementation in plain loops, optima that are known, and bookkeeping."""

import copy
import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medrobust.attacks import Ball, pgd
from medrobust.attacks.square import square, window_share
from medrobust.errors import MedrobustError
from medrobust.losses import sigmoid_loss
from medrobust.networks import build_backbone
from medrobust.randomness import image_keys, key, uniform

KEYS = image_keys(key(0, "test"), torch.arange(32))
RADII = {"linf": 0.05, "l2": 0.4}
SHAPES = [(1, 8, 8), (2, 7, 9), (1, 5, 6, 7), (23,), (2, 11)]


def first_logit(logits: Tensor, labels: Tensor) -> Tensor:
    """To raise a linear model's only output."""
    return logits[:, 0]


def images(count: int, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    drawn = torch.rand(count, *shape, generator=torch.Generator().manual_seed(1)).double()
    return low + (high - low) * drawn


class Linear(nn.Module):
    """w · x, which counts calls and images."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        drawn = torch.randn(pixels, generator=torch.Generator().manual_seed(3))
        self.weight = nn.Parameter(drawn.double())
        self.seen: list[int] = []

    def forward(self, shown: Tensor) -> Tensor:
        self.seen.append(len(shown))
        return (shown.flatten(1) * self.weight.to(shown)).sum(1, keepdim=True)


class Curved(nn.Module):
    """A smooth loss with many bumps, computed per image alike in any batch."""

    def forward(self, shown: Tensor) -> Tensor:
        flat = shown.flatten(1)
        return (torch.sin(17 * flat) * flat.roll(1, 1) + flat.roll(3, 1) ** 2).sum(1, keepdim=True)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    network = build_backbone("small", channels=1, outputs=3, width=4)
    with torch.no_grad():
        network(torch.rand(32, 1, 12, 12))
    return network.eval()


# --- The same algorithm once more: one image at a time, slices instead of masks. ---


def naive_bump(sides: list[int]) -> np.ndarray:
    """Equation 2, with the paper's indices from 1."""
    bump = np.zeros(sides)
    n = max(sides) // 2
    for place in itertools.product(*(range(1, side + 1) for side in sides)):
        away = max(abs(r - side // 2 - 1) for r, side in zip(place, sides, strict=True))
        bump[tuple(r - 1 for r in place)] = sum(1 / (n + 1 - k) ** 2 for k in range(n - away + 1))
    return bump


def naive_pattern(sides: list[int], axis: int) -> np.ndarray:
    first, second = list(sides), list(sides)
    first[axis] = sides[axis] // 2
    second[axis] = sides[axis] - first[axis]
    pattern = np.concatenate([naive_bump(first), -naive_bump(second)], axis)
    return pattern / np.sqrt((pattern**2).sum())


def unit(vector: np.ndarray, least: float = 0.0) -> np.ndarray:
    length = np.sqrt((vector**2).sum())
    return vector / length if length > least else 0 * vector


def naive_start(clean: np.ndarray, drawn: Callable[..., np.ndarray], ball: Ball) -> np.ndarray:
    channels, *spatial = clean.shape
    offset = np.zeros_like(clean)
    if ball.norm == "linf":
        signs = np.where(drawn(channels, *[1] * (len(spatial) - 1), spatial[-1]) < 0.5, 1, -1)
        return clean + ball.radius * signs
    sides = [max(1, size // 5) for size in spatial]
    counts = [min(5, size // side) for size, side in zip(spatial, sides, strict=True)]
    numbers = drawn(1 + channels, *counts)
    for tile in itertools.product(*map(range, counts)):
        edges = [
            (size - count * side) // 2 + at * side
            for size, count, side, at in zip(spatial, counts, sides, tile, strict=True)
        ]
        where = tuple(slice(e, e + side) for e, side in zip(edges, sides, strict=True))
        pattern = naive_pattern(sides, int(numbers[(0, *tile)] * len(spatial)))
        for channel in range(channels):
            sign = 1 if numbers[(1 + channel, *tile)] < 0.5 else -1
            offset[(channel, *where)] = sign * pattern
    return clean + ball.radius * unit(offset)


def naive_step(
    clean: np.ndarray, here: np.ndarray, drawn: Callable[..., np.ndarray], ball: Ball, share: float
) -> np.ndarray:
    channels, *spatial = clean.shape
    axes = len(spatial)
    wanted = (share * np.prod(spatial)) ** (1 / axes)
    side = max(int(np.rint(wanted)), 1 if ball.norm == "linf" else 3)
    sides = [min(side, size) for size in spatial]

    def window(numbers: np.ndarray) -> tuple[slice, ...]:
        corners = [int(u * (n - s + 1)) for u, n, s in zip(numbers, spatial, sides, strict=True)]
        return tuple(slice(c, c + s) for c, s in zip(corners, sides, strict=True))

    if ball.norm == "linf":
        numbers = drawn(axes + channels)
        moved = here.copy()
        for channel in range(channels):
            place = (channel, *window(numbers[:axes]))
            sign = 1 if numbers[axes + channel] < 0.5 else -1
            change = here[place] + sign * 2 * ball.radius
            moved[place] = change.clip(clean[place] - ball.radius, clean[place] + ball.radius)
        return moved
    numbers = drawn(2 * axes + 1 + channels)
    one, other = window(numbers[:axes]), window(numbers[axes : 2 * axes])
    pattern = naive_pattern(sides, int(numbers[2 * axes] * axes))
    offset = here - clean
    unused = max(0.0, ball.radius**2 - (offset**2).sum())
    for channel in range(channels):
        part = offset[channel]
        both = np.zeros(spatial, dtype=bool)
        both[one] = both[other] = True
        available = np.sqrt((part[both] ** 2).sum() + unused / channels)
        sign = 1 if numbers[2 * axes + 1 + channel] < 0.5 else -1
        mixed = sign * pattern + unit(part[one])
        part[other] = 0
        part[one] = unit(mixed, 1e-6) * available
    return clean + offset


def naive_project(point: np.ndarray, clean: np.ndarray, ball: Ball) -> np.ndarray:
    offset = point - clean
    if ball.norm == "linf":
        offset = offset.clip(-ball.radius, ball.radius)
    else:
        offset *= min(1.0, ball.radius / max(np.sqrt((offset**2).sum()), 1e-300))
    return (clean + offset).clip(0, 1)


def naive(network: nn.Module, image: Tensor, number: Tensor, ball: Ball, queries: int) -> Tensor:
    def value(point: np.ndarray) -> float:
        return network(torch.from_numpy(point).reshape(image.shape)[None]).item()

    def numbers(query: int) -> Callable[..., np.ndarray]:
        keys = image_keys(key("square", query), number[None])
        return lambda *shape: uniform(keys, shape)[0].double().numpy()

    clean = (image[None] if image.ndim == 1 else image).numpy()
    here = naive_project(naive_start(clean, numbers(1), ball), clean, ball)
    highest = value(here)
    for query in range(2, queries):
        done = 10_000 * query / queries
        halvings = sum(done > at for at in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000))
        moved = naive_step(clean, here, numbers(query), ball, 0.8 / 2**halvings)
        moved = naive_project(moved, clean, ball)
        if value(moved) > highest:
            here, highest = moved, value(moved)
    return torch.from_numpy(here if highest > value(clean) else clean).reshape(image.shape)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_the_algorithm_written_in_loops(norm: str, shape: tuple[int, ...]) -> None:
    clean, ball = images(2, *shape), Ball(norm, RADII[norm])
    model, unlabelled = Curved(), torch.zeros(2, 1)
    found = square(model, clean, unlabelled, KEYS[:2], ball=ball, loss=first_logit, queries=50)
    for image, number, ours in zip(clean, KEYS, found, strict=False):
        expected = naive(model, image, number, ball, queries=50)
        # What is unused is a difference: its root has half the digits.
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-7)
    assert (model(found) > model(clean)).all()


# --- What it reaches. ---


@pytest.mark.parametrize("shape", [(1, 6, 6), (1, 3, 4, 5), (40,)], ids=str)
def test_the_optimum_of_a_linear_model_linf(shape: tuple[int, ...]) -> None:
    clean, radius = images(6, *shape), 0.1
    model = Linear(clean[0].numel())
    ball = Ball("linf", radius)
    labels = torch.zeros(6, 1)
    found = square(model, clean, labels, KEYS[:6], ball=ball, loss=first_logit, queries=1000)
    room = torch.where(model.weight > 0, 1 - clean.flatten(1), clean.flatten(1))
    best = (model.weight.abs() * room.clamp(max=radius)).sum(1)
    assert ((model(found) - model(clean))[:, 0] >= 0.95 * best).all()


@pytest.mark.parametrize("shape", [(1, 6, 6), (40,)], ids=str)
def test_much_of_the_optimum_of_a_linear_model_l2(shape: tuple[int, ...]) -> None:
    clean, radius = images(6, *shape, low=0.45, high=0.55), 0.4  # far from walls
    model = Linear(clean[0].numel())
    labels, ball, reached = torch.zeros(6, 1), Ball("l2", radius), []
    for queries in (10, 100, 1000):
        found = square(model, clean, labels, KEYS[:6], ball=ball, loss=first_logit, queries=queries)
        rise = (model(found) - model(clean))[:, 0].detach()
        reached.append(float((rise / (radius * model.weight.detach().norm())).mean()))
    assert reached == sorted(reached)
    assert 0.75 < reached[-1] < 1


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_without_a_gradient_it_still_raises_the_loss(network: nn.Module, norm: str) -> None:
    """Logits rounded to four digits: their gradient is zero everywhere."""
    shown, labels = images(8, 1, 12, 12).float(), torch.ones(8, 3)
    rounded = copy.deepcopy(network)
    rounded.register_forward_hook(lambda _module, _given, logits: (logits * 1e4).round() / 1e4)
    settings = {"ball": Ball(norm, RADII[norm]), "loss": sigmoid_loss}
    assert torch.equal(pgd(rounded, shown, labels, KEYS, **settings, random_start=False), shown)
    found = square(rounded, shown, labels, KEYS[:8], **settings, queries=100)
    with torch.no_grad():
        before, after = (sigmoid_loss(network(x), labels) for x in (shown, found))
    assert (after > before).all()


@st.composite
def pictures(draw: st.DrawFn) -> Tensor:
    """Images with many exact zeros and ones, as X-rays have; some with very short axes."""
    shape = draw(st.sampled_from([(3, 1, 4, 5), (2, 3, 1, 9), (2, 1, 2, 3, 6), (2, 7), (2, 1, 1)]))
    values = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1, width=32))
    count = int(torch.Size(shape).numel())
    return torch.tensor(draw(st.lists(values, min_size=count, max_size=count))).reshape(shape)


@settings(max_examples=40, deadline=None)
@given(
    clean=pictures(),
    norm=st.sampled_from(["linf", "l2"]),
    radius=st.floats(0, 3),
    share=st.floats(0.001, 1),
    seed=st.integers(0, 2**62),
)
def test_it_stays_in_ball_and_box_and_never_loses(
    clean: Tensor, norm: str, radius: float, share: float, seed: int
) -> None:
    asked: list[Tensor] = []

    def network(shown: Tensor) -> Tensor:
        asked.append(shown)
        return torch.sin(40 * shown.flatten(1)).sum(1, keepdim=True)

    wrapped = nn.Module()
    wrapped.forward = network  # type: ignore[method-assign]
    keys = image_keys(seed, torch.arange(len(clean)))
    found = square(
        *(wrapped, clean, torch.zeros(len(clean), 1), keys),
        ball=Ball(norm, radius),
        loss=first_logit,
        queries=12,
        share=share,
    )
    order = torch.inf if norm == "linf" else 2
    for points in (*asked, found):
        offset = (points - clean).flatten(1).double()
        assert (offset.norm(order, dim=1) <= radius * (1 + 1e-5) + 1e-6).all()
        assert points.min() >= 0
        assert points.max() <= 1
    assert len(asked) == 12
    assert (network(found) >= network(clean)).all()


def test_windows_shrink_on_the_papers_schedule() -> None:
    shares = [window_share(query, 10_000, 0.8) for query in (1, 10, 11, 50, 51, 8000, 8001)]
    assert shares == [0.8, 0.8, 0.4, 0.4, 0.2, 0.8 / 256, 0.8 / 512]
    assert window_share(5, 1000, 0.8) == 0.4  # a tenth of the queries, a tenth of the stops
    assert window_share(900, 1000, 0.8) == 0.8 / 512


# --- Bookkeeping. ---


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("stops", [False, True])
def test_an_image_does_not_depend_on_its_batch(network: nn.Module, norm: str, stops: bool) -> None:
    network, clean, labels = network.double(), images(8, 1, 12, 12), torch.ones(8, 3).double()
    middle = sigmoid_loss(network(clean), labels).median().detach() * 1.05

    def broken(logits: Tensor, known: Tensor) -> Tensor:
        return sigmoid_loss(logits, known) > middle

    def attacked(which: slice) -> Tensor:
        return square(
            *(network, clean[which], labels[which], KEYS[:8][which]),
            ball=Ball(norm, RADII[norm]),
            loss=sigmoid_loss,
            queries=40,
            broken=broken if stops else None,
        )

    together = attacked(slice(0, 8))
    assert torch.equal(together, torch.cat([attacked(slice(n, n + 1)) for n in range(8)]))
    assert (together != clean).any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_broken_images_are_asked_no_more(norm: str) -> None:
    clean, ball = images(8, 1, 6, 6), Ball(norm, RADII[norm])
    model, labels = Linear(36), torch.zeros(8, 1)
    limit = model(clean).detach()[:, 0].sort().values[5] + 0.01  # two are above it already

    def broken(logits: Tensor, labels: Tensor) -> Tensor:
        return logits[:, 0] > limit

    model.seen.clear()
    settings = {"ball": ball, "loss": first_logit, "queries": 200}
    found = square(model, clean, labels, KEYS[:8], **settings, broken=broken)
    seen, after = list(model.seen), model(found)[:, 0]
    done, initially = after > limit, model(clean)[:, 0] > limit
    assert seen[:2] == [8, 6]
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == int((~done).sum()) or bool(done.all())
    assert torch.equal(found[initially], clean[initially])
    assert initially.sum() < done.sum()
    model.seen.clear()
    square(model, clean, labels, KEYS[:8], **settings)
    assert model.seen == [8] * 200


def test_no_query_is_spent_once_all_are_broken() -> None:
    model, clean = Linear(36), images(4, 1, 6, 6)
    found = square(
        *(model, clean, torch.zeros(4, 1), KEYS[:4]),
        ball=Ball("linf", 0.1),
        loss=first_logit,
        broken=lambda logits, labels: logits[:, 0] > -torch.inf,
    )
    assert model.seen == [4]
    assert torch.equal(found, clean)


def test_the_point_that_broke_an_image_is_returned_whatever_its_loss() -> None:
    """Here `broken` asks for a low output, the loss for a high one."""
    model, clean = Linear(36), images(4, 1, 6, 6)
    limit = model(clean)[:, 0].detach() - 1e-3

    def broken(logits: Tensor, labels: Tensor) -> Tensor:
        return logits[:, 0] < labels[:, 0]

    found = square(
        *(model, clean, limit[:, None], KEYS[:4]),
        ball=Ball("linf", 0.1),
        loss=first_logit,
        queries=300,
        broken=broken,
    )
    assert (model(found)[:, 0] < limit).any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_images_of_unknown_labels_are_left_alone(network: nn.Module, norm: str) -> None:
    clean, labels = images(4, 1, 12, 12).float(), torch.ones(4, 3)
    labels[::2] = torch.nan
    found = square(
        *(network, clean, labels, KEYS[:4]),
        ball=Ball(norm, RADII[norm]),
        loss=sigmoid_loss,
        queries=30,
    )
    assert torch.equal(found[::2], clean[::2])
    assert (found[1::2] != clean[1::2]).flatten(1).any(1).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_everything_is_left_as_it_was(network: nn.Module, norm: str) -> None:
    network.train()
    network.conv1.weight.requires_grad_(False)
    before, state = copy.deepcopy(network), torch.random.get_rng_state()
    clean = images(4, 1, 12, 12).float().requires_grad_()
    given = clean.detach().clone()
    found = square(
        *(network, clean, torch.ones(4, 3), KEYS[:4]),
        ball=Ball(norm, RADII[norm]),
        loss=sigmoid_loss,
        queries=5,
    )
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.is_grad_enabled()
    assert network.training
    assert not found.requires_grad
    assert found.dtype == torch.float32
    assert torch.equal(clean, given)
    assert clean.grad is None
    for one, other in zip(network.parameters(), before.parameters(), strict=True):
        assert one.requires_grad == other.requires_grad
        assert one.grad is None
        assert torch.equal(one, other)
    for one, other in zip(network.buffers(), before.buffers(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("ball", "budget", "message"),
    [
        (
            Ball("l1", 2.0),
            {},
            "square: expected norm linf or l2, found l1; attack l1 with apgd",
        ),
        (
            Ball("l2", 1.0),
            {"queries": 1},
            "square: expected at least 2 queries (the image and one change), found 1",
        ),
        (
            Ball("linf", 0.1),
            {"share": 0.0},
            "square: expected a share of the pixels above 0 and at most 1, found 0.0",
        ),
        (
            Ball("linf", 0.1),
            {"share": 1.5},
            "square: expected a share of the pixels above 0 and at most 1, found 1.5",
        ),
    ],
)
def test_what_cannot_be(ball: Ball, budget: dict[str, float], message: str) -> None:
    with pytest.raises(MedrobustError) as raised:
        square(
            *(Linear(4), images(1, 1, 2, 2), torch.zeros(1, 1), KEYS[:1]),
            ball=ball,
            loss=first_logit,
            **budget,  # type: ignore[arg-type]
        )
    assert str(raised.value) == message

"""Against the published formulas, written out: Song et al. 2012, equation 5; Kornblith et al."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medrobust.errors import MedrobustError
from medrobust.explain.similarity import cka, gram, grams, u_centred
from medrobust.networks import build_backbone


def drawn(rows: int, columns: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)


def hsic(first: np.ndarray, second: np.ndarray) -> float:
    """The unbiased HSIC of two Gram matrices, term by term."""
    n, ones = len(first), np.ones(len(first))
    k, m = first - np.diag(np.diag(first)), second - np.diag(np.diag(second))
    total = np.trace(k @ m)
    total += (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    total -= 2 / (n - 2) * (ones @ k @ m @ ones)
    return float(total / (n * (n - 3)))


def published(first: Tensor, second: Tensor) -> float:
    k, m = (first @ first.T).numpy(), (second @ second.T).numpy()
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def biased(first: Tensor, second: Tensor) -> float:
    """Linear CKA by Kornblith et al., equation 3."""
    one, two = first - first.mean(0), second - second.mean(0)
    return float((two.T @ one).norm() ** 2 / ((one.T @ one).norm() * (two.T @ two).norm()))


class Two(nn.Module):
    """Two layers whose outputs are the first columns of what they are given, and the others."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.columns, self.one, self.two = columns, nn.Identity(), nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return self.one(images[:, : self.columns]).sum(1) + self.two(images[:, self.columns :]).sum(
            1
        )


def alignment(first: Tensor, second: Tensor) -> float:
    """CKA of two matrices of features."""
    both = torch.cat([first, second], 1)
    return float(cka({"": Two(first.shape[1])}, [both], ["one", "two"]).values[0, 1])


@pytest.mark.parametrize(("n", "p", "q"), [(4, 3, 2), (10, 40, 7), (64, 12, 200)])
def test_equals_the_published_formula(n: int, p: int, q: int) -> None:
    first = drawn(n, p, 0) + 3
    second = first[:, :1] @ drawn(1, q, 1) + 0.5 * drawn(n, q, 2) - 1
    assert alignment(first, second) == pytest.approx(published(first, second), abs=1e-10)


def test_the_inner_product_is_the_unbiased_hsic() -> None:
    first, second = drawn(12, 5, 0), drawn(12, 9, 1)
    inner = (u_centred(gram(first)) * u_centred(gram(second))).sum() / (12 * 9)
    assert inner.item() == pytest.approx(
        hsic((first @ first.T).numpy(), (second @ second.T).numpy()), abs=1e-10
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(4, 20), st.integers(1, 15), st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_rotations_and_scales_change_nothing(n: int, p: int, seed: int, scale: float) -> None:
    first, second = drawn(n, p, seed), drawn(n, p, seed + 1)
    rotation = torch.linalg.qr(drawn(p, p, seed + 2)).Q
    turned = scale * first @ rotation + drawn(1, p, seed + 3)
    assert alignment(first, first) == pytest.approx(1)
    assert alignment(first, turned) == pytest.approx(1)
    assert alignment(turned, second) == pytest.approx(alignment(first, second), abs=1e-8)
    assert abs(alignment(first, second)) <= 1 + 1e-9


def test_independent_features_have_nothing_in_common() -> None:
    pairs = [(drawn(32, 200, s), drawn(32, 200, s + 100)) for s in range(40)]
    found = np.array([alignment(*pair) for pair in pairs])
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(len(found))
    assert abs(found.mean()) < 0.02
    assert np.mean([biased(*pair) for pair in pairs]) > 0.8  # what the usual estimate says


class Features(nn.Module):
    """Three layers whose outputs are known."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 5)
        self.act = nn.ReLU(inplace=True)
        self.last = nn.Linear(5, 2)
        self.unused = nn.Linear(2, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.act(self.first(images.flatten(1))))


@pytest.fixture
def network() -> Features:
    torch.manual_seed(0)
    return Features().double().train()


def test_layers_are_those_of_the_pass_before_anything_changes_them(network: Features) -> None:
    shown = drawn(9, 6, 0)
    found = grams(network, shown)
    assert list(found) == ["first", "last"]
    with torch.no_grad():
        first = network.first(shown)
        last = network.last(first.clamp(min=0))
    torch.testing.assert_close(found["first"], gram(first))
    torch.testing.assert_close(found["last"], gram(last))
    assert network.training
    assert not network.first._forward_hooks


def test_every_layer_with_every_other(network: Features) -> None:
    torch.manual_seed(1)
    other, shown = Features().double(), drawn(9, 6, 0)
    found = cka({"a": network, "b": other}, [shown])
    assert found.layers == (("a", "first"), ("a", "last"), ("b", "first"), ("b", "last"))
    with torch.no_grad():
        outputs = []
        for one in (network, other):
            first = one.first(shown)
            outputs += [first, one.last(first.clamp(min=0))]
    expected = torch.tensor([[published(x, y) for y in outputs] for x in outputs])
    torch.testing.assert_close(found.values, expected.double())


def test_batches_add_up(network: Features) -> None:
    shown = drawn(24, 6, 0)
    found = cka({"a": network}, shown.split(8)).values
    with torch.no_grad():
        first = network.first(shown)
        last = network.last(first.clamp(min=0))
    pieces = [[(x @ x.T).numpy() for x in layer.split(8)] for layer in (first, last)]
    sums = [[sum(hsic(k, m) for k, m in zip(x, y, strict=True)) for y in pieces] for x in pieces]
    expected = sums[0][1] / np.sqrt(sums[0][0] * sums[1][1])
    assert found[0, 1].item() == pytest.approx(expected, abs=1e-10)


def test_batches_agree_with_the_whole(network: Features) -> None:
    shown = drawn(2048, 6, 0)
    whole = cka({"a": network}, [shown]).values[0, 1].item()
    parts = cka({"a": network}, shown.split(32)).values[0, 1].item()
    assert parts == pytest.approx(whole, abs=0.02)


def test_convolutions_of_a_backbone_and_layers_by_name() -> None:
    torch.manual_seed(0)
    network = build_backbone("small", channels=1, outputs=2, width=4)
    shown = torch.rand(5, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    names = [name for _, name in cka({"": network}, [shown]).layers]
    assert names[0] == "conv1"
    assert names[-1] == "fc"
    assert len(names) == 1 + 2 + 3 + 3 + 1
    chosen = cka({"": network}, [shown], ["layer3", "layer1"])
    assert [name for _, name in chosen.layers] == ["layer1", "layer3"]
    torch.testing.assert_close(chosen.values.diagonal(), torch.ones(2).double())


def test_a_layer_that_never_changes_has_no_similarity(network: Features) -> None:
    nn.init.zeros_(network.last.weight)
    found = cka({"a": network}, [drawn(6, 6, 0)]).values
    assert found[0, 0] == 1
    assert found[1].isnan().all()


def test_bad_input(network: Features) -> None:
    with pytest.raises(MedrobustError) as caught:
        cka({"a": network}, [drawn(3, 6, 0)])
    assert str(caught.value) == (
        "CKA: expected at least 4 images in every batch, found 3; take more images or larger "
        "batches"
    )
    with pytest.raises(MedrobustError) as caught:
        cka({"a": network}, [])
    assert str(caught.value) == "CKA: expected images, found none"
    for layer in ("layer9", "unused"):
        with pytest.raises(MedrobustError) as caught:
            cka({"a": network}, [drawn(5, 6, 0)], ["first", layer])
        assert str(caught.value) == (
            f"layer: expected modules that images pass, such as first, last, found {layer!r}"
        )
    with pytest.raises(MedrobustError) as caught:
        cka({"a": nn.Flatten()}, [drawn(5, 6, 0)])
    assert str(caught.value) == (
        "layer: expected modules that images pass, such as a convolution or linear layer, "
        "found none"
    )

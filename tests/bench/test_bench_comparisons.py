"""What is timed is the same work: equal results in double precision, and the floor is its part."""

from contextlib import ExitStack

import pytest
import torch
from torch import nn

from medrobust.attacks import pgd
from medrobust.bench import plain
from medrobust.bench.case import RADIUS, STEPS, Case, classifier
from medrobust.bench.comparisons import FLOORS, OURS, PLAIN, attack, loader, our_step, plain_step
from medrobust.bench.floor import convolutions
from medrobust.bench.measure import interleaved, ratio, table
from medrobust.bench.memory import peaks
from medrobust.bench.run import check
from medrobust.errors import MedrobustError
from medrobust.folding import FoldedCopies
from medrobust.losses import sigmoid_loss

SMALL = Case("small", batch=4, channels=1, size=16, outputs=2, options={"width": 4})


def test_the_attacks_are_equal() -> None:
    network = classifier(SMALL.model()).double()
    images, labels = SMALL.images.double(), SMALL.labels.double()
    start = SMALL.start.double()
    ball = SMALL.ball
    with FoldedCopies().of(network, images) as fast:
        ours = pgd(*(fast, images, labels, SMALL.keys), ball=ball, loss=sigmoid_loss, steps=STEPS)
    expected = plain.attack(network, images, labels, start, RADIUS, STEPS)
    assert (expected - images).abs().max() > RADIUS / 2
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)  # the start is in float32


def test_the_steps_are_equal() -> None:
    """Losses of several steps, attacks included, in double precision."""
    ours = our_step(SMALL, train__precision="64-true")
    model = SMALL.model().double()
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.0)
    given = (SMALL.images.double(), SMALL.labels.double(), SMALL.start.double())
    found = [float(plain.step(model, optimiser, *given, RADIUS, STEPS)) for _ in range(3)]
    assert found[0] != pytest.approx(found[2], abs=1e-4)
    assert [float(ours()) for _ in range(2)] == pytest.approx(found[1:], abs=1e-5)


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_floor_is_every_convolution_forward_and_back(channels_last: bool) -> None:
    network = classifier(SMALL.model())
    seen = {"forward": 0, "backward": 0}
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as record:
        convolutions(network, SMALL.images, 2, channels_last=channels_last)()
    for event in record.key_averages():
        if event.key == "aten::convolution":
            seen["forward"] += event.count
        if event.key == "aten::convolution_backward":
            seen["backward"] += event.count
    layers = sum(isinstance(module, nn.Conv2d) for module in network.modules())
    assert seen["forward"] - layers == seen["backward"] == 2 * layers  # once to find the shapes


def test_an_attack_is_compared_with_floor_and_foolbox() -> None:
    comparison = attack(SMALL)
    assert next(iter(comparison.jobs)) == PLAIN
    assert {OURS, *FLOORS, "foolbox"} <= set(comparison.jobs)
    for job in comparison.jobs.values():
        job()


def test_both_loaders_go_through_the_training_images() -> None:
    with ExitStack() as stack:
        comparison = loader(stack, images=40, size=32, batch_size=8)
        assert comparison.title.endswith("images of 32x32")
        for job in comparison.jobs.values():
            job()


def test_peaks_count_what_a_step_holds() -> None:
    small, large = (peaks(Case("small", 4, 1, size, 2, options={"width": 4})) for size in (16, 64))
    assert set(small) == {PLAIN, OURS}
    for name in small:
        assert large[name] > 4 * small[name] > 0


def test_ratios_are_medians_of_repeats() -> None:
    seconds = {"slow": [2.0, 9.0, 4.0], "fast": [1.0, 1.0, 2.0]}
    assert ratio(seconds, "slow", "fast") == 2.0
    calls: list[str] = []
    interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2)
    assert calls == ["a", "b", "a", "b"]


def test_table() -> None:
    rows = [{"what": "plain", "ms": 1234.5}, {"what": "ours", "ms": 0.5, "of": 1.0}]
    assert table("times", rows) == ("\ntimes\nwhat   ms     of\nplain  1,234\nours   0.5    1")


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(MedrobustError, match=r"found cuda:7 .*; try cpu$"):
        check(Case(device="cuda:7"))


def test_a_network_that_nobody_knows() -> None:
    with pytest.raises(MedrobustError, match="network: expected one of small"):
        plain_step(Case("resnet5"))

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from medrobust.attacks import pgd
from medrobust.attacks.apgd import apgd
from medrobust.attacks.ball import Ball
from medrobust.errors import MedrobustError
from medrobust.losses import sigmoid_loss
from medrobust.networks import Classifier, SmallResNet
from medrobust.randomness import key, normal, uniform
from medrobust.trust import CHECKS, TrustBudget, check_trust
from medrobust.trust.masking import stronger, zero_gradients
from medrobust.trust.planted import Planted, known_points, patterns_for
from medrobust.trust.strength import half_ball
from medrobust.trust.subject import Subject

SIDE, PIXELS = 12, 144
SMALL = TrustBudget(steps=(10, 20, 30), queries=150, restarts=3)
TINY = TrustBudget(steps=(5, 10), quick_steps=5, restarts=2, queries=20)


class Linear(nn.Module):
    """z = W (x − 0.5)."""

    def __init__(self, findings=1):
        super().__init__()
        weight = normal(torch.tensor([key("weight", j) for j in range(findings)]), (PIXELS,))
        self.weight = nn.Parameter(weight / PIXELS**0.5)

    def forward(self, images):
        return (images - 0.5).flatten(1) @ self.weight.T


class Through(nn.Module):
    """What a function makes of a network and an image."""

    def __init__(self, network, function):
        super().__init__()
        self.network, self.function = network, function

    def forward(self, images):
        return self.function(self.network, images)


def images_of(n, seed=0):
    return 0.3 + 0.4 * uniform(torch.arange(n) + 1000 * seed, (1, SIDE, SIDE))


def cases(network, task, n=32):
    """Images and labels that a linear network mostly gets right."""
    images = images_of(n)
    logits = network(images).detach()
    if task == "exclusive":
        return images, F.one_hot(logits.argmax(1), logits.shape[1]).float()
    labels = (logits > 0).float()
    labels[::7] = 1 - labels[::7]
    return images, labels


def checked(network, images, labels, *, radius=0.02, norm="linf", task="multilabel", **settings):
    found = check_trust(
        *(network, images, labels, torch.arange(len(images))),
        ball=Ball(norm, radius),
        task=task,
        cuts=torch.zeros(labels.shape[1]),
        **settings,
    )
    assert tuple(check.name for check in found) == CHECKS
    return {check.name: check for check in found}


def subject_of(network, images, labels):
    return Subject(
        *(network, images, labels, torch.arange(len(images)), Ball("linf", 0.02)),
        **{"task": "multilabel", "cuts": torch.zeros(1), "attack": apgd, "batch_size": 8},
    )


def flagged(checks):
    return {name for name, check in checks.items() if check.verdict == "flag"}


@pytest.fixture(scope="module")
def twin():
    return Linear()


@pytest.fixture(scope="module")
def small_network():
    """A small network, trained on three squares that are bright or not."""
    torch.manual_seed(0)
    network = Classifier(SmallResNet(channels=1, outputs=3, dimensions=2, width=4), [0.5], [0.2], 2)
    images, labels = squares(128, seed=1)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(20):
        optimiser.zero_grad()
        sigmoid_loss(network(images), labels).mean().backward()
        optimiser.step()
    optimiser.zero_grad()
    return network.eval()


def squares(n, seed):
    images = images_of(n, seed)
    labels = (uniform(torch.arange(n) + 1000 * seed, (3,)) > 0.5).float()
    for j in range(3):
        images[:, 0, 4 * j : 4 * j + 3, 3:9] += 0.2 * labels[:, j, None, None]
    return images, labels


@pytest.mark.parametrize(
    ("findings", "task", "norm", "radius"),
    [
        (1, "multilabel", "linf", 0.02),
        (3, "multilabel", "l2", 0.3),
        (3, "exclusive", "linf", 0.02),
        (3, "exclusive", "l1", 3.0),
    ],
)
def test_a_linear_network_is_believed(findings, task, norm, radius):
    network = Linear(findings)
    images, labels = cases(network, task)
    found = checked(network, images, labels, norm=norm, task=task, radius=radius)
    assert flagged(found) == set()
    unchecked = {name for name, check in found.items() if check.verdict == "not checked"}
    assert unchecked == {"transfer"} | ({"black-box"} if norm == "l1" else set())


def test_a_trained_network_is_believed(small_network):
    images, labels = squares(32, seed=2)
    others = {"linear": Linear(3)}
    found = checked(small_network, images, labels, radius=0.03, budget=SMALL, others=others)
    assert {check.verdict for check in found.values()} == {"pass"}


def test_the_numbers_of_a_linear_network_are_known(twin):
    """Its loss rises by radius · ‖w‖₁ at once, and so does the one of the planted weakness."""
    images, labels = cases(twin, "multilabel")
    found = checked(twin, images, labels, budget=SMALL)
    start = float((-(2 * labels - 1) * twin(images)).detach().mean())
    slope = float(twin.weight.detach().abs().sum())
    losses = ", ".join(f"{start + 0.02 * k * slope:.3g}" for k in (0, 0.5, 1, 2, 4))
    assert found["radius"].note == (
        f"Mean margin loss {losses} at 0, 0.5, 1, 2, 4 times the radius; the largest fall is 0: "
        "a larger radius is never harder."
    )
    assert found["steps"].value == pytest.approx(0, abs=1e-5)
    assert found["half"].value == 0
    assert found["planted"].value >= 0.999
    assert found["randomised"].value == 0


def test_a_huge_scale_leaves_the_cross_entropy_without_gradient(twin):
    images, labels = cases(twin, "multilabel")
    huge = Through(twin, lambda network, x: 3000 * network(x))
    found = checked(huge, images, labels, budget=SMALL)
    assert flagged(found) == {"zero-gradients"}
    # In float32 the gradient σ(z) − y is 0 from z = 17 on for y = 1, from about −100 on for y = 0.
    margin = (2 * labels - 1) * huge(images)
    least, most = (
        float((margin > torch.where(labels == 1, one, zero)).double().mean())
        for one, zero in ((18.0, 110.0), (16.0, 80.0))
    )
    assert 0.5 < least <= found["zero-gradients"].value <= most
    assert found["zero-gradients"].note.endswith(
        "0.0% none of the margin; on 0.0% the attack raised nothing: attacks on the cross-entropy "
        "cannot be believed, those on the margin can."
    )


def test_rounded_images_hide_the_gradient(twin):
    images, labels = cases(twin, "multilabel")
    rounded = Through(twin, lambda network, x: network((16 * x).round() / 16))
    found = checked(rounded, images, labels, radius=0.05, budget=SMALL, others={"twin": twin})
    assert flagged(found) >= {"zero-gradients", "black-box", "transfer"}
    assert found["zero-gradients"].value == 1
    assert found["transfer"].value == 1
    assert found["transfer"].note == (
        "An attack made on twin does better than the white-box attack on 100.0% of images: the "
        "white box misses weak points, and the network is weaker than it seems."
    )
    # the attack itself is not to blame
    assert found["planted"].verdict == "pass"


def test_saturated_outputs_hide_the_gradient(twin):
    images, labels = cases(twin, "multilabel")
    saturated = Through(twin, lambda network, x: 5 * torch.tanh(500 * network(x)))
    others = {"opposite": Through(twin, lambda network, x: -network(x)), "twin": twin}
    found = checked(saturated, images, labels, budget=SMALL, others=others)
    assert flagged(found) >= {"zero-gradients", "transfer"}
    assert found["transfer"].value > 0.5
    assert found["transfer"].note.startswith("An attack made on opposite or twin does better than")


def test_a_shattered_gradient_is_not_zero_but_leads_nowhere(twin):
    images, labels = cases(twin, "multilabel")
    shattered = Through(twin, lambda network, x: network(x + 0.02 * torch.sin(300 * x)))
    found = checked(shattered, images, labels, radius=0.05, budget=SMALL, others={"twin": twin})
    assert found["zero-gradients"].verdict == "pass"
    assert flagged(found) >= {"black-box", "transfer"}


def test_chance_in_the_answer_is_seen(twin):
    images, labels = cases(twin, "multilabel")
    dropping = Through(twin, lambda network, x: network(F.dropout(x, 0.2, training=True)))
    found = checked(dropping, images, labels, budget=TINY)
    assert "randomised" in flagged(found)
    assert repr(checked(dropping, images, labels, budget=TINY)) == repr(found)


def descending(*given, ball, loss, **budget):
    return pgd(*given, ball=ball, loss=lambda logits, labels: -loss(logits, labels), **budget)


def test_an_attack_that_descends_is_seen(twin):
    images, labels = cases(twin, "multilabel")
    found = checked(twin, images, labels, budget=SMALL, attack=descending)
    assert flagged(found) >= {"planted", "radius", "half", "steps", "noise", "black-box"}
    assert found["planted"].value < 0
    assert found["planted"].note.endswith("it misses a point that is known to be weak.")


def test_an_attack_that_does_not_move_is_seen(twin):
    images, labels = cases(twin, "multilabel")
    still = partial(pgd, step_size=0.0)
    assert flagged(checked(twin, images, labels, budget=SMALL, attack=still)) >= {
        *("planted", "half", "black-box")
    }

    def nothing(network, images, labels, keys, *, ball, loss, steps, restarts):
        return images

    found = checked(twin, images, labels, budget=TINY, attack=nothing)
    assert flagged(found) >= {"steps", "radius", "half", "black-box", "noise", "planted"}
    assert found["steps"].note.endswith("steps do nothing.")
    assert found["radius"].note.endswith("no radius has an effect.")


def test_plain_pgd_is_good_enough_for_a_linear_network(twin):
    images, labels = cases(twin, "multilabel")
    assert flagged(checked(twin, images, labels, budget=SMALL, attack=pgd)) == set()


def test_restarts_that_keep_the_last_start_or_find_much_more_are_seen(twin):
    images, labels = cases(twin, "multilabel")

    def forgetful(*given, ball, loss, steps, restarts):
        weak = ball if restarts == 1 else ball.scaled(0.5)
        return apgd(*given, ball=weak, loss=loss, steps=steps, restarts=1)

    def lucky(*given, ball, loss, steps, restarts):
        weak = ball.scaled(0.5) if restarts == 1 else ball
        return apgd(*given, ball=weak, loss=loss, steps=steps, restarts=1)

    found = checked(twin, images, labels, budget=TINY, attack=forgetful)["restarts"]
    assert found.verdict == "flag"
    assert found.note.endswith("more starts do worse.")
    found = checked(twin, images, labels, budget=TINY, attack=lucky)["restarts"]
    assert found.verdict == "flag"
    assert found.note.endswith("the result depends on where the attack starts.")


def test_steps_that_find_most_of_it_late_or_do_worse_are_seen(twin):
    images, labels = cases(twin, "multilabel")

    def within(share):
        def attack(*given, ball, loss, steps, restarts):
            return apgd(
                *given, ball=ball.scaled(share(steps)), loss=loss, steps=5, restarts=restarts
            )

        return attack

    late = checked(twin, images, labels, budget=TINY, attack=within(lambda n: n / 10))["steps"]
    assert late.verdict == "flag"
    assert late.value == pytest.approx(0.5, abs=1e-4)
    assert late.note.endswith("the attack has not settled and may miss a lot.")
    worse = checked(twin, images, labels, budget=TINY, attack=within(lambda n: 5 / n))["steps"]
    assert worse.note.endswith("more steps do worse.")


def test_an_attack_that_does_worse_in_a_larger_ball_is_seen(twin):
    images, labels = cases(twin, "multilabel")

    def shrinking(*given, ball, loss, steps, restarts):
        weak = replace(ball, radius=0.02**2 / ball.radius)
        return apgd(*given, ball=weak, loss=loss, steps=steps, restarts=restarts)

    found = checked(twin, images, labels, budget=TINY, attack=shrinking)["radius"]
    assert found.verdict == "flag"
    assert found.note.endswith("a larger radius is harder, which cannot be.")


def test_an_attack_that_noise_nearly_equals_is_seen():
    """What is rough is no longer taken for positive, so that noise does harm too."""
    rough = Through(None, lambda network, x: 1 - x.diff().abs().flatten(1).sum(1, keepdim=True))
    images = images_of(8) * 0 + 0.5

    def timid(*given, ball, loss, steps, restarts):
        return apgd(*given, ball=ball.scaled(0.3), loss=loss, steps=steps, restarts=restarts)

    found = checked(rough, images, torch.ones(8, 1), budget=TINY, attack=timid)["noise"]
    assert found.value > 0.5
    assert found.verdict == "flag"
    assert found.note.endswith("the attack does little more than noise.")


def test_an_attack_that_raises_nothing_despite_a_gradient_is_seen(twin):
    images, labels = cases(twin, "multilabel", n=8)
    clean = twin(images).detach()
    found = zero_gradients(subject_of(twin, images, labels), clean, clean)
    assert found.value == 1
    assert found.note == (
        "0.0% of images have no gradient of the cross-entropy, 0.0% none of the margin; on 100.0% "
        "the attack raised nothing: attacks that follow the gradient cannot be believed."
    )


def test_unknown_labels_change_nothing(twin):
    images, labels = cases(twin, "multilabel", n=16)
    known = checked(twin, images, labels, budget=TINY)
    more = torch.cat([images, images_of(4, seed=3)])
    unknown = torch.cat([labels, torch.full((4, 1), torch.nan)])
    assert repr(checked(twin, more, unknown, budget=TINY)) == repr(known)


def test_a_finding_that_is_never_known_is_not_counted():
    network = Linear(2)
    images, labels = cases(network, "multilabel", n=16)
    labels[:, 1] = torch.nan
    single = Linear(2)
    single.weight = nn.Parameter(network.weight[:1].detach())
    of_two = checked(network, images, labels, budget=TINY)
    of_one = checked(single, images, labels[:, :1], budget=TINY)
    for name in set(CHECKS) - {"randomised"}:
        assert of_two[name].value == pytest.approx(of_one[name].value, abs=1e-5, nan_ok=True)


def test_without_both_classes_accuracy_takes_the_place_of_auroc(twin):
    images, labels = cases(twin, "multilabel")
    found = checked(twin, images, torch.ones_like(labels), budget=TINY)
    assert found["restarts"].note.startswith("Accuracy ")
    assert found["half"].note.startswith("Accuracy 0.000 where all images can be made alike")


def test_a_finding_that_the_others_cover_is_attacked_alone():
    """Both findings are one number, whose labels differ: together an attack spares the second."""

    def two(network, images):
        logit = network(images)
        return torch.cat([2 * logit, logit], dim=1)

    network = Through(Linear(), two)
    images = images_of(32)
    second = (network(images)[:, 1:] > 0).float()
    found = checked(network, images, torch.cat([1 - second, second], dim=1), budget=TINY)
    assert found["half"].verdict == "pass"
    assert found["half"].value == 0


def test_the_batch_size_does_not_matter(small_network):
    images, labels = squares(5, seed=4)
    one, two = (
        checked(small_network, images, labels, budget=replace(TINY, batch_size=size))
        for size in (2, 5)
    )
    for name in CHECKS:
        assert one[name].verdict == two[name].verdict
        assert one[name].value == pytest.approx(two[name].value, abs=1e-3, nan_ok=True)


def test_the_network_and_the_generators_are_left_as_they_were(small_network):
    images, labels = squares(4, seed=5)
    small_network.train()
    before = {name: tensor.clone() for name, tensor in small_network.state_dict().items()}
    state = torch.get_rng_state()
    checked(small_network, images, labels, budget=TINY)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in small_network.modules())
    assert all(p.requires_grad and p.grad is None for p in small_network.parameters())
    for name, tensor in small_network.state_dict().items():
        assert torch.equal(tensor, before[name])
    small_network.eval()


def test_every_check_is_counted_and_costs_what_is_said(twin):
    images, labels = cases(twin, "multilabel", n=8)
    gradients, answers, done = [0], [0], []

    def counting(network, x):
        (gradients if x.requires_grad else answers)[0] += len(x)
        return network(x)

    checked(Through(twin, counting), images, labels, progress=done.append)
    assert done == [1] * len(CHECKS)
    assert gradients[0] <= 400 * 8
    assert answers[0] <= 550 * 8


def test_a_weaker_attack_is_stronger_only_where_it_clearly_is(twin):
    """One sigmoid, positive, cut 0: margin losses are minus the logits."""
    n = 6
    subject = subject_of(twin, images_of(n), torch.ones(n, 1))
    clean = torch.full((n, 1), 2.0)
    white = torch.tensor([[1.0], [1.0], [0.01], [0.01], [-1.0], [3.0]])
    other = torch.tensor([[0.96], [0.94], [0.001], [-0.001], [-1.1], [1.9]])
    found = stronger(subject, clean, white, other)
    assert found.tolist() == [False, True, False, True, False, True]


def test_one_image_alone_is_let_pass(twin):
    for n, limit in ((8, 1 / 8), (32, 0.05)):
        found = checked(twin, *cases(twin, "multilabel", n), budget=TINY)
        assert found["black-box"].reference == limit


def test_the_weakest_point_of_a_planted_weakness_is_known():
    images = images_of(3)
    direction = patterns_for(images, 1).expand(3, -1)
    assert set(direction.flatten().tolist()) == {-1.0, 1.0}
    for norm, radius, gain in (
        ("linf", 0.1, 0.1 * PIXELS),
        ("l2", 0.5, 0.5 * PIXELS**0.5),
        ("l1", 2.0, 2.0),
    ):
        moved = known_points(images, direction, Ball(norm, radius)) - images
        assert (direction * moved.flatten(1)).sum(1).tolist() == pytest.approx([gain] * 3, rel=1e-4)


def test_a_planted_weakness_is_added_to_the_network(twin):
    images = images_of(2)
    patterns = patterns_for(images, 1)
    planted = Planted(twin, patterns, 3.0, 0.5)
    expected = twin(images) + 3 * ((images - 0.5).flatten(1) * patterns).sum(1, keepdim=True)
    torch.testing.assert_close(planted(images), expected)


@pytest.mark.parametrize(("norm", "radius"), [("linf", 1.0), ("l2", 3.0), ("l1", 9.0)])
def test_half_a_box_reaches_the_middle_from_every_corner(norm, radius):
    assert half_ball(Ball(norm, 0.1, -1.0, 1.0), 9) == Ball(norm, radius, -1.0, 1.0)


def test_no_radius_no_labels_and_no_number_are_refused(twin):
    images, labels = cases(twin, "multilabel", n=4)
    with pytest.raises(MedrobustError) as error:
        checked(twin, images, labels, radius=0.0)
    assert str(error.value) == (
        "trust: expected a radius above 0, found 0; name an attacked radius"
    )
    with pytest.raises(MedrobustError) as error:
        checked(twin, images, torch.full_like(labels, torch.nan))
    assert str(error.value) == (
        "trust: expected images with a known label, found none among 4; choose others"
    )
    broken = Through(twin, lambda network, x: network(x) / 0)
    with pytest.raises(MedrobustError) as error:
        checked(broken, images, labels)
    assert str(error.value) == (
        "trust: expected finite logits, found others for 4 of 4 images; such a network can't be "
        "checked"
    )


def test_of_several_attacks_the_worst_counts_image_by_image(twin):
    """One sigmoid; the second image is negative."""
    subject = subject_of(twin, images_of(2), torch.tensor([[1.0], [0.0]]))
    attempts = [torch.tensor([[1.0], [2.0]]), torch.tensor([[-1.0], [-2.0]])]
    assert subject.worst(attempts).tolist() == [[-1.0], [2.0]]

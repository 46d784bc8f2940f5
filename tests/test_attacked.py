"""Suites against a tiny trained network: what radii, batches and interruptions may change."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medrobust import statistics
from medrobust.assault import Assault
from medrobust.attacked import Attacked, Subsets, attack_all, batches_folder, forget
from medrobust.attacks.goals import Goal
from medrobust.attacks.suite import Budget, suite_of
from medrobust.data.batches import load_images, load_labels
from medrobust.data.store import Store
from medrobust.inference import Cases
from medrobust.models import load_model
from medrobust.rundir import RunDir

STEPS, RADII = 3, (0.01, 0.02, 0.04)
CPU = torch.device("cpu")


class Counting(nn.Module):
    """A network that counts the images it is shown."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.shown = network, 0

    def forward(self, images: Tensor) -> Tensor:
        self.shown += len(images)
        return self.network(images)


@dataclass
class Bench:
    """A store, a network to attack, and where batches are kept."""

    store: Store
    network: Counting
    other: nn.Module
    folder: Path

    @property
    def rows(self) -> np.ndarray:
        return self.store.rows("test")

    @property
    def signs(self) -> np.ndarray:
        return 2 * self.store.labels[self.rows] - 1

    def attack(
        self,
        suite: str = "fast",
        radii: tuple[float, ...] = RADII,
        batch: int = 16,
        goals: tuple[Goal, ...] = (Goal(),),
        retires: bool = False,
        checked: np.ndarray | None = None,
        ranges: np.ndarray | None = None,
        plan: str = "",
        cut: float = 0.0,
        **more: Any,
    ) -> Attacked:
        findings, task = len(self.store.findings), self.store.info.task
        members = suite_of(
            suite,  # type: ignore[arg-type]
            task=task,
            findings=findings,
            norm="linf",
            goals=goals,
            budget=Budget(steps=STEPS, queries=20),
        )
        cuts = dict.fromkeys(("own", "other"), torch.full((findings,), cut))
        assault = Assault(
            members=[replace(member, retires=member.retires or retires) for member in members],
            attacked="own",
            deployed={"own": self.network, "other": self.other},
            cuts=cuts,
            radii=radii,
            norm="linf",
            task=task,
        )
        cases = Cases(self.store, self.rows, batch, CPU)
        ranges = np.ones(len(self.store.table)) if ranges is None else ranges
        subsets = Subsets(self.rows[:3], checked)
        folder = batches_folder(self.folder, {"plan": plan}, cases)
        found = attack_all(assault, cases, subsets, folder, ranges, **more)
        if not plan:
            forget(folder)
        return found


@pytest.fixture
def bench(dual_run: RunDir, tiny_store: Store, tmp_path: Path) -> Bench:
    model, _ = load_model(dual_run, tiny_store)
    counting = Counting(model.branch("adv").eval())
    return Bench(tiny_store, counting, model.branch("clean").eval(), tmp_path / "batches")


def relabelled(store: Store, change: Callable[[np.ndarray], None]) -> Store:
    """The store with other labels, which `change` writes into (images, findings)."""
    columns = [f"label:{finding}" for finding in store.findings]
    labels = store.labels.copy()
    change(labels)
    return replace(store, table=store.table.assign(**dict(zip(columns, labels.T, strict=True))))


class TestRadii:
    """What radii share."""

    @pytest.mark.parametrize("suite", ["fast", "pgd", "square", "strong"])
    def test_a_larger_ball_is_never_kinder(self, bench: Bench, suite: str) -> None:
        radii = RADII[:2] if suite == "strong" else RADII
        found = bench.attack(suite, radii)
        signed = bench.signs * np.stack([found.clean["own"], *found.scores["own"]])
        assert (np.diff(signed, axis=0) <= 0).all()
        assert (np.diff(signed, axis=0) < -1e-4).mean() > 0.4

    def test_the_first_look_serves_all(self, bench: Bench) -> None:
        images = len(bench.rows)
        shared = bench.attack("fast")
        # the image and its look; then the steps, and what the end gives
        assert shared.passes == bench.network.shown == images * (2 + 3 * (1 + STEPS))
        bench.network.shown = 0
        alone = bench.attack("apgd")
        assert alone.passes == bench.network.shown == images * (1 + 3 * (3 + STEPS))

    def test_the_worst_of_a_smaller_ball_counts_in_a_larger_one(self, bench: Bench) -> None:
        together = bench.attack("pgd", RADII)
        alone = bench.attack("pgd", RADII[1:2])
        smallest = bench.attack("pgd", RADII[:1])
        signs = bench.signs
        kinder = np.minimum(signs * alone.scores["own"][0], signs * smallest.scores["own"][0])
        np.testing.assert_array_equal(signs * together.scores["own"][1], kinder)

    def test_kept_images_are_in_the_ball_and_give_the_scores(self, bench: Bench) -> None:
        found = bench.attack()
        assert found.rows.tolist() == bench.rows[:3].tolist()
        assert found.images.shape == (3, 3, len(bench.store.findings), 1, 32, 32)
        images = load_images(bench.store, found.rows, CPU).numpy()
        for radius, shown, scores in zip(RADII, found.images, found.scores["own"], strict=True):
            assert np.abs(shown - images[:, None]).max() <= radius + 1e-7
            for finding in range(shown.shape[1]):
                with torch.no_grad():
                    again = bench.network(torch.from_numpy(shown[:, finding]))[:, finding]
                np.testing.assert_allclose(again, scores[:3, finding], rtol=0, atol=1e-5)

    def test_other_networks_judge_the_same_images(self, bench: Bench) -> None:
        found = bench.attack("fgsm", RADII[:1])
        labels = torch.from_numpy(bench.store.labels[bench.rows])
        images = load_images(bench.store, bench.rows, CPU)
        with torch.enable_grad():
            moving = images.clone().requires_grad_()
            loss = nn.functional.binary_cross_entropy_with_logits(
                bench.network(moving).double(), labels.double(), reduction="sum"
            )
            (gradient,) = torch.autograd.grad(loss, moving)
        attacked = (images + RADII[0] * gradient.sign()).clamp(0, 1)
        with torch.no_grad():
            both = torch.stack([bench.other(images), bench.other(attacked)])
        worst = torch.where(labels == 1, both.amin(0), both.amax(0))
        np.testing.assert_allclose(found.scores["other"][0], worst, rtol=0, atol=1e-5)


def arrays_of(path: Path) -> dict[str, bytes]:
    """What a batch's file holds, but for the time it took."""
    with np.load(path) as saved:
        return {name: saved[name].tobytes() for name in saved.files if name != "seconds"}


class TestBatches:
    """How the work is cut changes nothing, and work that is done is not done again."""

    def test_size(self, bench: Bench) -> None:
        together, alone = bench.attack(batch=256), bench.attack(batch=1)
        for name in ("own", "other"):
            np.testing.assert_allclose(together.scores[name], alone.scores[name], rtol=0, atol=2e-5)
        assert together.passes == alone.passes
        assert together.rows.tolist() == alone.rows.tolist()

    def test_the_same_seed_gives_the_same_numbers(self, bench: Bench) -> None:
        one, other = bench.attack("pgd"), bench.attack("pgd")
        np.testing.assert_array_equal(one.scores["own"], other.scores["own"])
        np.testing.assert_array_equal(one.images, other.images)

    def test_an_interrupted_attack_goes_on(self, bench: Bench) -> None:
        whole = bench.attack("pgd", batch=6)
        bench.network.shown = 0
        with pytest.raises(Interrupted):
            bench.attack("pgd", batch=6, plan="p", progress=interrupt_after(1))
        first = bench.network.shown
        assert first == whole.passes * 6 // 16
        found = bench.attack("pgd", batch=6, plan="p")
        assert bench.network.shown == whole.passes == found.passes
        same(found, whole)

    def test_finished_work_that_was_not_forgotten_is_read(self, bench: Bench) -> None:
        first = bench.attack(plan="p")
        bench.network.shown = 0
        again = bench.attack(plan="p")
        assert bench.network.shown == 0
        same(first, again)

    def test_another_plan_or_batch_size_starts_anew(self, bench: Bench) -> None:
        first = bench.attack(plan="p")
        for other in ({"plan": "q"}, {"plan": "p", "batch": 4}):
            bench.network.shown = 0
            bench.attack(**other)  # type: ignore[arg-type]
            assert bench.network.shown == first.passes

    @pytest.mark.parametrize("damage", ["truncated", "empty", "random", "partial"])
    def test_a_damaged_batch_is_made_again(self, bench: Bench, damage: str) -> None:
        whole = bench.attack(batch=8, plan="p")
        first, second = sorted(bench.folder.rglob("*.npz"))
        content, arrays = second.read_bytes(), arrays_of(second)
        if damage == "partial":  # killed while it was written
            second.rename(second.with_name(f".{second.stem}.0123abcd.partial.npz"))
        else:
            second.write_bytes(
                {
                    "truncated": content[: len(content) // 2],
                    "empty": b"",
                    "random": np.random.default_rng(0).bytes(len(content)),
                }[damage]
            )
        bench.network.shown = 0
        same(bench.attack(batch=8, plan="p"), whole)
        assert bench.network.shown == whole.passes / 2
        assert sorted(bench.folder.rglob("*.npz")) == [first, second]
        assert arrays_of(second) == arrays

    def test_forgotten_work_leaves_nothing(self, bench: Bench) -> None:
        bench.attack(plan="p")
        bench.attack(plan="q")
        one, other = sorted(bench.folder.iterdir())
        forget(one)
        assert list(bench.folder.iterdir()) == [other]  # interrupted work of another plan stays
        forget(other)
        assert not bench.folder.exists()
        forget(other)


class TestRanges:
    """Radii in native units."""

    def test_are_divided_by_the_range(self, bench: Bench) -> None:
        thousand = np.full(len(bench.store.table), 1000.0)
        native = bench.attack(radii=(10.0, 20.0, 40.0), ranges=thousand)
        same(native, bench.attack())

    def test_of_each_image(self, bench: Bench) -> None:
        ranges = np.full(len(bench.store.table), 1000.0)
        wide = bench.rows[1::2]
        ranges[wide] = 2000.0
        native = bench.attack(radii=(20.0,), ranges=ranges)
        narrow, broad = (bench.attack(radii=(radius,)) for radius in (0.02, 0.01))
        found = native.scores["own"][0]
        for start, expected in ((0, narrow), (1, broad)):
            np.testing.assert_allclose(
                found[start::2], expected.scores["own"][0][start::2], rtol=0, atol=2e-5
            )
        assert sorted(native.rows) == bench.rows[:3].tolist()
        moved = np.abs(
            native.images[0] - load_images(bench.store, native.rows, CPU).numpy()[:, None]
        )
        allowed = np.where(np.isin(native.rows, wide), 0.01, 0.02)
        assert (moved.max((1, 2, 3, 4)) <= allowed + 1e-7).all()


class TestGoals:
    """What an attack is after, and what it leaves alone."""

    def test_unknown_labels_move_nothing(self, bench: Bench) -> None:
        def forget_some(labels: np.ndarray) -> None:
            labels[bench.rows[0]] = np.nan
            labels[bench.rows, 1] = np.nan

        bench.store = relabelled(bench.store, forget_some)
        for suite in ("fast", "pgd"):
            found = bench.attack(suite)
            unchanged = load_images(bench.store, bench.rows[:1], CPU).numpy()[0]
            for scores, images in zip(found.scores["own"], found.images, strict=True):
                np.testing.assert_array_equal(scores[0], found.clean["own"][0])
                np.testing.assert_array_equal(scores[:, 1], found.clean["own"][:, 1])
                assert (images[0] == unchanged).all()
                assert (
                    (scores[1:, [0, 2, 3, 4]] != found.clean["own"][1:, [0, 2, 3, 4]]).any(0).all()
                )

    @pytest.mark.parametrize(("kind", "label"), [("vanish", 1), ("appear", 0)])
    def test_one_kind_of_label_alone(self, bench: Bench, kind: Any, label: int) -> None:
        found = bench.attack(goals=(Goal(kind, 2),))
        aimed = bench.store.labels[bench.rows, 2] == label
        moved = found.scores["own"][-1] != found.clean["own"]
        assert not moved[~aimed].any()
        assert moved[aimed, 2].all()
        # images that have nothing to be attacked are not shown to the network again
        images, shown = len(bench.rows), int(aimed.sum())
        assert found.passes == 2 * images + shown * 3 * (1 + STEPS)

    def test_one_finding_is_moved_further_than_all_at_once(self, bench: Bench) -> None:
        total = bench.attack(radii=(0.02,))
        each = bench.attack(radii=(0.02,), goals=tuple(Goal("finding", k) for k in range(5)))
        signs, labels = bench.signs, bench.store.labels[bench.rows]
        for finding in range(5):
            one, other = (x.scores["own"][0][:, finding] for x in (each, total))
            assert (signs[:, finding] * one).mean() < (signs[:, finding] * other).mean()
            truth = labels[:, finding]
            assert statistics.auroc(truth, one) <= statistics.auroc(truth, other)


class TestSquare:
    """The black-box attack on what is not broken yet."""

    def test_broken_images_are_not_asked_again(self, bench: Bench) -> None:
        found = bench.attack("square", retires=True, radii=(0.02,), cut=-9.0)
        # with this cut everything is positive: an image is broken unless it has every finding
        whole = (bench.store.labels[bench.rows] == 1).all(1)
        assert found.passes == len(bench.rows) + whole.sum() * (20 + 1)
        moved = (found.scores["own"][0] != found.clean["own"]).any(1)
        assert not moved[~whole].any()

    def test_the_goal_says_what_is_broken(self, bench: Bench) -> None:
        goal = Goal("vanish", 2)
        found = bench.attack("square", retires=True, radii=(0.02,), cut=-9.0, goals=(goal,))
        positive = bench.store.labels[bench.rows, 2] == 1
        # other findings are wrong, but this one is not yet
        lowered = found.scores["own"][0][:, 2] < found.clean["own"][:, 2]
        assert lowered[positive].any()
        assert not lowered[~positive].any()
        assert found.passes == len(bench.rows) + positive.sum() * (20 + 1)

    def test_a_subset(self, bench: Bench) -> None:
        some = bench.rows[[2, 5, 6]]
        labels = bench.store.labels[bench.rows]
        found = bench.attack("square", retires=True, radii=(0.02,), checked=some)
        wrong = (found.clean["own"] >= 0) != (labels == 1)
        moved = (found.scores["own"][0] != found.clean["own"]).any(1)
        assert not moved[~np.isin(bench.rows, some)].any()
        assert (moved | wrong.any(1))[np.isin(bench.rows, some)].all()


def test_exclusive_classes_have_a_margin(bench: Bench) -> None:
    kinds = np.arange(len(bench.store.table)) % 5

    def one_hot(labels: np.ndarray) -> None:
        labels[:] = np.eye(5)[kinds]
        labels[bench.rows[1]] = np.nan

    info = bench.store.info.model_copy(update={"task": "exclusive"})
    bench.store = replace(relabelled(bench.store, one_hot), info=info)
    found = bench.attack("strong", (0.01, 0.02))
    labels = load_labels(bench.store, bench.rows, CPU)
    with torch.no_grad():
        logits = bench.network(load_images(bench.store, bench.rows, CPU))
    own = (logits * labels.nan_to_num()).sum(1)
    clean = own - logits.masked_fill(labels == 1, -torch.inf).amax(1)
    margins = found.margins["own"]
    assert np.isnan(margins[:, 1]).all()
    known = [n for n in range(len(bench.rows)) if n != 1]
    assert (margins[0][known] <= clean.numpy()[known] + 1e-6).all()
    assert (margins[1][known] <= margins[0][known]).all()
    assert (margins[1][known] < clean.numpy()[known] - 1e-3).any()
    assert found.images.shape[2] == 5 + 1  # the last image is that of the margin
    with torch.no_grad():
        shown = bench.network(torch.from_numpy(found.images[-1, :, -1]))
    for place in (0, 2):
        kind = kinds[bench.rows[place]]
        others = [k for k in range(5) if k != kind]
        margin = shown[place, kind] - shown[place, others].max()
        assert float(margin) == pytest.approx(margins[-1, place], abs=1e-5)


class Interrupted(Exception):  # noqa: N818
    """Somebody pressed Ctrl-C."""


def interrupt_after(batches: int) -> Callable[[int], None]:
    done = []

    def count(images: int) -> None:
        done.append(images)
        if len(done) == batches:
            raise Interrupted

    return count


def same(one: Attacked, other: Attacked) -> None:
    """The same numbers to the bit."""
    for name in ("own", "other"):
        np.testing.assert_array_equal(one.clean[name], other.clean[name])
        np.testing.assert_array_equal(one.scores[name], other.scores[name])
        np.testing.assert_array_equal(one.margins[name], other.margins[name])
    np.testing.assert_array_equal(one.rows, other.rows)
    np.testing.assert_array_equal(one.images, other.images)
    assert one.passes == other.passes

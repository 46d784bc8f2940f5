from contextlib import nullcontext

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from medrobust.config import Config, resolve
from medrobust.data.prepare import prepare
from medrobust.data.store import Store
from medrobust.datasets.arrays import Arrays
from medrobust.errors import MedrobustError
from medrobust.folding import FoldedCopies
from medrobust.losses import rank_scores
from medrobust.models import build_model
from medrobust.validation import check_selectable, macro_auroc, validate


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("validation")
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, (60, 3)).astype(float)
    labels[20:40, 2] = 0  # no positives in val
    labels[25, 0] = np.nan
    np.savez(
        folder / "a.npz",
        images=random.integers(0, 256, (60, 10, 10)).astype(np.uint8),
        labels=labels,
        split=np.repeat([0, 1, 2], 20),
    )
    source = Arrays(folder / "a.npz", split="split", findings=["a", "b", "c"])
    return prepare(source, folder / "store", size=None)


def settings(store: Store, regime: str) -> Config:
    given = {
        "name": "v",
        "regime": regime,
        "data": {"store": str(store.path)},
        "network": {"name": "small", "width": 4},
        "attack": {"eps": "8/255"},
    }
    return resolve(given, (), "test")


def test_macro_auroc_is_scikit_learns_mean_over_scorable_findings(store: Store) -> None:
    rows = store.rows("val")
    labels = torch.from_numpy(store.labels[rows])
    logits = torch.randn(len(rows), 3, generator=torch.Generator().manual_seed(0))
    known = ~torch.isnan(labels[:, 0])
    expected = (
        roc_auc_score(labels[known, 0], logits[known, 0])
        + roc_auc_score(labels[:, 1], logits[:, 1])
    ) / 2
    assert macro_auroc(labels, logits, store) == pytest.approx(expected)


def test_attacks_lower_the_auroc_of_the_robust_branch_only_it_is_attacked(store: Store) -> None:
    config = settings(store, "dual")
    result = validate(build_model(config, store), store, config, torch.device("cpu"), nullcontext)
    assert set(result.auroc["clean"]) == {"clean", "adv"}
    assert set(result.auroc["pgd"]) == {"adv"}
    assert result.auroc["pgd"]["adv"] < result.auroc["clean"]["adv"]
    assert result.score == result.auroc["pgd"]["adv"]


def test_an_attack_on_a_folded_copy_finds_the_same(store: Store) -> None:
    config = settings(store, "dual")
    how = (build_model(config, store).double(), store, config, torch.device("cpu"), nullcontext)
    told: list[str] = []
    quick = validate(*how, fast=FoldedCopies(told.append).of)
    plain = validate(*how)
    assert not told
    assert quick.auroc == plain.auroc
    assert quick.loss == pytest.approx(plain.loss, rel=1e-9)


def test_diverged_weights_are_said_to_be(store: Store) -> None:
    config = settings(store, "standard")
    model = build_model(config, store)
    with torch.no_grad():
        model.single.backbone.fc.bias.fill_(float("nan"))
    with pytest.raises(
        MedrobustError, match="outputs are no longer numbers; training has diverged"
    ):
        validate(model, store, config, torch.device("cpu"), nullcontext)


def test_a_split_that_cannot_select_is_refused(store: Store) -> None:
    check_selectable(store)
    only = store.table.drop(columns=["label:a", "label:b"])
    with pytest.raises(
        MedrobustError, match="no finding has both positives and negatives in split"
    ):
        check_selectable(Store(store.path, store.images, only, store.info))


def test_scores_of_exclusive_classes_are_log_odds() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [100.0, 0.0, 0.0]], dtype=torch.float64)
    p = logits.softmax(1)
    torch.testing.assert_close(rank_scores(logits, "exclusive")[0], (p / (1 - p)).log()[0])
    # A probability of 1 in floating point does not saturate its score.
    assert rank_scores(logits, "exclusive")[1, 0] == pytest.approx(100 - np.log(2))
    assert rank_scores(logits, "multilabel") is logits

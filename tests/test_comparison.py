import numpy as np
import pandas as pd
import pytest

from medrobust import statistics
from medrobust.comparison import COLUMNS, paired_comparison
from medrobust.errors import MedrobustError


def drawn(n=120):
    """Two networks' predictions of the same images, the first better, and the store's table."""
    generator = np.random.default_rng(0)
    labels = (generator.random((n, 2)) < 0.4).astype(float)
    shared = generator.normal(size=labels.shape)
    names = {
        "image_id": [f"i{i}" for i in range(n)],
        "patient_id": [f"p{i // 2}" for i in range(n)],
    }
    table = pd.DataFrame(names | {"label:Edema": labels[:, 0], "label:Nodule": labels[:, 1]})
    frames = []
    for gain in (2.0, 1.0):
        logits = shared + gain * labels + 0.3 * generator.normal(size=labels.shape)
        frames.append(
            pd.DataFrame(
                names
                | {"branch": "adv", "Edema": 0.5, "Nodule": 0.5}
                | {"logit:Edema": logits[:, 0], "logit:Nodule": logits[:, 1]}
            )
        )
    return *frames, table


def test_differences_have_interval_and_both_tests():
    a, b, table = drawn()
    rows = paired_comparison(a, b, table, redraws=500, seed=2)
    assert tuple(rows.columns) == COLUMNS
    assert rows["finding"].tolist() == ["Edema", "Nodule", "macro"]
    for row in rows.head(2).itertuples():
        truth, logit = table[f"label:{row.finding}"], f"logit:{row.finding}"
        expected = statistics.bootstrap_difference(
            [statistics.weighted_auroc(truth, a[logit])],
            [statistics.weighted_auroc(truth, b[logit])],
            a["patient_id"],
            500,
            seed=2,
        )
        found = (row.difference, row.low, row.high, row.p_bootstrap)
        assert found == pytest.approx(expected[:4])
        assert row.auroc_a - row.auroc_b == pytest.approx(row.difference)
        test = statistics.delong_test(truth, a[logit], b[logit], a["patient_id"])
        assert row.p_delong == pytest.approx(test.p)
        assert row.p_delong < 0.01
        assert (row.n, row.n_positive) == (120, truth.sum())


def test_macro_is_the_mean_difference_with_a_narrower_interval():
    a, b, table = drawn()
    rows = paired_comparison(a, b, table, redraws=500).set_index("finding")
    findings, macro = rows.loc[["Edema", "Nodule"]], rows.loc["macro"]
    for column in ("auroc_a", "auroc_b", "difference"):
        assert macro[column] == pytest.approx(findings[column].mean())
    assert macro["high"] - macro["low"] < (findings["high"] - findings["low"]).min()
    assert np.isnan(macro["p_delong"])


def test_exchanging_the_networks_changes_the_sign():
    a, b, table = drawn()
    forth, back = paired_comparison(a, b, table, 200), paired_comparison(b, a, table, 200)
    np.testing.assert_allclose(forth["difference"], -back["difference"])
    np.testing.assert_allclose(forth["low"], -back["high"])
    np.testing.assert_allclose(forth["p_bootstrap"], back["p_bootstrap"])


def test_the_order_of_rows_does_not_matter():
    a, b, table = drawn()
    shuffled = b.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(
        paired_comparison(a, shuffled, table, 100), paired_comparison(a, b, table, 100)
    )


def test_a_finding_without_both_classes_is_empty_and_left_out_of_macro():
    a, b, table = drawn()
    table["label:Nodule"] = 0.0
    rows = paired_comparison(a, b, table, 100).set_index("finding")
    assert rows.loc["Nodule"].drop(["n", "n_positive"]).isna().all()
    assert rows.loc["Nodule", "n"] == 120
    assert rows.loc["macro", "difference"] == rows.loc["Edema", "difference"]
    table["label:Edema"] = 1.0
    assert paired_comparison(a, b, table, 100)["difference"].isna().all()


def test_other_images_are_refused():
    a, b, table = drawn()
    with pytest.raises(MedrobustError) as error:
        paired_comparison(a, b.head(100), table)
    assert str(error.value) == (
        "expected two predictions of the same images, found 120 and 100 images of which 100 are "
        "shared; compare predictions of one store and split"
    )


def test_other_findings_are_refused():
    a, b, table = drawn()
    with pytest.raises(MedrobustError) as error:
        paired_comparison(a, b.drop(columns=["Nodule", "logit:Nodule"]), table)
    assert str(error.value) == (
        "expected two predictions of the same findings, found Edema, Nodule and Edema; compare "
        "networks trained on the same findings"
    )

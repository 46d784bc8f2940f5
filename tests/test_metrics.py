from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as oracle

from medrobust import statistics
from medrobust.errors import MedrobustError
from medrobust.metrics import (
    COLUMNS,
    METRICS,
    choose_thresholds,
    read_metrics,
    score_predictions,
    threshold_rows,
    write_metrics,
)

CLEAN = {"name": "", "goal": "", "norm": "", "eps": 0.0, "attacked_branch": ""}
PGD = {"name": "pgd", "goal": "total", "norm": "linf", "eps": 0.0157, "attacked_branch": "adv"}
SIDECAR = {
    "store": "phantom",
    "split": "test",
    "checkpoint": "best",
    "branch": "adv",
    "attack": PGD,
    "task": "multilabel",
}
STEM = "phantom-test-best-adv-pgd-linf-0.0157-on-adv"
FINDINGS = ("Edema", "Nodule")


def drawn(n=90, findings=FINDINGS, seed=0):
    """Predictions and the store's table: three images a patient, a few labels unknown."""
    generator = np.random.default_rng(seed)
    labels = (generator.random((n, len(findings))) < 0.4).astype(float)
    logits = generator.normal(size=labels.shape) + 1.5 * labels - 0.7
    labels[generator.random(labels.shape) < 0.1] = np.nan
    names = {
        "image_id": [f"i{i}" for i in range(n)],
        "patient_id": [f"p{i // 3}" for i in range(n)],
    }
    frame, table = pd.DataFrame(names | {"branch": "adv"}), pd.DataFrame(names)
    for column, finding in enumerate(findings):
        frame[finding] = 1 / (1 + np.exp(-logits[:, column]))
        frame[f"logit:{finding}"] = logits[:, column]
        table[f"label:{finding}"] = labels[:, column]
    return frame, table.sample(frac=1, random_state=0).reset_index(drop=True)


def half(findings=FINDINGS):
    return dict.fromkeys(findings, 0.5)


def one(rows, finding, metric, interval="bootstrap"):
    chosen = rows.query("finding == @finding and metric == @metric and interval == @interval")
    assert len(chosen) == 1
    return chosen.iloc[0]


def known(frame, table, finding):
    labels = frame[["image_id"]].merge(table)[f"label:{finding}"].to_numpy()
    there = ~np.isnan(labels)
    return labels[there], frame[there]


def test_every_metric_of_every_finding_has_a_row_with_an_interval():
    frame, table = drawn()
    rows, warnings = score_predictions(frame, SIDECAR, table, half(), STEM, redraws=300)
    assert warnings == []
    assert tuple(rows.columns) == COLUMNS
    for finding in (*FINDINGS, "macro"):
        for metric in METRICS:
            row = one(rows, finding, metric)
            assert row.low < row.value < row.high or metric == "ece"
    assert len(rows) == 3 * len(METRICS) + 2
    identity = PGD | SIDECAR | {"attack": "pgd", "group": "all", "predictions": STEM}
    for column, value in identity.items():
        if column not in ("name", "task"):
            assert rows[column].eq(value).all(), column


def test_values_are_those_of_scikit_learn():
    frame, table = drawn()
    thresholds = {"Edema": 0.4, "Nodule": 0.6}
    rows, _ = score_predictions(frame, SIDECAR, table, thresholds, STEM, redraws=50)
    for finding in FINDINGS:
        labels, given = known(frame, table, finding)
        p, logit = given[finding], given[f"logit:{finding}"]
        decided = p >= thresholds[finding]
        expected = {
            "auroc": oracle.roc_auc_score(labels, logit),
            "auprc": oracle.average_precision_score(labels, logit),
            "accuracy": oracle.accuracy_score(labels, decided),
            "sensitivity": oracle.recall_score(labels, decided),
            "specificity": oracle.recall_score(labels, decided, pos_label=0),
            "brier": oracle.brier_score_loss(labels, p),
            "ece": statistics.expected_calibration_error(labels, p),
        }
        for metric, value in expected.items():
            row = one(rows, finding, metric)
            assert row.value == pytest.approx(value), metric
            assert (row.n, row.n_positive) == (len(labels), labels.sum())


def test_auroc_has_a_second_row_with_the_clustered_delong_interval():
    frame, table = drawn()
    rows, _ = score_predictions(frame, SIDECAR, table, half(), STEM, redraws=50)
    labels, given = known(frame, table, "Edema")
    expected = statistics.delong_interval(labels, given["logit:Edema"], given["patient_id"])
    row = one(rows, "Edema", "auroc", "delong")
    assert (row.value, row.low, row.high) == pytest.approx(
        (expected.auroc, expected.low, expected.high)
    )
    assert set(rows.query("interval == 'delong'")["finding"]) == set(FINDINGS)


def test_ranks_use_logits_where_probabilities_saturate():
    frame, table = drawn()
    extreme = frame.assign(Edema=1.0, **{"logit:Edema": frame["logit:Edema"] + 80})
    rows, _ = score_predictions(extreme, SIDECAR, table, half(), STEM, redraws=50)
    plain, _ = score_predictions(frame, SIDECAR, table, half(), STEM, redraws=50)
    assert one(rows, "Edema", "auroc").value == one(plain, "Edema", "auroc").value
    assert one(rows, "Edema", "sensitivity").value == 1


def test_macro_is_the_mean_of_the_findings_in_every_redraw():
    frame, table = drawn()
    rows, _ = score_predictions(frame, SIDECAR, table, half(), STEM, redraws=200, seed=3)
    labels = frame[["image_id"]].merge(table)
    measures = [
        statistics.weighted_auroc(labels[f"label:{f}"], frame[f"logit:{f}"]) for f in FINDINGS
    ]
    redrawn = statistics.bootstrap(measures, frame["patient_id"], 200, seed=3).mean(axis=1)
    row = one(rows, "macro", "auroc")
    assert (row.low, row.high) == pytest.approx(statistics.percentile_interval(redrawn)[:2])
    for metric in METRICS:
        mean = np.mean([one(rows, finding, metric).value for finding in FINDINGS])
        assert one(rows, "macro", metric).value == pytest.approx(mean)
    known_at_all = labels[[f"label:{f}" for f in FINDINGS]].notna().any(axis=1)
    assert row.n == known_at_all.sum()


def test_macro_of_a_single_finding_is_the_finding():
    frame, table = drawn(findings=("Pneumonia",))
    rows, _ = score_predictions(frame, SIDECAR, table, half(("Pneumonia",)), STEM, redraws=50)
    numbers = ["metric", "value", "low", "high", "n", "n_positive"]
    finding, macro = (
        rows.query("finding == @name and interval == 'bootstrap'")[numbers].reset_index(drop=True)
        for name in ("Pneumonia", "macro")
    )
    pd.testing.assert_frame_equal(finding, macro)


def test_the_same_seed_gives_the_same_rows_whatever_the_order_of_images():
    frame, table = drawn()
    rows, _ = score_predictions(frame, SIDECAR, table, half(), STEM, redraws=50, seed=1)
    again, _ = score_predictions(
        frame.sample(frac=1, random_state=1), SIDECAR, table, half(), STEM, redraws=50, seed=1
    )
    pd.testing.assert_frame_equal(rows, again)
    other, _ = score_predictions(frame, SIDECAR, table, half(), STEM, redraws=50, seed=2)
    assert other["low"].ne(rows["low"]).any()


@pytest.mark.parametrize(
    ("label", "lacks", "n"), [(0.0, "positive", 90), (1.0, "negative", 90), (np.nan, "labelled", 0)]
)
def test_a_finding_without_both_classes_has_no_value_and_is_left_out_of_macro(label, lacks, n):
    frame, table = drawn()
    table["label:Nodule"] = label
    rows, warnings = score_predictions(frame, SIDECAR, table, half(), STEM, redraws=50)
    assert warnings == [
        f"{STEM} (test): Nodule has no {lacks} images among {n} and cannot be scored; macro "
        "covers: Edema"
    ]
    for metric in METRICS:
        row = one(rows, "Nodule", metric, "")
        assert np.isnan([row.value, row.low, row.high]).all()
        assert row.n == n
        numbers = ["value", "n", "n_positive"]
        assert one(rows, "macro", metric)[numbers].equals(one(rows, "Edema", metric)[numbers])


def test_a_split_in_which_nothing_can_be_scored_still_has_rows():
    frame, table = drawn(findings=("Pneumonia",))
    table["label:Pneumonia"] = 0.0
    rows, warnings = score_predictions(
        frame, SIDECAR, table, half(("Pneumonia",)), STEM, redraws=50
    )
    assert warnings[0].endswith("macro covers: nothing")
    assert rows["value"].isna().all()
    assert rows["n"].eq(90).all()
    assert set(rows["finding"]) == {"Pneumonia", "macro"}


def test_a_perfectly_separated_finding_comes_with_a_warning():
    frame, table = drawn(findings=("Pneumonia",))
    frame["logit:Pneumonia"] = np.arange(90.0)
    table["label:Pneumonia"] = table["image_id"].isin(["i85", "i89", "i88", "i87", "i86"]) * 1.0
    rows, warnings = score_predictions(frame, SIDECAR, table, half(("Pneumonia",)), STEM, 500)
    assert warnings == [
        f"{STEM} (test): Pneumonia has an AUROC of exactly 1; its bootstrap interval "
        "has no width and DeLong's cannot be estimated"
    ]
    row = one(rows, "Pneumonia", "auroc")
    assert (row.value, row.low, row.high) == (1, 1, 1)
    row = one(rows, "Pneumonia", "auroc", "delong")
    assert row.value == 1
    assert np.isnan([row.low, row.high]).all()


def test_a_finding_of_too_few_patients_has_no_interval_and_a_warning():
    """One patient has it, one does not, one is unknown: both are drawn in 12 of 27 redraws."""
    frame, table = drawn(9, findings=("Pneumonia",))
    table["label:Pneumonia"] = table["patient_id"].map({"p0": 1.0, "p1": 0.0, "p2": np.nan})
    frame["logit:Pneumonia"] = [1.0, 2.0, 3.0] * 3
    rows, warnings = score_predictions(frame, SIDECAR, table, half(("Pneumonia",)), STEM, 2000)
    row = one(rows, "Pneumonia", "auroc")
    assert row.value == 0.5
    assert np.isnan([row.low, row.high]).all()
    (text,) = warnings
    defined = int(
        text.removeprefix(f"{STEM} (test): Pneumonia has both classes in only ").split()[0]
    )
    assert defined == pytest.approx(2000 * 12 / 27, rel=0.1)
    assert text.endswith("of 2000 redraws of the patients; no bootstrap interval of its AUROC")


def test_exclusive_classes_are_scored_one_against_the_rest_and_by_their_first_choice():
    generator, findings = np.random.default_rng(0), ("healthy", "partial", "torn")
    frame, table = drawn(findings=findings)
    truth = generator.integers(3, size=90)
    logits = generator.normal(size=(90, 3)) + np.eye(3)[truth]
    for column, finding in enumerate(findings):
        frame[f"logit:{finding}"] = logits[:, column]
        table[f"label:{finding}"] = (truth == column).astype(float)[
            table["image_id"].str[1:].astype(int)
        ]
    sidecar = SIDECAR | {"task": "exclusive"}
    rows, _ = score_predictions(frame, sidecar, table, half(findings), STEM, redraws=200)
    right = logits.argmax(axis=1) == truth
    row = one(rows, "macro", "accuracy")
    assert row.value == pytest.approx(right.mean())
    assert row.low < row.value < row.high
    assert (row.n, row.n_positive) == (90, 90)
    assert one(rows, "partial", "auroc").value == pytest.approx(
        oracle.roc_auc_score(truth == 1, logits[:, 1])
    )
    aurocs = [one(rows, finding, "auroc").value for finding in findings]
    assert one(rows, "macro", "auroc").value == pytest.approx(np.mean(aurocs))


def test_clean_predictions_have_no_attack():
    frame, table = drawn()
    given = SIDECAR | {"attack": PGD | {"name": ""}}
    rows, _ = score_predictions(frame, given, table, half(), STEM, redraws=10)
    for column in ("attack", "goal", "norm", "attacked_branch"):
        assert rows[column].eq("").all()
    assert rows["eps"].eq(0).all()


def test_a_missing_threshold_is_named():
    frame, table = drawn()
    with pytest.raises(MedrobustError) as error:
        score_predictions(frame, SIDECAR, table, {"Edema": 0.5}, STEM)
    assert str(error.value) == (
        f"{STEM}: expected a threshold for every finding, found none for Nodule; choose "
        "thresholds from the validation predictions of the same run"
    )


def test_thresholds_are_youdens_or_a_half():
    frame, table = drawn()
    table["label:Nodule"] = 0.0
    labels, given = known(frame, table, "Edema")
    assert choose_thresholds(frame, table) == {
        "Edema": statistics.youden_threshold(labels, given["Edema"]),
        "Nodule": 0.5,
    }


def test_thresholds_are_rows_of_the_validation_split():
    frame, table = drawn()
    sidecar = SIDECAR | {"split": "val", "attack": CLEAN}
    rows = threshold_rows({"Edema": 0.3, "Nodule": 0.5}, frame, sidecar, table, "stem")
    assert tuple(rows.columns) == COLUMNS
    assert rows["metric"].eq("threshold").all()
    assert rows["split"].eq("val").all()
    assert rows["interval"].eq("").all()
    assert rows["value"].tolist() == [0.3, 0.5]
    assert rows["n"].tolist() == [len(known(frame, table, f)[0]) for f in FINDINGS]


def test_what_is_written_is_read_to_the_last_bit(tmp_path):
    frame, table = drawn()
    frame = frame.rename(columns={"Nodule": "NA", "logit:Nodule": "logit:NA"})
    table = table.rename(columns={"label:Nodule": "label:NA"})
    table["label:Edema"] = 1.0
    rows, _ = score_predictions(frame, SIDECAR, table, half(("Edema", "NA")), STEM, redraws=20)
    path = tmp_path / "run" / "metrics.csv"
    write_metrics(path, rows)
    read = read_metrics(path)
    assert set(read["finding"]) == {"Edema", "NA", "macro"}
    pd.testing.assert_frame_equal(read, rows, check_dtype=False, check_exact=True)
    assert read["n"].dtype == np.int64
    assert path.read_text().startswith(
        "store,split,checkpoint,branch,attack,goal,norm,eps,attacked_branch,group,finding,metric,"
        "value,low,high,interval,n,n_positive,predictions\n"
    )
    assert [file.name for file in path.parent.iterdir()] == ["metrics.csv"]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", "expected a table of metrics, found: No columns to parse from file"),
        ("a,b\n1,2\n", "found a, b; run `evaluate` again"),
        (
            ",".join(COLUMNS) + "\n" + ",".join("x" for _ in COLUMNS) + "\n",
            "expected a table of metrics, found: ",
        ),
    ],
)
def test_what_is_no_table_of_metrics_is_refused(tmp_path, content, found):
    path = tmp_path / "metrics.csv"
    path.write_text(content)
    with pytest.raises(MedrobustError) as error:
        read_metrics(path)
    assert found in str(error.value)
    assert str(error.value).startswith(f"{path}: expected")


def test_a_missing_table_of_metrics_is_refused(tmp_path):
    with pytest.raises(MedrobustError, match="expected a table of metrics"):
        read_metrics(tmp_path / "metrics.csv")


def test_text_among_the_numbers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    row = dict.fromkeys(COLUMNS, "") | {"eps": "0", "value": "hello", "n": "1", "n_positive": "1"}
    pd.DataFrame([row]).to_csv(path, index=False)
    with pytest.raises(MedrobustError) as refused:
        read_metrics(path)
    assert str(refused.value) == (
        f"{path}: expected numbers in eps, value, low, high, found text; run `evaluate` again"
    )

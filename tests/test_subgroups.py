import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as oracle

from medrobust import statistics
from medrobust.errors import MedrobustError
from medrobust.metrics import COLUMNS, read_metrics, score_predictions, write_metrics
from medrobust.subgroups import subgroup_rows

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
THRESHOLDS = {"Edema": 0.4, "Nodule": 0.6}
METRICS = [m + kind for m in ("auroc", "sensitivity", "specificity") for kind in ("", "_gap")]


def drawn(n=240, seed=0):
    """Predictions and the store's table, in another order: two images a patient, some unknown."""
    generator = np.random.default_rng(seed)
    labels = (generator.random((n, 2)) < 0.4).astype(float)
    logits = generator.normal(size=labels.shape) + 1.5 * labels - 0.7
    labels[generator.random(labels.shape) < 0.1] = np.nan
    patient = np.arange(n) // 2
    names = {"image_id": [f"i{i}" for i in range(n)], "patient_id": [f"p{i}" for i in patient]}
    frame, table = pd.DataFrame(names | {"branch": "adv"}), pd.DataFrame(names)
    table["sex"] = np.array(["F", "M", None], object)[generator.choice(3, n, p=(0.5, 0.4, 0.1))]
    table["age"] = generator.integers(5, 95, n).astype(float)
    table["view"] = "PA"
    for column, finding in enumerate(FINDINGS):
        frame[finding] = 1 / (1 + np.exp(-logits[:, column]))
        frame[f"logit:{finding}"] = logits[:, column]
        table[f"label:{finding}"] = labels[:, column]
    return frame, table.sample(frac=1, random_state=0).reset_index(drop=True)


def scored(frame, table, columns=None, redraws=60, seed=0, sidecar=SIDECAR):
    return subgroup_rows(frame, sidecar, table, THRESHOLDS, STEM, columns, redraws, seed)


def one(rows, group, finding, metric):
    chosen = rows.query("group == @group and finding == @finding and metric == @metric")
    assert len(chosen) == 1
    return chosen.iloc[0]


def expected(frame, table, finding, chosen):
    """The three metrics of the chosen images, by scikit-learn; then n and the positives."""
    merged = frame.merge(table, on="image_id")
    merged = merged[chosen(merged) & merged[f"label:{finding}"].notna()]
    labels = merged[f"label:{finding}"]
    decided = merged[finding] >= THRESHOLDS[finding]
    values = [
        oracle.roc_auc_score(labels, merged[f"logit:{finding}"]),
        oracle.recall_score(labels, decided),
        oracle.recall_score(labels, decided, pos_label=0),
    ]
    return np.array(values), len(labels), labels.sum()


def test_every_group_has_every_row():
    frame, table = drawn()
    rows, warnings = scored(frame, table)
    assert warnings == []
    assert tuple(rows.columns) == COLUMNS
    ages = ["age=<18", "age=18-39", "age=40-59", "age=60-79", "age=80+"]
    groups = ["sex=F", "sex=M", "sex=unknown", *ages]
    assert list(dict.fromkeys(rows["group"])) == groups
    for _, part in rows.groupby("group"):
        found = list(zip(part["finding"], part["metric"], strict=True))
        assert found == [(f, m) for f in (*FINDINGS, "macro") for m in METRICS]
    assert rows["interval"].eq("bootstrap").all()
    assert rows["attack"].eq("pgd").all()
    assert rows["predictions"].eq(STEM).all()


def test_values_and_gaps_are_those_of_scikit_learn():
    frame, table = drawn()
    rows, _ = scored(frame, table)
    groups = {
        "sex=F": lambda t: t["sex"] == "F",
        "sex=unknown": lambda t: t["sex"].isna(),
        "age=40-59": lambda t: (t["age"] >= 40) & (t["age"] < 60),
        "age=80+": lambda t: t["age"] >= 80,
    }
    for group, chosen in groups.items():
        for finding in FINDINGS:
            values, n, positives = expected(frame, table, finding, chosen)
            others = expected(frame, table, finding, lambda t, inside=chosen: ~inside(t))[0]
            found = [one(rows, group, finding, metric) for metric in METRICS]
            assert [row["value"] for row in found[::2]] == pytest.approx(values)
            assert [row["value"] for row in found[1::2]] == pytest.approx(values - others)
            assert {(row["n"], row["n_positive"]) for row in found} == {(n, positives)}


def test_intervals_are_those_of_the_patients_redraws():
    frame, table = drawn()
    rows, _ = scored(frame, table, ["sex"], redraws=200, seed=5)
    labels = frame[["image_id"]].merge(table)
    female = (labels["sex"] == "F").to_numpy()
    for finding in FINDINGS:
        logit, truth = frame[f"logit:{finding}"], labels[f"label:{finding}"]
        pair = [
            statistics.weighted_auroc(truth.where(inside), logit) for inside in (female, ~female)
        ]
        inside, outside = statistics.bootstrap(pair, frame["patient_id"], 200, seed=5).T
        for metric, redrawn in (("auroc", inside), ("auroc_gap", inside - outside)):
            row = one(rows, "sex=F", finding, metric)
            assert (row.low, row.high) == pytest.approx(statistics.percentile_interval(redrawn)[:2])


def test_macro_is_the_mean_of_the_findings():
    frame, table = drawn()
    rows, _ = scored(frame, table)
    for group in rows["group"].unique():
        for metric in METRICS:
            values = [one(rows, group, finding, metric).value for finding in FINDINGS]
            assert one(rows, group, "macro", metric).value == pytest.approx(np.mean(values))


def test_a_group_of_all_images_has_the_numbers_of_all_images_and_no_gap():
    frame, table = drawn()
    rows, warnings = scored(frame, table, ["view"], seed=2)
    every, _ = score_predictions(frame, SIDECAR, table, THRESHOLDS, STEM, 60, seed=2)
    assert warnings == []
    kept = ["finding", "metric", "value", "low", "high", "n", "n_positive"]
    every = every.query("interval == 'bootstrap' and metric in @METRICS")[kept]
    found = rows.query("not metric.str.endswith('_gap')")[kept]
    pd.testing.assert_frame_equal(found.reset_index(drop=True), every.reset_index(drop=True))
    gaps = rows.query("metric.str.endswith('_gap')")
    assert gaps[["value", "low", "high"]].isna().all(axis=None)
    assert gaps["interval"].eq("").all()


def test_the_gaps_of_two_groups_that_are_all_images_are_opposite():
    frame, table = drawn()
    table["sex"] = table["sex"].fillna("M")
    rows, _ = scored(frame, table, ["sex"])
    gaps = rows[rows["metric"].str.endswith("_gap")]
    female, male = (
        gaps[gaps["group"] == group].reset_index(drop=True) for group in ("sex=F", "sex=M")
    )
    np.testing.assert_allclose(female["value"], -male["value"])
    np.testing.assert_allclose(female["low"], -male["high"])


def test_a_worse_group_has_a_negative_gap_that_leaves_out_zero():
    frame, table = drawn()
    merged = frame[["image_id"]].merge(table)
    male = (merged["sex"] == "M").to_numpy()
    generator = np.random.default_rng(1)
    frame.loc[male, "logit:Edema"] = generator.normal(size=male.sum())
    row = one(scored(frame, table, ["sex"], 300).rows, "sex=M", "Edema", "auroc_gap")
    assert row.high < 0


def test_a_group_without_both_classes_is_empty_and_left_out_of_macro():
    frame, table = drawn()
    table.loc[table["sex"] == "M", "label:Nodule"] = 0.0
    rows, warnings = scored(frame, table, ["sex"])
    assert warnings == [
        f"{STEM} (test), group sex=M: cannot be scored without images of both classes: Nodule; "
        "macro covers: Edema"
    ]
    for metric in METRICS:
        row = one(rows, "sex=M", "Nodule", metric)
        assert np.isnan([row.value, row.low, row.high]).all()
        assert (row.interval, row.n, row.n_positive) == ("", (table["sex"] == "M").sum(), 0)
        numbers = ["value", "low", "high", "n", "n_positive"]
        macro, edema = (one(rows, "sex=M", f, metric)[numbers] for f in ("macro", "Edema"))
        assert macro.equals(edema)


def test_the_gap_of_macro_is_over_findings_that_both_sides_have():
    frame, table = drawn()
    table.loc[table["sex"] != "F", "label:Nodule"] = 0.0
    rows, _ = scored(frame, table, ["sex"])
    assert one(rows, "sex=F", "Nodule", "auroc").value > 0
    assert np.isnan(one(rows, "sex=F", "Nodule", "auroc_gap").value)
    gap = one(rows, "sex=F", "Edema", "auroc_gap").value
    assert one(rows, "sex=F", "macro", "auroc_gap").value == gap


def test_a_group_in_which_nothing_can_be_scored_still_has_rows():
    frame, table = drawn()
    female = table["sex"] == "F"
    table.loc[female, ["label:Edema", "label:Nodule"]] = 1.0
    rows, warnings = scored(frame, table, ["sex"])
    part = rows.query("group == 'sex=F'")
    assert part["value"].isna().all()
    assert part["n"].eq(female.sum()).all()
    assert warnings[0].endswith("both classes: Edema, Nodule; macro covers: nothing")


def test_usual_columns_are_those_with_at_least_two_values_and_at_most_twenty():
    frame, table = drawn()
    table["site"] = [f"s{i % 21}" for i in range(len(table))]
    prefixes = scored(frame, table).rows["group"].str.split("=").str[0]
    assert set(prefixes) == {"sex", "age"}
    table["site"] = [f"s{i % 3}" for i in range(len(table))]
    table = table.drop(columns=["sex", "age"])
    groups = scored(frame, table).rows["group"].unique()
    assert groups.tolist() == ["site=s0", "site=s1", "site=s2"]


def test_one_value_and_unknown_are_not_two_values():
    frame, table = drawn()
    table["sex"] = table["sex"].where(table["sex"] != "M")
    assert not scored(frame, table).rows["group"].str.startswith("sex").any()
    named = scored(frame, table, ["sex"]).rows["group"].unique()
    assert named.tolist() == ["sex=F", "sex=unknown"]


def test_a_store_without_groups_has_no_rows():
    frame, table = drawn()
    rows, warnings = scored(frame, table.drop(columns=["sex", "age"]))
    assert warnings == []
    assert tuple(rows.columns) == COLUMNS
    assert len(rows) == 0


def test_age_bands_meet_at_their_edges():
    frame, table = drawn()
    ages = {"<18": 17.9, "18-39": 18, "40-59": 40, "60-79": 60, "80+": 80, "unknown": np.nan}
    table["age"] = np.resize(list(ages.values()), len(table))
    rows, _ = scored(frame, table, ["age"])
    assert list(dict.fromkeys(rows["group"])) == [f"age={band}" for band in ages]


def test_any_column_may_be_named_and_once_is_enough():
    frame, table = drawn()
    table["ward"] = np.resize(["b", "a", ""], len(table))
    rows, _ = scored(frame, table, ["ward", "sex", "ward"])
    groups = ["ward=a", "ward=b", "ward=unknown", "sex=F", "sex=M", "sex=unknown"]
    assert list(dict.fromkeys(rows["group"])) == groups
    assert len(rows) == len(groups) * 3 * len(METRICS)


def test_a_column_that_is_not_there_is_named():
    frame, table = drawn()
    with pytest.raises(MedrobustError) as error:
        scored(frame, table, ["sex", "ward"])
    assert str(error.value) == (
        "expected columns of the store's table to group images by, found 'ward', which it lacks; "
        "it has image_id, patient_id, sex, age, view"
    )


def test_a_column_of_many_values_is_refused():
    frame, table = drawn()
    with pytest.raises(MedrobustError) as error:
        scored(frame, table, ["patient_id"])
    assert str(error.value) == (
        "expected columns of at most 20 values to group images by, found 120 in 'patient_id'; "
        "group by another column"
    )


def test_a_missing_threshold_is_named():
    frame, table = drawn()
    with pytest.raises(MedrobustError, match="expected a threshold for every finding, found none"):
        subgroup_rows(frame, SIDECAR, table, {"Edema": 0.5}, STEM)


def test_clean_and_attacked_predictions_are_scored_alike():
    frame, table = drawn()
    attacked, _ = scored(frame, table)
    clean, _ = scored(frame, table, sidecar=SIDECAR | {"attack": CLEAN})
    assert clean["attack"].eq("").all()
    assert clean["eps"].eq(0).all()
    same = ["group", "finding", "metric", "value", "low", "high", "n", "n_positive"]
    pd.testing.assert_frame_equal(clean[same], attacked[same])


def test_the_order_of_images_does_not_matter():
    frame, table = drawn()
    shuffled = frame.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(scored(frame, table).rows, scored(shuffled, table).rows)


def test_rows_are_read_as_they_were_written(tmp_path):
    frame, table = drawn()
    rows, _ = scored(frame, table)
    write_metrics(tmp_path / "metrics.csv", rows)
    read = read_metrics(tmp_path / "metrics.csv")
    pd.testing.assert_frame_equal(read, rows, check_dtype=False, check_exact=True)

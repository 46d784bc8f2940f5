"""Operating points: what was promised on some images, and what becomes of it on others."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from medrobust.operating import SENSITIVE, SPECIFIC, choose_points, operating_rows, point_rows
from medrobust.predictions import LOGIT

SIDECAR = {
    **{"store": "s", "split": "test", "checkpoint": "best", "branch": "adv", "task": "multilabel"},
    "attack": {
        "name": "fast",
        "goal": "total",
        "norm": "linf",
        "eps": 0.01,
        "attacked_branch": "adv",
    },
}


def images(count: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions of x and y, and the table with their labels; of z nothing is known."""
    rng = np.random.default_rng(seed)
    ids = [f"{seed}-{number}" for number in range(count)]
    names = pd.DataFrame({"image_id": ids, "patient_id": ids})
    labels = rng.integers(0, 2, (count, 2)).astype(float)
    labels[0] = [1, 0]
    labels[1] = [0, np.nan]
    logits = rng.normal(size=(count, 3)) + np.hstack([np.nan_to_num(labels), np.zeros((count, 1))])
    frame, table = names.assign(branch="adv"), names.copy()
    for column, finding in enumerate("xyz"):
        frame[finding] = expit(logits[:, column])
        frame[LOGIT + finding] = logits[:, column]
        table[f"label:{finding}"] = labels[:, column] if column < 2 else np.nan
    return frame, table


def rates(frame: pd.DataFrame, table: pd.DataFrame, finding: str, cut: float) -> list[float]:
    """Sensitivity and specificity, counted one by one."""
    truth, positive = table[f"label:{finding}"], frame[finding] >= cut
    return [float((positive[truth == 1]).mean()), float((~positive[truth == 0]).mean())]


def test_points_keep_their_promise_where_they_are_chosen() -> None:
    frame, table = images(60, 0)
    points = choose_points(frame, table)
    assert list(points) == [SENSITIVE, SPECIFIC] == ["sensitivity=0.95", "specificity=0.95"]
    for finding in "xy":
        sensitivity, low = rates(frame, table, finding, points[SENSITIVE][finding])
        other, specificity = rates(frame, table, finding, points[SPECIFIC][finding])
        assert sensitivity >= 0.95
        assert specificity >= 0.95
        # and no further than needed
        higher = frame.loc[frame[finding] > points[SENSITIVE][finding], finding].min()
        assert rates(frame, table, finding, higher + 1e-12)[0] < 0.95 or low == 1
        lower = frame.loc[frame[finding] < points[SPECIFIC][finding], finding].max()
        assert rates(frame, table, finding, lower)[1] < 0.95 or other == 1
    assert np.isnan(points[SENSITIVE]["z"])


def test_rows_of_the_thresholds() -> None:
    frame, table = images(60, 0)
    points = choose_points(frame, table)
    rows = point_rows(points, frame, SIDECAR, table, "stem")
    assert rows["metric"].tolist() == [f"threshold@{SENSITIVE}"] * 3 + [f"threshold@{SPECIFIC}"] * 3
    assert rows["finding"].tolist() == ["x", "y", "z"] * 2
    expected = [points[name][finding] for name in points for finding in "xyz"]
    assert rows["value"].tolist() == pytest.approx(expected, nan_ok=True)
    assert rows["n"].tolist() == [60, 59, 0] * 2
    assert (rows["predictions"] == "stem").all()
    assert (rows["interval"] == "").all()


def test_rates_of_other_images() -> None:
    points = choose_points(*images(60, 0))
    frame, table = images(40, 1)
    rows = operating_rows(points, frame, SIDECAR, table, "stem", redraws=200)
    found = rows.set_index(["finding", "metric"])
    for name in points:
        macro = []
        for finding in "xy":
            expected = rates(frame, table, finding, points[name][finding])
            for metric, value in zip(("sensitivity", "specificity"), expected, strict=True):
                row = found.loc[(finding, f"{metric}@{name}")]
                assert row["value"] == pytest.approx(value)
                assert row["low"] <= row["value"] <= row["high"]
                assert row["interval"] == "bootstrap"
            macro.append(expected)
        for column, metric in enumerate(("sensitivity", "specificity")):
            value = found.loc[("macro", f"{metric}@{name}"), "value"]
            assert value == pytest.approx(np.mean([pair[column] for pair in macro]))
    assert found.loc["z", "value"].isna().all()
    assert (rows["attack"] == "fast").all()
    assert (rows["group"] == "all").all()


def test_the_same_seed_gives_the_same_intervals() -> None:
    points = choose_points(*images(60, 0))
    frame, table = images(40, 1)
    one, other, third = (
        operating_rows(points, frame, SIDECAR, table, "stem", redraws=50, seed=seed)
        for seed in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(one, other)
    assert not one["low"].equals(third["low"])


def test_where_a_class_is_missing_there_is_no_point() -> None:
    frame, table = images(30, 0)
    table["label:x"] = 0.0
    points = choose_points(frame, table)
    assert np.isnan(points[SENSITIVE]["x"])
    assert np.isnan(points[SPECIFIC]["x"])
    rows = operating_rows(points, *(frame, SIDECAR, table), "stem", redraws=20)
    found = rows.set_index(["finding", "metric"])["value"]
    assert found["x"].isna().all()
    assert found["macro"].tolist() == pytest.approx(found["y"].tolist())


def test_no_finding_at_all() -> None:
    frame, table = images(30, 0)
    table[["label:x", "label:y"]] = np.nan
    rows = operating_rows(choose_points(frame, table), frame, SIDECAR, table, "stem", redraws=20)
    assert rows.empty

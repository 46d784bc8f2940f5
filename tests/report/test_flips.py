import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_runs import EPS

from medrobust.errors import MedrobustError
from medrobust.report.flips import (
    Flips,
    flip_sentences,
    flips_figure,
    flips_table,
    median_flip,
    read_flips,
)
from medrobust.report.material import Material
from medrobust.report.numbers import Numbers
from medrobust.report.read import read_run
from medrobust.report.terms import Arm, Condition

FAST = Condition("fast", "linf", 2 * EPS, "total")
ARM = Arm("dual", "adv", "dual")


def made_up(material: Material, values: list[float], mark: str = "") -> Flips:
    by_finding = {"Nodule": np.array(values)}
    return Flips(ARM, material.numbers.runs[2], FAST, by_finding, mark)


@pytest.mark.parametrize(
    ("values", "median"),
    [
        ([0, 0, 1], 0),
        ([0, 1, 2, 3], 1),
        ([1, 2, np.inf], 2),
        ([1, np.inf, np.inf], np.inf),
        ([], np.inf),
    ],
)
def test_half_are_wrong_at_the_median(values: list[float], median: float) -> None:
    assert median_flip(np.array(values, float)) == median


def test_sentences(material: Material) -> None:
    flips = [[0.0, 0.0, EPS], [0.0, EPS, EPS], [EPS, np.inf, np.inf]]
    told = [flip_sentences([made_up(material, values)])[0] for values in flips]
    assert told == [
        "Half of the decisions of the adversarial branch of dual are wrong without any attack.",
        "Half of the decisions of the adversarial branch of dual are wrong from ε = 4/255 on, "
        "under the fast attack.",
        "More than half of the decisions of the adversarial branch of dual (67\N{NO-BREAK SPACE}%) "
        "are still right under the fast attack at ε = 8/255, the largest that was tried.",
    ]
    marked = flip_sentences([made_up(material, [EPS], "flagged")])[0]
    assert "of the adversarial branch of dual (flagged) are wrong" in marked


def test_unknown_labels_are_left_out(material: Material) -> None:
    found = read_flips(material)
    assert [one.run.label for one in found][:2] == ["standard, seed 0", "adversarial, seed 0"]
    assert [bool(one.mark) for one in found] == [True, *[False] * 5]
    table = material.table
    assert table is not None
    known = table.loc[table["split"] == "test", "label:Nodule"].notna().sum()
    assert found[0].by_finding["Nodule"].size == known < (table["split"] == "test").sum()


def test_the_share_falls_with_the_radius(material: Material) -> None:
    found = read_flips(material)
    figure = flips_figure(material, found)
    assert figure is not None
    right = float((found[0].pooled > 0).mean())
    assert f"ε from 0 to 8/255: standard {100 * right:.0f}\N{NO-BREAK SPACE}% to " in figure.alt
    table = flips_table(material, found)
    assert table.columns == ["Finding and model", "Right, clean", "Right, ε = 4/255", "Median ε"]
    values = found[0].by_finding["Effusion"]
    cells = table.groups[0].rows[0].cells
    assert cells[0].main == f"{100 * (values > 0).mean():.0f}\N{NO-BREAK SPACE}%"
    assert cells[1].main == f"{100 * (values > EPS * 1.001).mean():.0f}\N{NO-BREAK SPACE}%"


def test_without_files_or_labels(plain: Material, material: Material) -> None:
    assert read_flips(plain) == []
    assert flips_figure(plain, []) is None
    assert read_flips(replace(material, table=None)) == []


def test_a_damaged_file(material: Material, tmp_path: Path) -> None:
    run = Path(shutil.copytree(material.numbers.runs[0].path, tmp_path / "standard" / "0"))
    (file,) = (run / "flips").iterdir()
    pd.DataFrame({"image": ["a"]}).to_csv(file, index=False)
    numbers = Numbers([read_run(run)], material.numbers.evaluation)
    text = "expected a table of flips with image_id, found another; run `evaluate` again$"
    with pytest.raises(MedrobustError, match=text):
        read_flips(replace(material, numbers=numbers))

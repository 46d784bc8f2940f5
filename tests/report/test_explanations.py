from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pages import outline, text_of

from medrobust.errors import MedrobustError
from medrobust.explain.summary import BASELINES, summarise
from medrobust.report.explanations import Explanations, explanation_section
from medrobust.report.figures import styles
from medrobust.report.judged import NAMES
from medrobust.report.numbers import Numbers
from medrobust.report.page import _environment
from medrobust.report.read import SCORE_COLUMNS
from medrobust.report.score_tables import BETTER
from medrobust.report.scored import ALL, REDRAWS, Scored
from medrobust.report.tables import Table

NAN = float("nan")


def rows(
    values: Mapping[str, Sequence[float]],
    score: str = "hit_rate",
    finding: str = "Nodule",
    branch: str = "single",
) -> pd.DataFrame:
    """Scores of the first images by method; baselines have no branch."""
    where = {name: "" if name.partition(":")[0] in BASELINES else branch for name in values}
    found = [
        ("blobs", "test", where[method], method, finding, f"i{number}", score, value)
        for method, scores in values.items()
        for number, value in enumerate(scores)
    ]
    return pd.DataFrame(found, columns=SCORE_COLUMNS)


def scored(
    numbers: Numbers, *tables: pd.DataFrame, patients: Mapping[str, str] | None = None
) -> Scored:
    """The standard run alone, with these scores."""
    run = replace(numbers.runs[0], scores=pd.concat(tables))
    return Scored(Numbers([run], numbers.evaluation), patients or {})


def section(given: Scored) -> Explanations:
    found = explanation_section(given, styles(given.numbers.arms))
    assert found is not None
    return found


def cells(table: Table, group: int = 0) -> list[str]:
    return [cell.main for cell in table.groups[group].rows[0].cells]


def test_every_baseline_has_a_name() -> None:
    assert list(NAMES) == list(BASELINES)


def test_means_and_intervals_are_those_of_the_summary(numbers: Numbers) -> None:
    generator = np.random.default_rng(0)
    table = rows({name: generator.random(30).tolist() for name in ("gradient", "centre", "area")})
    patients = {f"i{number}": f"p{number // 3}" for number in range(30)}
    found = section(scored(numbers, table, patients=patients))
    (shown,), (every, by_finding) = found.tables, found.baseline_tables
    assert shown.columns == ["Method, model and branch", "Images", "Map", "Best baseline", BETTER]
    assert shown.caption == (
        "Hit rate: how often the map's strongest pixel lies inside the finding. 95 % bootstrap "
        "intervals; all findings together."
    )
    expected = summarise(table, patients, REDRAWS).set_index("method")
    count, own, best, verdict = shown.groups[0].rows[0].cells
    assert (count.main, count.note) == ("30", "")
    assert every.columns == ["Method, model and branch", "Map", "Area alone", "Centre prior"]
    assert every.caption == (
        "Every baseline of the hit rate. 95 % bootstrap intervals; all findings together."
    )
    estimates = every.groups[0].rows[0].cells
    assert estimates[0] == own
    for name, cell in zip(("gradient", "area", "centre"), estimates, strict=True):
        assert cell.main == f"{expected['value'][name]:.2f}"
        assert cell.note == f"{expected['low'][name]:.2f}–{expected['high'][name]:.2f}"
    strongest = expected["value"][["area", "centre"]].idxmax()
    assert best.main == f"{NAMES[strongest]} {expected['value'][strongest]:.2f}"
    assert best.note == estimates[1 if strongest == "area" else 2].note
    assert [group.head for group in by_finding.groups] == ["gradient, Nodule"]
    assert by_finding.groups[0].rows[0].cells == estimates
    assert shown.words == (2, 3)
    assert (verdict.main, verdict.note) == ("no", "beats none")
    assert not any(cell.strong for cell in (own, best, verdict))


def test_a_map_beats_every_baseline(numbers: Numbers) -> None:
    table = rows({"gradient": [1.0] * 20, "area": [0.1] * 20, "untrained:gradient": [0.0] * 20})
    found = section(scored(numbers, table))
    _, own, best, verdict = found.tables[0].groups[0].rows[0].cells
    assert (verdict.main, verdict.note) == ("yes", "p (Holm) < 0.001")
    assert [own.strong, best.strong, verdict.strong] == [True, False, True]
    assert best.main == "area alone 0.10"
    assert found.sentences == ["The gradient maps of standard: hit rate 1.00 beats every baseline."]


def test_what_is_not_beaten_is_named(numbers: Numbers) -> None:
    half = [1.0, 0.0] * 10
    table = rows({"gradient": half, "area": [0.1] * 20, "centre": half[::-1], "random": [0.0] * 20})
    worse = rows(
        {"gradient": [0.2] * 20, "edge": [0.6] * 20, "centre": [0.2] * 20}, "mass_accuracy"
    )
    found = section(scored(numbers, table, worse))
    assert found.sentences == [
        "The gradient maps of standard: hit rate 0.50 cannot be told from centre prior (0.50); "
        "mass accuracy 0.200 cannot be told from centre prior (0.200) and is worse than edge "
        "detector (0.600)."
    ]
    _, own, best, verdict = found.tables[0].groups[0].rows[0].cells
    assert (verdict.main, verdict.note) == ("no", "beats all but centre prior")
    assert (best.main, best.strong, own.strong) == ("centre prior 0.50", False, False)
    _, own, best, verdict = found.tables[1].groups[0].rows[0].cells
    assert (verdict.main, verdict.note) == ("no", "beats none")
    assert (best.main, best.strong, own.strong) == ("edge detector 0.600", True, False)


def test_a_rare_hit_is_not_called_worse_than_the_area(numbers: Numbers) -> None:
    never = rows({"gradient": [0.0] * 30, "area": [0.01] * 30})
    share = rows({"gradient": [0.0] * 30, "area": [0.01] * 30}, "mass_accuracy")
    assert section(scored(numbers, never, share)).sentences == [
        "The gradient maps of standard: hit rate 0.00 cannot be told from area alone (0.01); mass "
        "accuracy 0.000 is worse than area alone (0.010)."
    ]


def test_a_win_over_several_baselines_needs_more(numbers: Numbers) -> None:
    """Of 6 patients p is 2/64 at the least: enough for one baseline, too much for two."""
    one = {"gradient": [0.5] * 6, "centre": [0.1] * 6}
    for given, expected in ((one, "yes"), (one | {"edge": [0.1] * 6}, "no")):
        table = section(scored(numbers, rows(given))).tables[0]
        assert cells(table)[-1] == expected


def test_findings_are_pooled_as_cases_and_patients_stay_together(numbers: Numbers) -> None:
    first = rows({"gradient": [1.0, 1.0, 0.0], "centre": [0.0, 0.0, 0.0]})
    second = rows({"gradient": [0.0, NAN, 0.0], "centre": [1.0, 0.0, 0.0]}, finding="Mass")
    found = section(scored(numbers, first, second, patients=dict.fromkeys(["i0", "i1"], "p")))
    count, map_, *_ = found.tables[0].groups[0].rows[0].cells
    assert (count.main, count.note) == ("5", "1 not scorable")
    assert map_.main == "0.40"
    (by_finding,), (_, baselines) = found.finding_tables, found.baseline_tables
    assert [group.head for group in by_finding.groups] == ["gradient, Nodule", "gradient, Mass"]
    assert cells(by_finding, 0)[:3] == ["3", "0.67", "centre prior 0.00"]
    assert cells(by_finding, 1)[:3] == ["2", "0.00", "centre prior 0.50"]
    assert [cells(baselines, group) for group in (0, 1)] == [["0.67", "0.00"], ["0.00", "0.50"]]
    assert by_finding.groups[1].rows[0].cells[0].note == "1 not scorable"
    assert by_finding.caption.endswith("95 % bootstrap intervals.")


def test_each_method_has_the_untrained_network_of_its_own(numbers: Numbers) -> None:
    given = {
        **{"gradient": [1.0, 0.0], "untrained:gradient": [0.0, 0.0]},
        **{"grad-cam": [1.0, 1.0], "untrained:grad-cam": [1.0, 0.0]},
    }
    found = section(scored(numbers, rows(given)))
    every = found.baseline_tables[0]
    assert every.columns[2] == "Untrained network"
    means = {group.head: [c.main for c in group.rows[0].cells] for group in every.groups}
    assert means == {"gradient": ["0.50", "0.00"], "grad-cam": ["1.00", "0.50"]}
    best = [group.rows[0].cells[2].main for group in found.tables[0].groups]
    assert best == ["untrained network 0.00", "untrained network 0.50"]


def test_without_baselines_there_is_no_verdict(numbers: Numbers) -> None:
    found = section(scored(numbers, rows({"gradient": [1.0, 0.0]})))
    assert found.sentences == []
    assert cells(found.tables[0]) == ["2", "0.50", "–", "–"]
    assert found.baseline_tables == []


def test_a_baseline_is_shown_on_the_images_of_the_map(numbers: Numbers) -> None:
    """The other method has been scored for one finding alone, the harder one for the baseline."""
    hard = rows({"gradient": [1.0] * 9, "occlusion": [0.5] * 9, "centre": [0.4] * 9})
    easy = rows({"gradient": [1.0] * 9, "centre": [0.8] * 9}, finding="Mass")
    found = section(scored(numbers, hard, easy))
    shown = {group.head: [c.main for c in group.rows[0].cells] for group in found.tables[0].groups}
    assert shown == {
        "gradient": ["18", "1.00", "centre prior 0.60", "yes"],
        "occlusion": ["9", "0.50", "centre prior 0.40", "yes"],
    }


def test_maps_that_are_not_scorable_beat_nothing(numbers: Numbers) -> None:
    found = section(scored(numbers, rows({"gradient": [NAN, NAN], "area": [0.1, 0.2]})))
    count, own, best, verdict = found.tables[0].groups[0].rows[0].cells
    assert (count.main, count.note) == ("0", "2 not scorable")
    assert (own.main, best.main, verdict.main) == ("not scorable", "–", "–")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["hit_rate"], ""),
        (["mass_accuracy"], ""),
        (["hit_rate:3px"], " or within 3 pixels of it"),
        (["hit_rate", "hit_rate:10mm"], " or, where a table says so, within 10 mm of it"),
        (
            ["hit_rate:3px", "hit_rate:10mm@opacity"],
            " or, where a table says so, within 3 pixels and 10 mm of it",
        ),
    ],
)
def test_a_hit_is_told_with_its_tolerance(numbers: Numbers, names: list[str], told: str) -> None:
    found = section(scored(numbers, *(rows({"gradient": [0.0, 1.0]}, name) for name in names)))
    assert found.hit == f"inside the true outline{told}"


@pytest.mark.parametrize("split", ["test", "val"])
def test_no_scores_no_section(numbers: Numbers, split: str) -> None:
    table = rows({"centre": [1.0]} if split == "test" else {"gradient": [1.0]})
    given = scored(numbers, table.assign(split=split))
    assert explanation_section(given, styles(given.numbers.arms)) is None


def test_each_tolerance_and_truth_has_a_table_of_its_own(numbers: Numbers) -> None:
    names = ("inside:left lung", "hit_rate@opacity", "hit_rate:10mm", "hit_rate")
    found = section(scored(numbers, *(rows({"gradient": [0.0, 1.0]}, name) for name in names)))
    assert [table.caption.partition(". ")[0] for table in found.tables] == [
        "Hit rate: how often the map's strongest pixel lies inside opacity",
        "Hit rate: how often the map's strongest pixel lies within 10 mm of the finding",
        "Hit rate: how often the map's strongest pixel lies inside the finding",
        "Share of the map's strength inside left lung",
    ]


def test_a_score_that_is_there_twice_is_refused(numbers: Numbers) -> None:
    table = rows({"gradient": [1.0]})
    with pytest.raises(MedrobustError, match="expected one row for each image, found several of "):
        section(scored(numbers, table, table))


def test_the_page_is_sound(numbers: Numbers) -> None:
    given = Scored(numbers, {})
    macro = _environment().get_template("explanations.html.j2").module.explanations
    page = str(macro(section(given)))
    parsed = outline(page)
    assert parsed.problems == []
    assert parsed.open == []
    words = text_of(page)
    assert "Whose maps point better?" in words
    assert ALL in words
    assert "<b>" not in page

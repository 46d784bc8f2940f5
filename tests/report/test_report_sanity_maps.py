from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from fake_runs import AWKWARD

from medrobust.errors import MedrobustError
from medrobust.explain.sanity.table import COLUMNS, WHOLE, Outcome, merge_sanity
from medrobust.report.material import Material
from medrobust.report.numbers import Numbers
from medrobust.report.page import _environment
from medrobust.report.sanity_checked import EDGE, Checked, read_checked
from medrobust.report.sanity_maps import (
    cascade_figures,
    finding_sanity_table,
    method_styles,
    sanity_of_maps,
    sanity_table,
)
from medrobust.report.sanity_sentences import sanity_sentences
from medrobust.report.terms import Arm

Found = Mapping[tuple[str, str], list[Outcome]]
"""(method, finding) -> outcomes."""
RULE = "passes where the interval lies above 0.5; l∞ radius eps = 0.01568627"
ERASED = [
    Outcome("randomisation", "fc", 0.6, 0.5, 0.7, 9),
    Outcome("randomisation", "conv1", 0.2, 0.1, 0.3, 9),
    Outcome("randomisation", f"{WHOLE}, SSIM", 0.05, 0.0, 0.1, 9),
    Outcome("randomisation", WHOLE, 0.2, 0.1, 0.3, 9, "pass"),
]
STAYS = [
    Outcome("randomisation", "fc", 1.0, 1.0, 1.0, 9),
    Outcome("randomisation", "conv1", 1.0, 1.0, 1.0, 9),
    Outcome("randomisation", WHOLE, 1.0, 1.0, 1.0, 9, "fail"),
]
UNKNOWN = [Outcome("labels", "", verdict="not checked", detail="no run was given")]
BENT = [Outcome("attack", "worst change found", 0.30, 0.25, 0.37, 9, "fail", RULE)]
HOLDS = [Outcome("attack", "worst change found", 0.72, 0.65, 0.79, 9, "pass", RULE)]
FOUND: Found = {
    ("edge", "Nodule"): STAYS + UNKNOWN,
    ("gradient", "Nodule"): ERASED + UNKNOWN + BENT,
    ("gradient", AWKWARD): ERASED + UNKNOWN + HOLDS,
    ("occlusion", "Nodule"): ERASED + UNKNOWN + HOLDS,
}


def table(found: Found, store: str = "blobs", branch: str = "adv") -> pd.DataFrame:
    rows = [
        (store, "test", branch, method, finding, *outcome)
        for (method, finding), outcomes in found.items()
        for outcome in outcomes
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


@pytest.fixture
def checked(plain: Material, tmp_path: Path) -> Callable[[pd.DataFrame], Material]:
    """The runs, the first seed of dual with these checks."""

    def write(rows: pd.DataFrame) -> Material:
        merge_sanity(tmp_path / "explain" / "sanity.csv", rows)
        runs = [
            replace(run, path=tmp_path if run.label == "dual, seed 0" else tmp_path / "none")
            for run in plain.numbers.runs
        ]
        return replace(plain, numbers=Numbers(runs, plain.numbers.evaluation))

    return write


def only(found: Found, plain: Material) -> list[Checked]:
    (run,) = [run for run in plain.numbers.runs if run.label == "dual, seed 0"]
    return [Checked(Arm("dual", "adv", "dual"), run, table(found))]


def test_a_model_s_rows_are_those_of_its_branch_on_these_images(
    checked: Callable[[pd.DataFrame], Material],
) -> None:
    rows = [table(FOUND), table(FOUND, branch="clean"), table(FOUND, store="elsewhere")]
    found = read_checked(checked(pd.concat(rows)))
    assert [(one.arm.branch, one.run.seed) for one in found] == [("clean", 0), ("adv", 0)]
    assert len(found[1].rows) == len(table(FOUND))
    assert found[1].methods == ["gradient", "occlusion", EDGE]


def test_the_table_of_methods_and_checks(plain: Material) -> None:
    shown = sanity_table(only(FOUND, plain))
    assert shown.columns[:3] == ["Model and method", "Weights erased", "Shuffled labels"]
    (group,) = shown.groups
    assert (group.head, group.note) == ("dual · adversarial branch", "seed 0")
    assert [row.head for row in group.rows] == ["gradient", "occlusion", "edge detector"]
    cells = [
        [(cell.main, cell.note, cell.mark) for cell in row.cells if cell.main != "–"]
        for row in group.rows
    ]
    assert cells == [
        [("✓ 0.20", "2 of 2 pass", ""), ("0.51", "", "1 of 2 fail")],
        [("✓ 0.20", "0.10–0.30", ""), ("✓ 0.72", "0.65–0.79", "")],
        [("1.00", "1.00–1.00", "fails")],
    ]
    labels, seed = group.rows[0].cells[1:3]
    assert (labels.main, labels.note) == ("–", "not checked")
    assert (seed.main, seed.note) == ("–", "")


def test_the_table_of_findings_says_why_not(plain: Material) -> None:
    shown = finding_sanity_table(only(FOUND, plain))
    assert [group.head for group in shown.groups] == [
        f"dual · adversarial branch, seed 0, {name}"
        for name in ("gradient", "occlusion", "edge detector")
    ]
    rows = {row.head: [cell.main for cell in row.cells] for row in shown.groups[0].rows}
    assert rows["Nodule: attack"] == ["worst change found", "9", "0.30", "fail", RULE]
    assert rows["Nodule: shuffled labels"] == ["–", "0", "–", "not checked", "no run was given"]
    assert f"{AWKWARD}: weights erased" in rows


def test_sentences(plain: Material) -> None:
    assert sanity_sentences(only(FOUND, plain)) == [
        "The gradient maps of the adversarial branch of dual can be made to mark something else by "
        "changing no pixel by more than ε = 4/255, while the prediction stays (1 of 2 "
        "comparisons; mean 0.30).",
        "The occlusion maps of the adversarial branch of dual pass every check that could be made "
        "(2).",
        "An edge detector, which knows no network, was checked as if it were a method: it fails "
        "where weights are erased, as it must.",
    ]
    blind = sanity_sentences(only({("edge", "Nodule"): ERASED, ("x", "Nodule"): STAYS}, plain))
    assert blind == [
        "The x maps of the adversarial branch of dual look much the same when everything the "
        "network has learnt is erased: they show the image, not what the network saw in it (1.00).",
        "An edge detector, which knows no network, passes where weights are erased: do not trust "
        "the other verdicts.",
    ]
    assert sanity_sentences(only({("x", "Nodule"): UNKNOWN}, plain)) == []


def test_every_failure_has_a_sentence(plain: Material) -> None:
    checks = [
        *("randomisation", "labels", "repeatability", "reproducibility"),
        *("noise", "attack", "deletion", "insertion"),
    ]
    failed = [Outcome(check, "x", 0.1, 0.0, 0.2, 9, "fail") for check in checks]
    told = sanity_sentences(only({("x", "Nodule"): failed}, plain))
    assert len(set(told)) == len(checks)
    assert all(one.startswith("The x maps of ") and one.endswith(" (0.10).") for one in told)
    assert "{" not in "".join(told)


def test_the_cascade_starts_at_one(plain: Material) -> None:
    (figure,) = cascade_figures(only(FOUND, plain))
    assert figure.alt == (
        "Similarity of maps of dual · adversarial branch to those of the trained network, from 1 "
        "with no layer erased to, with all erased: gradient 0.20; occlusion 0.20; edge detector "
        "1.00."
    )
    assert figure.uri.startswith("data:image/svg+xml")
    assert cascade_figures(only({("x", "Nodule"): UNKNOWN}, plain)) == []


def test_methods_are_drawn_apart(plain: Material) -> None:
    looks = method_styles(only(FOUND, plain))
    assert list(looks) == ["gradient", "occlusion", "edge detector"]
    assert len({(look.colour, look.dash, look.marker) for look in looks.values()}) == 3


def test_the_section_escapes_names(checked: Callable[[pd.DataFrame], Material]) -> None:
    source = '{% from "sanity_maps.html.j2" import sanity_maps %}{{ sanity_maps(content) }}'
    template = _environment().from_string(source)
    page = template.render(content=sanity_of_maps(checked(table(FOUND))))
    assert AWKWARD not in page
    assert "Mass &lt;b&gt;&amp;co: weights erased" in page
    assert "<h3>Can the maps be believed?</h3>" in page
    assert page.count("<table>") == 2
    assert page.count("<img ") == 1
    assert template.render(content=None).strip() == ""


def test_nothing_was_checked(plain: Material) -> None:
    assert sanity_of_maps(plain) is None


def test_a_damaged_file(checked: Callable[[pd.DataFrame], Material]) -> None:
    rows = table(FOUND)
    rows["verdict"] = "perhaps"
    with pytest.raises(MedrobustError, match="expected verdicts pass, fail, not checked or none"):
        sanity_of_maps(checked(rows))

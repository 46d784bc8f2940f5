"""The shortcut audit's section, from a table as the stage writes it."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from fake_runs import Workplace
from pages import outline, text_of

from medrobust.errors import MedrobustError
from medrobust.explain.audit import COLUMNS, EDITS
from medrobust.report.audit import EDITS as NAMES
from medrobust.report.audit import audit_section
from medrobust.report.figures import styles
from medrobust.report.material import Material
from medrobust.report.numbers import Numbers, evaluations
from medrobust.report.page import _environment
from medrobust.report.predicted import Predicted
from medrobust.report.read import read_runs

MARKER = "letter <b>R"


def audited(
    branch: str, swapped: float, half: float = 0.05, finding: str = "Nodule", removed: float = 0.85
) -> pd.DataFrame:
    """AUROC 0.9 as it is; the interval of the difference reaches `half` to either side."""
    where = ("blobs", "test", branch, finding, MARKER)
    aurocs = {"as it is": 0.9, "removed": removed, "moved": 0.88, "swapped": swapped}
    measures = {
        "area": (0.01, 0.0, 40),
        "share:gradient": (0.25, 0.02, 39),
        "share:grad-cam": (0.5, 0, 40),
    }
    for edit, value in aurocs.items():
        measures[f"auroc {edit}"] = (value, half, 80)
        measures[f"difference {edit}"] = (value - 0.9, half, 80)
    del measures["difference as it is"]
    rows = [(*where, m, v, v - width, v + width, n) for m, (v, width, n) in measures.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.fixture
def run(workplace: Workplace, tmp_path: Path) -> Path:
    """The dual run alone."""
    path = tmp_path / "dual" / "0"
    return Path(shutil.copytree(workplace.runs / "dual" / "0", path))


def material(run: Path, *tables: pd.DataFrame) -> Material:
    """With an audit of these rows."""
    if tables:
        pd.concat(tables).to_csv(run / "explain" / "audit.csv", index=False)
    found = read_runs([run])
    numbers = Numbers(found, evaluations(found)[0])
    return Material(numbers, Predicted(numbers), styles(numbers.arms), None)


def test_every_edit_of_the_stage_has_a_column() -> None:
    assert tuple(NAMES) == EDITS


def test_without_an_audit_here_there_is_no_section(run: Path) -> None:
    assert audit_section(material(run)) is None
    assert audit_section(material(run, audited("adv", 0.5).assign(split="val"))) is None
    assert audit_section(material(run, audited("single", 0.5))) is None


def test_the_table_has_every_measure_in_its_place(run: Path) -> None:
    section = audit_section(material(run, audited("clean", 0.6), audited("adv", 0.89)))
    assert section is not None
    assert section.table.columns == [
        *("Finding and model", "Share of the picture", "Share of the map"),
        *("AUROC as it is", "AUROC removed", "AUROC moved", "AUROC exchanged"),
        "Exchanged − as it is",
    ]
    assert section.table.caption == (
        "How much of the gradient map lies on the marker, and AUROC without it. 95 % intervals."
    )
    (group,) = section.table.groups
    assert group.head == f"Nodule; marker: {MARKER}"
    first, second = group.rows
    assert (first.head, first.note) == ("dual · clean branch", "seed 0")
    assert second.head == "dual · adversarial branch"
    assert [(cell.main, cell.note) for cell in first.cells] == [
        ("0.010", "0.010–0.010"),
        ("0.250", "0.230–0.270"),
        ("0.900", "0.850–0.950"),
        ("0.850", "0.800–0.900"),
        ("0.880", "0.830–0.930"),
        ("0.600", "0.550–0.650"),
        ("−0.300", "−0.350 to −0.250"),
    ]


@pytest.mark.parametrize(
    ("swapped", "told"),
    [
        (0.6, f"depends on {MARKER} for Nodule: exchanged, AUROC 0.900 becomes 0.600."),
        (0.99, f"does better for Nodule when {MARKER} is exchanged (AUROC 0.900 becomes 0.990)."),
        (
            0.88,
            f"cannot be shown to depend on {MARKER} for Nodule (AUROC 0.900 becomes 0.880).",
        ),
    ],
)
def test_sentences(run: Path, swapped: float, told: str) -> None:
    section = audit_section(material(run, audited("adv", swapped, removed=0.9)))
    assert section is not None
    assert section.sentences == [f"The adversarial branch of dual {told}"]


def test_a_marker_whose_removal_tells_is_used(run: Path) -> None:
    table = audited("adv", 0.88)
    own = table["measure"] == "difference removed"
    table.loc[own, ["value", "low", "high"]] = [0.05, 0.01, 0.09]
    table.loc[table["measure"] == "auroc removed", "value"] = 0.95
    section = audit_section(material(run, table))
    assert section is not None
    assert section.sentences == [
        f"The adversarial branch of dual depends on {MARKER} for Nodule: removed, AUROC 0.900 "
        "becomes 0.950."
    ]


def test_what_cannot_be_scored_is_not_spoken_of(run: Path) -> None:
    table = audited("adv", 0.6)
    auroc = table["measure"].str.startswith(("auroc", "difference"))
    table.loc[auroc, ["value", "low", "high"]] = float("nan")
    table = table[~table["measure"].str.startswith("share")]
    section = audit_section(material(run, table))
    assert section is not None
    assert section.sentences == []
    assert [cell.main for cell in section.table.groups[0].rows[0].cells] == [
        *("0.010", "–"),
        *["not scorable"] * 4,
        "–",
    ]
    assert section.table.caption.startswith("How much of the map lies on the marker")


def test_findings_and_markers_have_groups_of_their_own(run: Path) -> None:
    tube = audited("adv", 0.6).assign(marker="tube")
    section = audit_section(
        material(run, audited("adv", 0.6), tube, audited("adv", 0.6, finding="Mass"))
    )
    assert section is not None
    assert [group.head for group in section.table.groups] == [
        f"Nodule; marker: {MARKER}",
        "Nodule; marker: tube",
        f"Mass; marker: {MARKER}",
    ]


def test_the_page_is_sound_and_escapes_names(run: Path) -> None:
    section = audit_section(material(run, audited("adv", 0.6)))
    page = str(_environment().get_template("audit.html.j2").module.audit(section))
    parsed = outline(page)
    assert parsed.problems == []
    assert parsed.open == []
    assert "<b>" not in page
    words = text_of(page)
    assert "Is it a shortcut?" in words
    assert "depends on letter &lt;b&gt;R for Nodule" in words


def test_a_damaged_table(run: Path) -> None:
    file = run / "explain" / "audit.csv"
    file.write_text("store,split\nblobs,test\n")
    with pytest.raises(MedrobustError) as caught:
        audit_section(material(run))
    assert str(caught.value) == (
        f"{file}: expected a table with columns store, split, branch, finding, marker, measure, "
        "value, low, high, n, found another; run `explain` again"
    )

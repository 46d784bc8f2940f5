"""The page of a full evaluation."""

from pathlib import Path

import pytest
from fake_runs import Workplace
from pages import outline, text_of

from medrobust.errors import MedrobustError
from medrobust.report import build_report
from medrobust.report.flags import MARK


@pytest.fixture(scope="module")
def page(full: Workplace, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("report") / "report.html"
    runs = [full.runs / name / "0" for name in ("standard", "adversarial", "dual")]
    assert build_report(runs, out, margin=0.03) == []
    return out.read_text(encoding="utf-8")


def test_it_is_sound(page: str) -> None:
    found = outline(page)
    assert found.problems == []
    assert found.open == []
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert page.count("<caption>") == page.count("<table>") > 20
    assert all(a.get("alt") for a in found.all("img"))
    assert not found.all("script")


def test_flagged_models_come_first(page: str) -> None:
    words = text_of(page)
    flag = words.index(f"{MARK}: the robust numbers of standard are not to be relied on")
    assert flag < words.index("On 80 test images")
    assert f"; {MARK})" in words


@pytest.mark.parametrize(
    "words",
    [
        "Whoever deploys the adversarial branch of dual gets 0.",
        "dual, seed 0: macro AUROC of every deployed network",
        "Not checked: whether the attacks on adversarial are as strong",
        "What each check measured",
        "Half of the decisions of standard",
        "Averaged over 2 corruptions of severity 3 of 5",
        "Macro AUROC on attacked images before and after they are saved",
        "margin 0.030).",
        "p (Holm) is corrected for the number of comparisons (12).",
        "95 % sensitivity wanted: specificity",
        "Decision curves: net benefit",
        "gaps between a group and all other images",
        "Groups under the strong attack, ε = 4/255",
        "AUROC on test images along training",
        "open marks are the strong attack",
        "What the attacks of each evaluation took.",
        "Under the strong attack, ε = 4/255 (20 steps), with each attack made",
        "What the attack (the strong attack, ε = 4/255) changed",
    ],
)
def test_every_question_has_its_answer(page: str, words: str) -> None:
    assert words in text_of(page)


def test_no_table_has_twenty_columns(page: str) -> None:
    heads = page.split("<thead>")[1:]
    columns = [head.partition("</thead>")[0].count('scope="col"') for head in heads]
    assert max(columns) <= 11


@pytest.mark.parametrize("margin", [0, 1, -0.1])
def test_the_margin_is_a_loss_of_auroc(full: Workplace, tmp_path: Path, margin: float) -> None:
    text = f"^margin: expected a number between 0 and 1, found {margin:g}$"
    with pytest.raises(MedrobustError, match=text):
        build_report(full.paths, tmp_path / "out.html", margin=margin)

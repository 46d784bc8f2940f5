from dataclasses import replace

import pandas as pd
import pytest

from medrobust.report.checks import (
    QUESTIONS,
    check_details,
    checks_table,
    flag_sentences,
    unchecked_sentence,
)
from medrobust.report.material import Material
from medrobust.report.numbers import Numbers


def test_flagged_models_are_named(material: Material, plain: Material) -> None:
    assert flag_sentences(material.numbers) == [
        "\N{BLACK FLAG} flagged: the robust numbers of standard are not to be relied on; the "
        "attack on it failed the check black-box."
    ]
    assert flag_sentences(plain.numbers) == []


def test_what_nobody_checked_is_said(material: Material, plain: Material) -> None:
    assert unchecked_sentence(material.numbers) == (
        "Not checked: whether the attacks on adversarial are as strong as they could be. Their "
        "robust numbers are upper bounds of unknown quality."
    )
    assert "standard, adversarial, the clean branch of dual, seed\N{NO-BREAK SPACE}0, " in (
        unchecked_sentence(plain.numbers)
    )


def test_a_verdict_per_check_and_model(material: Material, plain: Material) -> None:
    table = checks_table(material)
    assert table is not None
    rows = {row.head: [cell.main for cell in row.cells] for row in table.groups[0].rows}
    assert list(rows) == ["steps", "half", "black-box", "transfer"]
    passed = "\N{CHECK MARK} pass"
    assert rows["black-box"] == ["\N{BLACK FLAG} flagged", "not checked", *[passed] * 4]
    assert set(rows["transfer"]) == {"not checked"}
    assert table.groups[0].rows[2].note == QUESTIONS["black-box"]
    assert checks_table(plain) is None


def test_details_begin_with_what_failed(material: Material) -> None:
    standard, adversarial, *_ = check_details(material).groups
    verdict, eps, measured, limit, note = standard.rows[0].cells
    assert verdict.main == "\N{BLACK FLAG} flagged"
    assert (eps.main, eps.note) == ("4/255", "64 images")
    assert (measured.main, limit.main) == ("0.094", "0.020")
    assert note.main.endswith("the gradient may be hidden.")
    assert (adversarial.note, list(adversarial.rows)) == ("not checked", [])
    assert standard.rows[-1].cells[2].main == "–"


def test_a_checked_router_stands_beside_the_branches(material: Material) -> None:
    run = material.numbers.runs[2]
    routed = run.trust[run.trust["branch"] == "adv"].assign(branch="router", verdict="flag")
    trust = pd.concat([run.trust, routed], ignore_index=True)
    numbers = Numbers([replace(run, trust=trust)], material.numbers.evaluation)
    table = checks_table(replace(material, numbers=numbers))
    assert table is not None
    assert table.columns[1:] == [
        *("dual · clean branch", "dual · adversarial branch", "dual · router")
    ]
    assert "the router of dual" in flag_sentences(numbers)[0]
    assert "failed the checks steps, half, black-box and transfer." in flag_sentences(numbers)[0]


def test_every_check_has_a_question() -> None:
    trust = pytest.importorskip("medrobust.trust")
    assert tuple(QUESTIONS) == trust.CHECKS

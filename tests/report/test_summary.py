from fake_runs import Workplace

from medrobust.report.comparisons import differences
from medrobust.report.figures import styles
from medrobust.report.numbers import Numbers
from medrobust.report.predicted import Predicted
from medrobust.report.summary import chance_table, headlines, summary
from medrobust.report.terms import CLEAN
from medrobust.report.text import interval, number, signed


def test_every_branch_is_quoted_with_its_interval(numbers: Numbers, workplace: Workplace) -> None:
    clean, attacked = summary(numbers, Predicted(numbers), workplace.store)
    assert numbers.training is not None
    for paragraph, condition in ((clean, CLEAN), (attacked, numbers.training)):
        for arm in numbers.arms:
            found = numbers.get(numbers.runs_of(arm)[0], arm.branch, condition)
            assert found is not None
            quoted = f"{number(found.value, 2)} ({interval(found.low, found.high, 2)})"
            assert quoted in paragraph
            assert arm.phrase in paragraph


def test_chance_is_taken_away(numbers: Numbers) -> None:
    table = chance_table(numbers, styles(numbers.arms))
    assert list(table.columns)[2:] == ["Clean", "Noise control, ε = 4/255", "PGD, ε = 4/255"]
    found = numbers.get(numbers.runs[0], "single")
    assert found is not None
    route, clean, *_ = table.groups[0].rows[0].cells
    assert route.main == "its only branch"
    assert clean.main == signed(found.value - 0.5)
    assert clean.note == f"{signed(found.low - 0.5)} to {signed(found.high - 0.5)}"


def test_headlines_are_the_claims_of_the_paper(numbers: Numbers, workplace: Workplace) -> None:
    found = differences(numbers, Predicted(numbers), workplace.store.table)
    sentences = headlines(found)
    assert len(sentences) == 6
    assert all(s.startswith("On clean images") for s in sentences[:2])
    assert all("the clean branch of dual" in s for s in (sentences[0], sentences[5]))
    assert headlines([]) == []


def test_without_the_store_and_predictions(numbers: Numbers) -> None:
    class Lost(Predicted):
        def frame(self, *_: object) -> None:
            return None

    first = summary(numbers, Lost(numbers), None)[0]
    assert first.startswith("On the test images of blobs, standard reaches a macro AUROC of 0.")

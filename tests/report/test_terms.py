import pytest

from medrobust.report.terms import Condition


@pytest.mark.parametrize(
    ("condition", "label", "phrase", "heading"),
    [
        (Condition(), "clean images", "clean images", "Clean"),
        (
            Condition("strong", "linf", 4 / 255, "total"),
            "strong attack, ε = 4/255",
            "the strong attack, ε = 4/255",
            "Strong attack, ε = 4/255",
        ),
        (
            Condition("pgd", "linf", 4 / 255, "total"),
            "PGD, ε = 4/255",
            "PGD, ε = 4/255",
            "PGD, ε = 4/255",
        ),
        (
            Condition("fast/8bit", "linf-native", 20, "vanish"),
            "fast attack saved as 8bit (vanish), ε = 20 (linf-native)",
            "the fast attack saved as 8bit (vanish), ε = 20 (linf-native)",
            "Fast attack saved as 8bit (vanish), ε = 20 (linf-native)",
        ),
    ],
)
def test_words_for_conditions(condition: Condition, label: str, phrase: str, heading: str) -> None:
    assert (condition.label, condition.phrase, condition.heading) == (label, phrase, heading)


@pytest.mark.parametrize(
    ("attack", "robust", "corruption", "saved"),
    [
        ("", False, "", ""),
        ("noise-control", False, "", ""),
        ("corruption:blur", False, "blur", ""),
        ("square", True, "", ""),
        ("fast/stored", True, "", "stored"),
    ],
)
def test_kinds_of_conditions(attack: str, robust: bool, corruption: str, saved: str) -> None:
    condition = Condition(attack)
    assert (condition.robust, condition.corruption, condition.saved) == (robust, corruption, saved)


def test_axes_of_radii() -> None:
    assert Condition("fast", "linf").axis == "ε (images in [0, 1])"
    assert Condition("fast", "l2-native").axis == "ε (native values)"

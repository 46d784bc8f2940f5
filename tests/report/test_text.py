import pytest

from medrobust.report import text


def test_numbers_have_real_minus_signs() -> None:
    assert text.number(-0.1234) == "−0.123"
    assert text.number(-0.0004) == "0.000"
    assert text.signed(0.5, 2) == "+0.50"
    assert text.signed(-0.5, 1) == "−0.5"
    assert text.number(None) == text.number(float("nan")) == text.signed(None) == "–"


def test_intervals() -> None:
    assert text.interval(0.905, 0.9514) == "0.905–0.951"
    assert text.interval(-0.1, 0.1, 1) == "−0.1 to 0.1"
    assert text.interval(-0.001, 0.1, 1) == "0.0–0.1"
    assert text.signed_interval(-0.1, 0.1, 1) == "−0.1 to +0.1"
    assert text.interval(None, 0.1) == text.signed_interval(float("nan"), 0.1) == ""


@pytest.mark.parametrize(
    ("p", "shown"), [(0.0004, "< 0.001"), (0.0341, "0.034"), (1, "1.000"), (None, "–")]
)
def test_p_values(p: float | None, shown: str) -> None:
    assert text.p_value(p) == shown


@pytest.mark.parametrize(
    ("eps", "norm", "shown"),
    [
        (4 / 255, "linf", "4/255"),
        (0.005, "linf", "1.275/255"),
        (0.015686, "", "4/255"),
        (0.5, "l2", "0.5 (l2)"),
    ],
)
def test_radii(eps: float, norm: str, shown: str) -> None:
    assert text.epsilon(eps, norm) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(41.6, "42 s"), (200.4, "3 min 20 s"), (7500, "2 h 05 min"), (None, "–")],
)
def test_durations(seconds: float | None, shown: str) -> None:
    assert text.duration(seconds) == shown


def test_words() -> None:
    assert text.plural(1, "image") == "1 image"
    assert text.plural(2345, "image") == "2,345 images"
    assert text.enumeration(["a", "b", "c"]) == "a, b and c"
    assert text.enumeration(["a"]) == "a"
    assert text.count(22433.0) == "22,433"
    assert text.percent(0.354) == "35\N{NO-BREAK SPACE}%"
    assert text.branch_name("adv") == "adversarial branch"
    assert text.branch_name("single") == ""
    assert text.branch_name("low-dose") == "low-dose branch"


def test_no_line_breaks_within_numbers() -> None:
    assert text.unbroken("a p (Holm) = 0.5 of") == "a p\xa0(Holm)\xa0=\xa00.5 of"
    joined = text.unbroken("ε = 4/255, p < 0.001, 0.1–0.2 at 95 % of train–test")
    assert joined == (
        "ε\xa0=\xa04/255, p\xa0<\xa00.001, 0.1\u2060–\u20600.2 at 95\xa0% of train–test"
    )

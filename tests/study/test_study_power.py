"""Power by simulation against its closed form, and where its numbers are from."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from scipy import stats
from typer.testing import CliRunner

from medrobust.cli.study import app
from medrobust.errors import MedrobustError
from medrobust.study.config import StudyConfig
from medrobust.study.power import STUDIES, Power, Size, power_table, simulate_power, smallest
from medrobust.study.simulated import Biases
from medrobust.study.spread import Spread, guessed, spread_of

APART = Spread(readers=9.0, cases=9.0, maps=0.0, preferences=0.0, rest=1e-3)
"""No mean squares are pooled."""
TAIL = 0.9995


def config(**changes: Any) -> StudyConfig:
    """4 readers, 10 cases, 2 conditions."""
    names = {"conditions": [{"name": "A", "run": "a"}, {"name": "B", "run": "b"}]}
    cases = {"count": 10, "practice": 0}
    given = {"title": "t", "readers": 4, **names, "cases": cases, "repeats": {"share": 0, "gap": 2}}
    return StudyConfig.model_validate(given | changes)


def by_chance(found: Power, expected: float) -> bool:
    """Whether a share could come from the expected one: 99.9 % of studies do."""
    count = round(found.share * found.studies)
    return bool(stats.binomtest(count, found.studies, expected).pvalue > 1 - TAIL)


@pytest.mark.parametrize("varied", ["maps", "preferences"])
def test_the_power_of_the_paired_t_test(varied: str) -> None:
    """34 pairs and a difference of half its standard deviation: 0.808, as in textbooks."""
    quantile, shift = stats.t.ppf(0.975, 33), 0.5 * 34**0.5
    expected = stats.nct.sf(quantile, 33, shift) + stats.nct.cdf(-quantile, 33, shift)
    assert expected == pytest.approx(0.808, abs=5e-4)
    spread = APART._replace(**{varied: 1.0})
    size = Size(*((3, 34) if varied == "maps" else (34, 3)))
    found = simulate_power(0.5 * 2**0.5, size, spread, steps=None, studies=1000)
    assert by_chance(found, expected)


@pytest.mark.parametrize("kind", ["crossed", "once"])
def test_nothing_to_find_is_rarely_found(kind: Any) -> None:
    studies = 1000 if kind == "crossed" else 60
    found = simulate_power(0.0, Size(4, 12, 3, kind), guessed(), studies=studies)
    assert found.share < stats.binom.ppf(TAIL, studies, 0.05) / studies
    assert found.low <= found.share <= found.high


def test_more_readers_cases_and_agreement_find_more() -> None:
    def share(readers: int, cases: int, **changes: float) -> float:
        spread = guessed()._replace(**changes)
        return simulate_power(0.4, Size(readers, cases), spread, studies=400).share

    assert share(3, 15) < share(6, 15) < share(12, 15)
    assert share(6, 8) < share(6, 15) < share(6, 40)
    assert share(6, 15, preferences=0.5) < share(6, 15)
    assert share(6, 15, maps=0.8) < share(6, 15)


def test_seen_once_is_less_than_crossed() -> None:
    crossed, once = (
        simulate_power(0.6, Size(4, 12, 2, kind), guessed(), studies=60).share
        for kind in ("crossed", "once")
    )
    assert 0.1 < once < crossed


def test_more_conditions_have_more_pairs_to_be_corrected_for() -> None:
    two, four = (
        simulate_power(0.4, Size(4, 20, conditions), guessed(), studies=500).share
        for conditions in (2, 4)
    )
    assert four < two


def test_ratings_clipped_to_one_end_show_nothing() -> None:
    still = Spread(0.1, 0.1, 0.1, 0.1, 0.1)
    for kind in ("crossed", "once"):
        found = simulate_power(-40, Size(3, 4, 2, kind), still, steps=1, studies=5)
        assert (found.share, found.low, found.studies) == (0, 0, 5)


def test_half_and_twice_the_settings_and_every_study_is_counted() -> None:
    heard: list[int] = []
    titles: list[tuple[int, str]] = []

    def track(total: int, title: str) -> Any:
        titles.append((total, title))
        return heard.append

    table = power_table(config(), 0.5, guessed(), 20, track)
    assert [size[:2] for size in table] == [(r, c) for r in (2, 4, 8) for c in (5, 10, 20)]
    assert titles == [(180, "simulated studies")]
    assert heard == [1] * 180
    again = power_table(config(), 0.5, guessed(), 20)
    assert again == table
    least = power_table(config(readers=2), 0.5, guessed(), 5)
    assert sorted({size.readers for size in least}) == [2, 4]


def test_the_smallest_has_the_fewest_maps() -> None:
    def power(share: float) -> Power:
        return Power(share, 0, 1, 10)

    table = {Size(3, 20): power(0.9), Size(6, 10): power(0.8), Size(2, 20): power(0.79)}
    assert smallest(table) == Size(3, 20)
    assert smallest({Size(2, 20): power(0.79)}) is None


def test_what_cannot_be_simulated_is_said() -> None:
    words = [{"kind": "text", "id": "w", "text": "What do you see?"}]
    for changes, text in (
        ({"readers": 1}, "power: expected at least two readers, found 1"),
        (
            {"conditions": [{"name": "A", "run": "a"}]},
            "power: expected at least two conditions, found 1",
        ),
        (
            {"questions": words},
            "power: expected a question of kind scale in the settings, found none: only the "
            "difference of ratings can be simulated",
        ),
    ):
        with pytest.raises(MedrobustError) as error:
            power_table(config(**changes), 0.5, guessed(), 2)
        assert str(error.value) == text


def test_the_spread_that_simulated_readers_have() -> None:
    usual = Biases()
    assert guessed() == (0.5, 0.6, 0.3, 0.15, 0.6)
    assert guessed().rest == usual.noise
    assert spread_of(None, "useful") == (guessed(), "guessed: that of simulated readers")


def test_a_spread_that_is_told() -> None:
    found, source = spread_of("readers=1, rest=0.25", "useful")
    assert found == guessed()._replace(readers=1.0, rest=0.25)
    assert source == "as told; what is not is that of simulated readers"
    assert str(found) == "readers 1, cases 0.6, maps 0.3, preferences 0.15, rest 0.25"


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ("reader=1", "expected some of readers, cases, maps, preferences, rest, found 'reader'"),
        ("rest=-1", "expected rest=NUMBER of at least 0, found '-1'"),
        ("rest=inf", "expected rest=NUMBER of at least 0, found 'inf'"),
        ("rest=", "expected rest=NUMBER of at least 0, found ''"),
        (
            "nowhere",
            "expected readers=0.5,cases=0.6,… or the folder of an earlier study's analysis, found "
            "'nowhere' without deviations.csv",
        ),
    ],
)
def test_a_spread_that_is_none(told: str, text: str) -> None:
    with pytest.raises(MedrobustError) as error:
        spread_of(told, "useful")
    assert str(error.value) == f"--spread: {text}"


def test_the_spread_of_a_pilot(tmp_path: Path) -> None:
    """Two patients' parts make cases; what the pilot could not tell apart is 0."""
    path = tmp_path / "deviations.csv"
    path.write_text(
        "study,question,analysis,intercepts_of,deviation\n"
        "s,useful,mixed model,case,0.3\n"
        "s,useful,mixed model,patient,0.4\n"
        "s,useful,mixed model,reader by condition,0.2\n"
        "s,useful,mixed model,rest,0.7\n"
        "s,useful,ordinal model,reader,2.0\n"
        "s,other,mixed model,reader,1.0\n"
    )
    found, source = spread_of(str(tmp_path), "useful")
    assert found == pytest.approx((0, 0.5, 0, 0.2, 0.7))
    assert source == f"measured in {tmp_path}"
    with pytest.raises(MedrobustError) as error:
        spread_of(str(tmp_path), "third")
    assert str(error.value) == f"{path}: expected the question third, found useful, other"


@pytest.fixture
def create(tmp_path: Path) -> Callable[..., Any]:
    """Calls `medrobust study create` on the settings."""
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(config().model_dump(mode="json")))
    return lambda *words: CliRunner().invoke(app, ["create", str(path), *words])


def test_the_command_says_it(create: Callable[..., Any]) -> None:
    still = "readers=0,cases=0,maps=0,preferences=0.5,rest=0.1"
    told = create("--simulate-power", "2", "--spread", still)
    assert told.exit_code == 0, told.output
    lines = told.stdout.splitlines()
    assert lines[:3] == [
        "useful: a difference of 2 steps (of 0 to 5) between one of 2 conditions and another, "
        "p < 0.05 by Holm",
        "standard deviations: readers 0, cases 0, maps 0, preferences 0.5, rest 0.1 (as told; "
        "what is not is that of simulated readers)",
        "power with its 95% interval, by 1000 simulated studies each:",
    ]
    assert re.split(r" {2,}", lines[4]) == ["readers", "5 cases", "10 cases", "20 cases"]
    cells = [re.split(r" {2,}", line) for line in lines[5:8]]
    assert [row[0] for row in cells] == ["2", "4", "8"]
    assert cells[2][1:] == ["100% (100%–100%)"] * 3
    assert lines[9] == f"planned, 4 readers and 10 cases: {cells[1][2]}"
    assert re.fullmatch(r"smallest of these with at least 80%: \d readers and 5 cases", lines[10])


def test_the_command_finds_none(create: Callable[..., Any], monkeypatch: Any) -> None:
    monkeypatch.setitem(STUDIES, "crossed", 20)
    told = create("--simulate-power", "0.01")
    assert told.stdout.splitlines()[-1] == "smallest of these with at least 80%: none"
    assert "(guessed: that of simulated readers)" in told.stdout


@pytest.mark.parametrize("difference", ["0", "-1", "nan", "9"])
def test_a_difference_that_the_scale_does_not_have(
    create: Callable[..., Any], difference: str
) -> None:
    assert str(create("--simulate-power", difference).exception) == (
        "--simulate-power: expected a difference above 0 and up to 5 steps, the scale of useful, "
        f"found {difference}"
    )


@pytest.mark.parametrize(
    "words", [(), ("--out", "x"), ("--runs", "x"), ("--runs", "x", "--out", "x", "--spread", "x")]
)
def test_a_study_needs_runs_and_a_folder(create: Callable[..., Any], words: Any) -> None:
    assert str(create(*words).exception) == (
        "create: expected --runs and --out, or --simulate-power (and --spread) alone: give the "
        "runs whose maps are read and the folder to write"
    )

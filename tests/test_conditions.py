from collections.abc import Callable
from typing import Any

import pytest

from medrobust.attacks.goals import Goal
from medrobust.attacks.suite import Budget
from medrobust.conditions import (
    Condition,
    Evaluation,
    Sweep,
    aimed_at,
    goals_of,
    shown_conditions,
    sweeps_of,
)
from medrobust.config import Config
from medrobust.errors import MedrobustError

Configure = Callable[..., Config]
FINDINGS = ["nodule", "effusion"]
EPS = 2 / 255


@pytest.fixture
def config(configure: Configure) -> Config:
    """Of a training at 2/255 in l∞ whose evaluation has no radii of its own."""
    return configure("dual", "evaluate.eps=null", "evaluate.suite=fast")


def sweeps(config: Config, **what: Any) -> list[Sweep]:
    return sweeps_of(config, Evaluation(**what), ["clean", "adv"], "multilabel", FINDINGS)


def radii(config: Config, **what: Any) -> list[float]:
    (one, other) = sweeps(config, **what)
    assert one.radii == other.radii
    return list(one.radii)


class TestRadii:
    """Which radii a sweep has."""

    def test_fast_has_a_curve_up_to_twice_the_training_radius(self, config: Config) -> None:
        found = radii(config)
        assert found == pytest.approx([EPS * step / 10 for step in range(1, 21)])
        assert EPS in found

    @pytest.mark.parametrize(
        ("suite", "factors"), [("strong", [1, 2]), ("pgd", [0.5, 1, 2]), ("square", [0.5, 1, 2])]
    )
    def test_of_other_suites(self, config: Config, suite: Any, factors: list[float]) -> None:
        assert radii(config, suite=suite) == pytest.approx([EPS * factor for factor in factors])

    def test_those_of_the_configuration(self, configure: Configure) -> None:
        config = configure("dual", "evaluate.eps=[0.02,0.01]")
        assert radii(config) == [0.01, 0.02]
        assert radii(config, eps=(0.03,)) == [0.03]

    def test_ascending_each_once_and_without_0(self, config: Config) -> None:
        assert radii(config, eps=(0.02, 0.0, 0.01, 0.02, 0.02 + 1e-12)) == [0.01, 0.02 + 1e-12]

    def test_none(self, config: Config) -> None:
        assert sweeps(config, eps=()) == []
        assert sweeps(config, eps=(0.0,)) == []

    @pytest.mark.parametrize("own", ["null", "[2/255]"])
    @pytest.mark.parametrize("other", [{"norm": "l1"}, {"norm": "l2"}, {"unit": "native"}])
    def test_another_norm_or_unit_has_no_usual_radii(
        self, configure: Configure, own: str, other: dict[str, Any]
    ) -> None:
        config = configure("dual", f"evaluate.eps={own}")
        with pytest.raises(MedrobustError) as refused:
            sweeps(config, **other)
        assert str(refused.value) == (
            "eps: expected radii (--eps) beside another norm or unit than the training's, "
            "found none"
        )
        assert radii(config, eps=(0.5,), **other) == [0.5]

    @pytest.mark.parametrize("eps", [-0.1, 1.5])
    def test_that_cannot_be(self, config: Config, eps: float) -> None:
        with pytest.raises(MedrobustError) as refused:
            sweeps(config, eps=(eps,))
        assert str(refused.value) == (
            "eps: expected a radius between 0 and 1, in units of the image's range (4/255 rather "
            f"than 4), found {eps}"
        )

    def test_only_in_linf_images_units_do_they_end_at_1(self, config: Config) -> None:
        assert radii(config, eps=(40.0,), norm="l1") == [40.0]
        assert radii(config, eps=(40.0,), unit="native") == [40.0]


class TestGoals:
    """What words stand for."""

    @pytest.mark.parametrize(
        ("text", "goals", "aim"),
        [
            ("total", [Goal()], None),
            ("finding", [Goal("finding", 0), Goal("finding", 1)], None),
            ("vanish:effusion", [Goal("vanish", 1)], "effusion"),
            ("appear:nodule", [Goal("appear", 0)], "nodule"),
        ],
    )
    def test_known_ones(self, text: str, goals: list[Goal], aim: str | None) -> None:
        assert goals_of(text, FINDINGS) == goals
        assert aimed_at(text) == aim

    @pytest.mark.parametrize("text", ["", "all", "total:nodule", "vanish", "appear:", "finding:0"])
    def test_others(self, text: str) -> None:
        with pytest.raises(MedrobustError) as refused:
            goals_of(text, FINDINGS)
        assert str(refused.value) == (
            f"goal: expected total, finding, vanish:NAME or appear:NAME, found {text!r}"
        )

    def test_of_a_finding_that_the_model_does_not_have(self) -> None:
        with pytest.raises(MedrobustError) as refused:
            goals_of("vanish:hernia", FINDINGS)
        assert str(refused.value) == (
            "goal: expected a finding of the model (nodule, effusion), found 'hernia'"
        )

    def test_a_finding_may_have_a_colon_in_its_name(self) -> None:
        assert goals_of("vanish:view:AP", ["view:AP"]) == [Goal("vanish", 0)]
        assert aimed_at("vanish:view:AP") == "view:AP"


class TestBudgets:
    """What the attacks may cost."""

    def test_suites_have_their_own(self, config: Config) -> None:
        for suite in ("fast", "strong"):
            assert sweeps(config, suite=suite)[0].budget == Budget()

    def test_single_attacks_take_that_of_the_configuration(self, config: Config) -> None:
        assert sweeps(config, suite="pgd")[0].budget == Budget(steps=2, restarts=1)
        asked = Budget(steps=7, restarts=3, loss="margin")
        assert sweeps(config, suite="pgd", budget=asked)[0].budget == asked
        assert sweeps(config, suite="fgsm")[0].budget == Budget()
        queries = Budget(queries=30)
        assert sweeps(config, suite="square", budget=queries)[0].budget == queries


def test_settings_say_how_predictions_were_made(config: Config) -> None:
    what = {"suite": "strong", "eps": (0.01, 0.02), "goal": "vanish:effusion"}
    one, other = sweeps(config, **what)
    assert (one.attacked, other.attacked) == ("clean", "adv")
    assert other.settings(0.02) == {
        "name": "strong",
        "goal": "vanish:effusion",
        "version": 1,
        "norm": "linf",
        "eps": 0.02,
        "members": ["margin-apgd", "cross-entropy-apgd", "square"],
        "carried": [0.01],
        "steps": None,
        "restarts": None,
        "queries": None,
        "loss": None,
        "attacked_branch": "adv",
    }
    assert other.settings(0.01)["carried"] == []
    assert other.condition(0.01) == Condition("strong", 0.01, "adv")
    assert other.condition(0.01, "strong/8bit") == Condition("strong/8bit", 0.01, "adv")


def test_conditions_that_need_no_network(config: Config, configure: Configure) -> None:
    clean, noise = Condition(), Condition("noise-control", EPS)
    assert list(shown_conditions(config, Evaluation())) == [clean, noise]
    assert list(shown_conditions(configure("standard", "attack.eps=0"), Evaluation())) == [clean]
    found = list(shown_conditions(config, Evaluation(corruptions=("blur",))))
    assert found[2:] == [Condition("corruption:blur", severity) for severity in range(1, 6)]


def test_unknown_corruption(config: Config) -> None:
    with pytest.raises(MedrobustError, match="did you mean blur"):
        list(shown_conditions(config, Evaluation(corruptions=("blurr",))))

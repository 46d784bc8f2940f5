"""Can the attacks be believed? The checks of `trust.csv`, as tables and as words."""

from collections.abc import Iterator

import pandas as pd

from medrobust.report import flags, text
from medrobust.report.material import Material
from medrobust.report.numbers import Numbers
from medrobust.report.read import Run
from medrobust.report.tables import Cell, Group, Row, Table
from medrobust.report.terms import COMBINED, Arm, records

QUESTIONS = {
    "steps": "Do more steps find little more?",
    "restarts": "Do more random starts find little more?",
    "radius": "Is a larger radius never harder?",
    "half": "Does an attack that may turn every image grey leave only chance?",
    "black-box": "Does an attack without gradients do no better?",
    "transfer": "Do images made on other networks do no better?",
    "zero-gradients": "Has nearly every image a gradient to follow?",
    "randomised": "Does the network answer the same twice?",
    "noise": "Does the attack do far more than random noise?",
    "planted": "Does the attack find a weakness that was put there?",
}
WORDS = {
    flags.PASS: "\N{CHECK MARK} pass",
    flags.FLAG: flags.MARK,
    flags.NOT_CHECKED: flags.NOT_CHECKED,
}


def flag_sentences(numbers: Numbers) -> list[str]:
    """Which models' robust numbers a check speaks against; none where all passed."""
    if not numbers.attacks:
        return []
    return [
        f"{flags.MARK}: the robust numbers of {arm.phrase}{_seed(numbers, arm, run)} are not to be "
        f"relied on; the attack on it failed {_failed(_checks(numbers, run, arm.branch))}."
        for arm, run in _models(numbers)
        if numbers.verdict(run, arm.branch) == flags.FLAG
    ]


def unchecked_sentence(numbers: Numbers) -> str:
    """Which models' attacks nobody has checked; empty where there are none."""
    names = [
        f"{arm.phrase}{_seed(numbers, arm, run)}"
        for arm in numbers.arms
        for run in numbers.runs_of(arm)
        if numbers.verdict(run, arm.branch) == flags.NOT_CHECKED
    ]
    if not names or not numbers.attacks:
        return ""
    return (
        f"Not checked: whether the attacks on {text.enumeration(names)} are as strong as they "
        "could be. Their robust numbers are upper bounds of unknown quality."
    )


def checks_table(material: Material) -> Table | None:
    """The verdict of every check on every model; None where nothing was checked."""
    numbers = material.numbers
    models = list(_models(numbers))
    found = [_checks(numbers, run, arm.branch) for arm, run in models]
    names = _in_order(found)
    if not names:
        return None
    rows = [
        Row(name, [_verdict(one, name) for one in found], note=QUESTIONS.get(name, ""))
        for name in names
    ]
    columns = [f"{arm.label}{_seed(numbers, arm, run)}" for arm, run in models]
    return Table(
        "Checks of the attacks behind the robust numbers: the worst verdict over all radii that "
        "were checked. A flag means that the number may be too good.",
        ["Check", *columns],
        [Group("", rows)],
        words=range(len(columns)),
    )


def check_details(material: Material) -> Table:
    """Every check with what was measured and what it means, flags first."""
    groups = []
    for arm, run in _models(material.numbers):
        checks = _checks(material.numbers, run, arm.branch)
        flagged = checks["verdict"] == flags.FLAG
        ordered = pd.concat([checks[flagged], checks[~flagged]])
        rows = [
            Row(
                one.check,
                [
                    Cell(WORDS.get(one.verdict, one.verdict)),
                    Cell(text.epsilon(one.eps, one.norm), f"{text.count(one.n)} images"),
                    Cell(_figure(one.value)),
                    Cell(_figure(one.reference)),
                    Cell(one.note),
                ],
            )
            for one in records(ordered)
        ]
        groups.append(Group(f"{arm.label}, seed {run.seed}", rows, "" if rows else "not checked"))
    return Table(
        "What each check measured, and what it was held against.",
        ["Model and check", "Verdict", "ε", "Measured", "Limit", "What it means"],
        groups,
        words=(0, 4),
    )


def _models(numbers: Numbers) -> Iterator[tuple[Arm, Run]]:
    """Every model and seed, then what combines their branches where that was checked."""
    for arm in numbers.arms:
        for run in numbers.runs_of(arm):
            yield arm, run
    for run in numbers.runs:
        for branch in COMBINED:
            if len(_checks(numbers, run, branch)):
                yield Arm(run.name, branch, run.regime), run


def _checks(numbers: Numbers, run: Run, branch: str) -> pd.DataFrame:
    checks = flags.rows_of(run.trust, numbers.evaluation)
    return checks[checks["branch"] == branch]


def _in_order(found: list[pd.DataFrame]) -> list[str]:
    there = dict.fromkeys(name for one in found for name in one["check"])
    return [*(n for n in QUESTIONS if n in there), *(n for n in there if n not in QUESTIONS)]


def _verdict(checks: pd.DataFrame, name: str) -> Cell:
    found = checks.loc[checks["check"] == name, "verdict"]
    return Cell(WORDS[flags.worst(found.tolist())])


def _failed(checks: pd.DataFrame) -> str:
    names = dict.fromkeys(checks.loc[checks["verdict"] == flags.FLAG, "check"])
    return f"the check{'s' if len(names) > 1 else ''} {text.enumeration(list(names))}"


def _seed(numbers: Numbers, arm: Arm, run: Run) -> str:
    several = sum(other.name == arm.name for other in numbers.runs) > 1
    return f", seed\N{NO-BREAK SPACE}{run.seed}" if several else ""


def _figure(value: float) -> str:
    return f"{value:.3g}" if abs(value) >= 1000 else text.number(value)

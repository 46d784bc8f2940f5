"""The first paragraph in plain words, generated from the numbers and nothing else."""

from collections.abc import Sequence

import pandas as pd

from medrobust.data.store import Store
from medrobust.report import text
from medrobust.report.comparisons import Difference, sentence
from medrobust.report.figures import Style
from medrobust.report.numbers import Numbers
from medrobust.report.predicted import Predicted
from medrobust.report.tables import Cell, Group, Row, Table, mark_of
from medrobust.report.terms import CLEAN, Arm, Condition, Estimate

CHANCE = 0.5


def summary(numbers: Numbers, predicted: Predicted, store: Store | None) -> list[str]:
    """Paragraphs: who was measured, how well on clean images, how well under attack."""
    several = any(len(numbers.runs_of(arm)) > 1 for arm in numbers.arms)
    which = " Where a model has several seeds, the first is quoted." if several else ""
    paragraphs = [
        f"On {_images(numbers, predicted, store)}, {_quoted(numbers, CLEAN, 'a macro AUROC of ')} "
        f"(95 % intervals in brackets).{which}"
    ]
    if numbers.training:
        paragraphs.append(
            f"Under {_attack(numbers, predicted, numbers.training)}, with each attack made "
            f"through the very branch that is scored, {_quoted(numbers, numbers.training)}."
        )
    return paragraphs


def headlines(found: Sequence[Difference]) -> list[str]:
    """The comparisons that the paper is about, as far as these runs allow them."""
    wanted = [
        (False, ("dual", "clean"), "standard"),
        (False, ("adversarial", "single"), "standard"),
        (True, ("adversarial", "single"), "standard"),
        (True, ("dual", "adv"), "standard"),
        (True, ("dual", "adv"), "adversarial"),
        (True, ("dual", "clean"), "adversarial"),
    ]
    return [
        sentence(difference)
        for attacked, first, second in wanted
        for difference in found
        if bool(difference.condition.attack) == attacked
        and (difference.first.regime, difference.first.branch) == first
        and difference.second.regime == second
    ]


def chance_table(numbers: Numbers, looks: dict[Arm, Style]) -> Table:
    """AUROC minus 0.5 of every model, clean, under noise and under attack."""
    noise = numbers.noise_at(numbers.training) if numbers.training else None
    conditions = [c for c in (CLEAN, noise, numbers.training) if c is not None]
    rows = []
    for arm in numbers.arms:
        for run in numbers.runs_of(arm):
            cells = [_above(numbers.get(run, arm.branch, c)) for c in conditions]
            note = numbers.note(run, arm.branch)
            rows.append(Row(arm.label, [Cell(_route(arm)), *cells], note, looks[arm]))
    return Table(
        "By how much each model beats chance: macro AUROC minus 0.5, with 95 % bootstrap interval.",
        [
            "Model and branch",
            "Deployed and attacked",
            *(c.heading for c in conditions),
        ],
        [Group("", rows)],
        words=(0,),
    )


def _images(numbers: Numbers, predicted: Predicted, store: Store | None) -> str:
    frames = (
        predicted.frame(run, arm.branch, CLEAN)
        for arm in numbers.arms
        for run in numbers.runs_of(arm)
    )
    frame: pd.DataFrame | None = next((f for f in frames if f is not None), None)
    name = store.info.title if store else numbers.evaluation.store
    if frame is None:
        return f"the {numbers.evaluation.split} images of {name}"
    images = text.plural(len(frame), f"{numbers.evaluation.split} image")
    patients = frame["patient_id"].nunique()
    known = store is None or store.info.patients == "known"
    whose = f" of {text.plural(patients, 'patient')}" if known else ""
    return f"{images}{whose} ({name})"


def _quoted(numbers: Numbers, condition: Condition, before_first: str = "") -> str:
    parts: list[str] = []
    for arm in numbers.arms:
        found = numbers.get(numbers.runs_of(arm)[0], arm.branch, condition)
        if found is not None and found.scorable:
            verb = "" if parts else f"reaches {before_first}"
            limits = text.interval(found.low, found.high, 2)
            bracket = f" ({'; '.join(filter(None, (limits, mark_of(found))))})"
            bracket = bracket if len(bracket) > 3 else ""
            parts.append(f"{arm.phrase} {verb}{text.number(found.value, 2)}{bracket}")
    return text.enumeration(parts) if parts else "no model could be scored"


def _attack(numbers: Numbers, predicted: Predicted, condition: Condition) -> str:
    steps = {
        predicted.steps(run, arm.branch, condition)
        for arm in numbers.arms
        for run in numbers.runs_of(arm)
    } - {0}
    how = f" ({text.plural(steps.pop(), 'step')})" if len(steps) == 1 else ""
    return f"{condition.phrase}{how}"


def _route(arm: Arm) -> str:
    return {"single": "its only branch", "adv": "adversarial branch"}.get(
        arm.branch, f"{arm.branch} branch"
    )


def _above(found: Estimate | None) -> Cell:
    if found is None or not found.scorable:
        return Cell(text.DASH)
    limits = text.signed_interval(found.low - CHANCE, found.high - CHANCE)
    return Cell(text.signed(found.value - CHANCE), limits, mark_of(found))

"""What `medrobust study create --simulate-power` says."""

from medrobust.cli.console import console
from medrobust.errors import MedrobustError
from medrobust.progress import progress_bars
from medrobust.study.config import StudyConfig
from medrobust.study.power import (
    ENOUGH,
    LEVEL,
    Power,
    Size,
    planned,
    power_table,
    rated_scale,
    smallest,
)
from medrobust.study.spread import spread_of


def power_of(config: StudyConfig, difference: float, told: str | None) -> list[str]:
    """Lines: the power of the plan, a table around it, the smallest design with enough."""
    question = rated_scale(config)
    highest = len(question.steps) - 1
    if not 0 < difference <= highest:
        raise MedrobustError(
            f"--simulate-power: expected a difference above 0 and up to {highest} steps, the scale "
            f"of {question.id}, found {difference:g}"
        )
    spread, source = spread_of(told, question.id)
    with progress_bars(console) as bars:
        table = power_table(config, difference, spread, track=bars.start)
    plan, best = planned(config), smallest(table)
    return [
        f"{question.id}: a difference of {difference:g} steps (of 0 to {highest}) "
        f"between one of {plan.conditions} conditions and another, p < {LEVEL} by Holm",
        f"standard deviations: {spread} ({source})",
        f"power with its 95% interval, by {table[plan].studies} simulated studies each:",
        *("", *_grid(table), ""),
        f"planned, {_words(plan)}: {_percent(table[plan])}",
        f"smallest of these with at least {ENOUGH:.0%}: " + (_words(best) if best else "none"),
    ]


def _words(size: Size) -> str:
    return f"{size.readers} readers and {size.cases} cases"


def _percent(power: Power) -> str:
    return f"{power.share:.0%} ({power.low:.0%}–{power.high:.0%})"


def _grid(table: dict[Size, Power]) -> list[str]:
    """A row per number of readers, a column per number of cases."""
    cases = sorted({size.cases for size in table})
    rows: dict[int, list[str]] = {}
    for size, power in table.items():
        rows.setdefault(size.readers, []).append(_percent(power))
    head = ["readers", *(f"{count} cases" for count in cases)]
    return [_row(head), *(_row([str(readers), *cells]) for readers, cells in rows.items())]


def _row(cells: list[str]) -> str:
    return "".join([f"{cells[0]:<9}", *(f"{cell:<18}" for cell in cells[1:])]).rstrip()

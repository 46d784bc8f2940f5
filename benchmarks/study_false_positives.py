"""How often the tests of a reader study find what isn't there, and what is.

python benchmarks/study_false_positives.py [--studies 200] [--ordinal 100] [--effect 0.6] [--json F]

One design, answered by simulated readers with another seed in each study: readers, cases, maps,
readers' preferences and readings vary at random as `Biases` say. First no condition differs, then
the last one gets the effect. Shares have exact 95 % intervals (Clopper and Pearson). A level of
5 % holds where that interval is not wholly above it. `planted` is the difference of expected steps,
as rounding and the ends of the scale leave it (`expected_step`).
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from made_study import make_study
from measure import machine
from medrobust.errors import MedrobustError
from medrobust.files import write_json
from medrobust.study.analysis.effects import factors, fit
from medrobust.study.planted import expected_step
from medrobust.study.questions import Scale
from medrobust.study.simulated import Biases, SimulatedReaders
from medrobust.study.statistics.layout import pivoted
from medrobust.study.statistics.ordinal import (
    condition_effects,
    likelihood_ratio,
    ordinal_mixed_model,
)
from medrobust.study.statistics.ranks import Unit, as_blocks, friedman, signed_rank_pairs

LEVEL = 0.05
UNITS: Sequence[Unit] = ("reading", "case", "reader")
P = dict[str, float]


class Share(NamedTuple):
    """How many studies of how many, with the exact interval of their share."""

    count: int
    of: int

    @property
    def interval(self) -> tuple[float, float]:
        """Clopper and Pearson's."""
        found = stats.binomtest(self.count, self.of).proportion_ci(0.95, method="exact")
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        low, high = (100 * bound for bound in self.interval)
        return f"{100 * self.count / self.of:.1f} % ({low:.1f} to {high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--ordinal", type=int, default=100, help="studies with the ordinal model")
    parser.add_argument("--readers", type=int, default=6)
    parser.add_argument("--cases", type=int, default=24)
    parser.add_argument("--conditions", type=int, default=4)
    parser.add_argument("--effect", type=float, default=0.6, help="steps")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study = design(Path(folder), given.readers, given.cases, given.conditions)
        last = f"method-{given.conditions}"
        table = summary(
            study,
            {"none planted": Biases(), "planted": Biases(scale={last: given.effect})},
            given.studies,
            given.ordinal,
        )
    print(
        f"{given.readers} readers, {given.cases} cases, {given.conditions} conditions; "
        f"{given.effect:g} steps planted in the last\n"
    )
    print(markdown(table))
    if given.json:
        write_json(given.json, {**machine(), "rows": table})


def design(folder: Path, readers: int, cases: int, conditions: int) -> Path:
    """A study whose cases are of different patients."""
    counts = {"readers": readers, "cases": cases, "conditions": conditions}
    return make_study(folder, **counts, size=32, one_per_patient=True)


def summary(
    study: Path, biases: Mapping[str, Biases], studies: int, ordinal: int
) -> list[dict[str, str]]:
    """A row for each test; a column for each kind of study."""
    found = {name: trials(study, one, studies, ordinal) for name, one in biases.items()}
    names = dict.fromkeys(test for rows in found.values() for row in rows for test in row)
    return [
        {"test": test} | {kind: str(_share(rows, test)) for kind, rows in found.items()}
        for test in names
    ]


def _share(rows: Sequence[P], test: str) -> Share:
    """Studies with p below the level; of intervals, those that hold the truth."""
    values = [row[test] for row in rows if test in row]
    if test.startswith("interval"):
        return Share(sum(value == 1 for value in values), len(values))
    return Share(sum(value < LEVEL for value in values), len(values))


def trials(study: Path, biases: Biases, studies: int, ordinal: int) -> list[P]:
    return [
        dict(p_values(answered(study, biases, seed), biases, with_ordinal=seed < ordinal))
        for seed in range(studies)
    ]


def answered(study: Path, biases: Biases, seed: int) -> pd.DataFrame:
    """Ratings as `effects.rated` gives them, of other readers, cases and maps for every seed."""
    readers = SimulatedReaders.of(study, biases, seed)
    scale = next(question for question in readers.questions if isinstance(question, Scale))
    columns = ("reader", "patient", "case", "condition", "truth")
    rows = [
        {name: entry[name] for name in columns} | {"value": readers.values(item)[scale.id]}
        for item, entry in readers.key.items()
    ]
    table = pd.DataFrame(rows)
    return table.assign(condition=table["condition"].str.rpartition("-")[2].astype(int) - 1)


def p_values(
    rows: pd.DataFrame, biases: Biases, *, with_ordinal: bool
) -> Iterator[tuple[str, float]]:
    """By test; an interval has 1 where it holds what was planted."""
    model = fit(rows)
    yield "mixed model, F test", model.test.p
    yield "mixed model, smallest p of pairs by Holm", min(one.p_holm for one in model.differences)
    last = max(one.second for one in model.differences)
    pair = next(one for one in model.differences if (one.first, one.second) == (0, last))
    yield "mixed model, first and last condition", pair.p
    truth = planted(biases, last)
    yield "interval of their difference holds it", float(pair.low <= truth <= pair.high)
    yield "reader and case only, F test", fit(rows, pairs=False).test.p
    if with_ordinal:
        yield "ordinal model, likelihood ratio", ordinal_p(rows)
    keys = [rows[name].to_numpy() for name in ("reader", "case", "condition")]
    table, _ = pivoted(rows["value"], keys)
    for unit in UNITS:
        yield f"Friedman, blocks are {unit}s", friedman(as_blocks(table, unit)).p
    pairs = signed_rank_pairs(as_blocks(table, "case"))
    yield "Wilcoxon of cases, smallest p by Holm", min(one.p_holm for one in pairs)


def planted(biases: Biases, last: int, steps: int = 6) -> float:
    """The expected difference of the first and the last condition."""
    first, second = (expected_step(biases, f"method-{n + 1}", steps) for n in (0, last))
    return first - second


def ordinal_p(rows: pd.DataFrame) -> float:
    """NaN, which is no finding, where the model can't be fitted."""
    values, groups = rows["value"].to_numpy(float), factors(rows)
    columns = condition_effects(rows["condition"].to_numpy())
    try:
        model = ordinal_mixed_model(values, columns, groups)
        return likelihood_ratio(model, ordinal_mixed_model(values, {}, groups)).p
    except (MedrobustError, np.linalg.LinAlgError):
        return float("nan")


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([str(row[name]) for name in head] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()

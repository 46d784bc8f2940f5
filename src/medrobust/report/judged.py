"""Each model's maps held against maps that know nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medrobust.explain.summary import ALPHA, BASELINES, against_baselines, summarise
from medrobust.report.read import Run
from medrobust.report.score_names import ScoreName
from medrobust.report.scored import Scored, is_baseline, score_names
from medrobust.report.terms import Arm, Estimate, records

NAMES = {
    "area": "area alone",
    "centre": "centre prior",
    "edge": "edge detector",
    "random": "random map",
    "untrained": "untrained network",
}
Key = tuple[str, str, str]
"""Finding, score, method."""


@dataclass(frozen=True)
class Judged:
    """One model's maps: means of every method and baseline, and what each method is held against.

    Of each finding, and of all findings together.
    """

    arm: Arm
    run: Run
    means: Mapping[Key, Any]
    """Rows of `summarise`."""
    against: Mapping[Key, Sequence[Any]]
    """Rows of `against_baselines`, one for each baseline and in their order."""

    def baseline(self, key: Key, name: str) -> Estimate | None:
        """The mean of a baseline on the images of a method; None without it."""
        return next((mean_of(r) for r in self.against.get(key, ()) if base_name(r) == name), None)


def judge(scored: Scored) -> list[Judged]:
    """Every model with each of its seeds."""
    found = []
    for arm, run in scored.models():
        table = scored.of(run, arm)
        means = {_key(row): row for row in records(scored.judged(summarise, table))}
        against: dict[Key, list[Any]] = {}
        for row in records(scored.judged(against_baselines, table)):
            against.setdefault(_key(row), []).append(row)
        for rows in against.values():
            rows.sort(key=lambda row: BASELINES.index(base_name(row)))
        found.append(Judged(arm, run, means, against))
    return found


def methods(judged: Sequence[Judged]) -> list[str]:
    """The saliency methods that were scored, without the baselines."""
    names = dict.fromkeys(method for one in judged for _, _, method in one.means)
    return [name for name in names if not is_baseline(name)]


def scores_of(judged: Sequence[Judged]) -> list[ScoreName]:
    """All scores, those that are known first."""
    return score_names(score for one in judged for _, score, _ in one.means)


def wins(against: Sequence[Any]) -> bool:
    """Whether a map is better than every baseline that there is, of at least one."""
    return bool(against) and all(row.wins for row in against)


def mean_of(row: Any) -> Estimate:
    """Of a baseline, on the images of the method that is held against it."""
    return Estimate(row.baseline_value, row.baseline_low, row.baseline_high, n=row.n)


def base_name(row: Any) -> str:
    """Of a baseline, without the method whose network it is."""
    return str(row.baseline).partition(":")[0]


def beats(row: Any) -> bool:
    """Whether a map is better than one baseline."""
    return bool(row.difference > 0 and row.p_holm <= ALPHA)


def is_worse(row: Any) -> bool:
    """Whether a map is worse than one baseline.

    A hit rate of almost 0 differs from a small area by too little to say so.
    """
    rare = base_name(row) == "area" and ScoreName(row.score).measure == "hit_rate"
    return bool(row.difference < 0 and row.p_holm <= ALPHA and not rare)


def _key(row: Any) -> Key:
    return row.finding, row.score, row.method

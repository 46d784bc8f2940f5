"""From similarities per image to a number with an interval and a verdict."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medrobust.explain.sanity.similarity import Floats
from medrobust.explain.sanity.table import Outcome
from medrobust.statistics import bootstrap_interval, weighted_mean

RESEMBLANCE = 0.5
"""Rank correlation from which two maps count as alike.

A quarter of the variance of one map's ranks is then the other's. Where this was tried (six methods
on PneumoniaMNIST) maps of a network with fresh weights reached at most 0.21; an edge detector
reaches 1 with any weights.
"""
REDRAWS = 1000


@dataclass(frozen=True)
class Judge:
    """Turns values per image into outcomes; `patients` (n,) are redrawn together."""

    patients: Sequence[str]

    def measured(self, check: str, against: str, values: Floats, detail: str = "") -> Outcome:
        """The mean of values (n,), NaN where there is no map, with its interval; no verdict."""
        known = ~np.isnan(values)
        if not known.any():
            return unchecked(check, against, "the maps are constant or not finite")
        statistic = weighted_mean(values)
        low, high, _ = bootstrap_interval(statistic, self.patients, REDRAWS)
        left_out = (
            f"{(~known).sum()} constant or not finite maps left out" if not all(known) else ""
        )
        told = "; ".join(filter(None, (detail, left_out)))
        return Outcome(
            check, against, float(values[known].mean()), low, high, known.sum(), "", told
        )

    def unlike(self, check: str, against: str, values: Floats) -> Outcome:
        """Passes where the interval of |similarity| lies below `RESEMBLANCE`."""
        rule = f"passes where the interval lies below {RESEMBLANCE:g}"
        found = self.measured(check, against, np.abs(values), rule)
        return _judged(found, found.high < RESEMBLANCE)

    def alike(self, check: str, against: str, values: Floats, detail: str = "") -> Outcome:
        """Passes where the interval of the similarity lies above `RESEMBLANCE`."""
        rule = f"passes where the interval lies above {RESEMBLANCE:g}"
        found = self.measured(check, against, values, "; ".join(filter(None, (rule, detail))))
        return _judged(found, found.low > RESEMBLANCE)

    def above(
        self, check: str, against: str, values: Floats, references: Sequence[Floats], rule: str
    ) -> Outcome:
        """Passes where each paired difference values - reference lies above 0 with its interval."""
        gaps = [self.measured(check, against, values - reference) for reference in references]
        found = self.measured(check, against, values, rule)
        return _judged(found, all(gap.low > 0 for gap in gaps))


def unchecked(check: str, against: str, reason: str) -> Outcome:
    """A row that says why there is no number."""
    return Outcome(check, against, verdict="not checked", detail=reason)


def _judged(found: Outcome, passed: bool) -> Outcome:
    if found.verdict:
        return found
    return found._replace(verdict="pass" if passed else "fail")

"""From similarities per image to a number with an interval and a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medrobust.explain.sanity.similarity import Floats
from medrobust.explain.sanity.table import RESEMBLANCE, Outcome
from medrobust.statistics import bootstrap_interval, weighted_mean

REDRAWS = 1000
FEWEST = 2
"""Patients below which there is no interval."""
NO_MAPS = "the maps are constant or not finite"


@dataclass(frozen=True)
class Judge:
    """Turns values per image into outcomes; `patients` (n,) are redrawn together."""

    patients: Sequence[str]

    def measured(
        self, check: str, against: str, values: Floats, detail: str = "", absent: str = NO_MAPS
    ) -> Outcome:
        """The mean of values (n,) with its interval; no verdict.

        Not checked where fewer than `FEWEST` patients have a value.

        Args:
            check: its name.
            against: what was compared.
            values: NaN where there is nothing to compare.
            detail: for a reader.
            absent: why a value is NaN.
        """
        known = ~np.isnan(values)
        patients = len(
            {name for name, is_known in zip(self.patients, known, strict=True) if is_known}
        )
        if patients < FEWEST:
            reason = f"expected values of at least {FEWEST} patients, found {patients}: elsewhere "
            return unchecked(check, against, reason + absent)
        low, high, _ = bootstrap_interval(weighted_mean(values), self.patients, REDRAWS)
        left_out = "" if known.all() else f"{(~known).sum()} images left out, where {absent}"
        mean, count = float(values[known].mean()), int(known.sum())
        return Outcome(check, against, mean, low, high, count, "", joined(detail, left_out))

    def unlike(self, check: str, against: str, values: Floats, detail: str = "") -> Outcome:
        """Passes where the interval of |similarity| lies below `RESEMBLANCE`."""
        rule = f"passes where the interval lies below {RESEMBLANCE:g}"
        found = self.measured(check, against, np.abs(values), joined(rule, detail))
        return _judged(found, found.high < RESEMBLANCE)

    def alike(
        self, check: str, against: str, values: Floats, detail: str = "", absent: str = NO_MAPS
    ) -> Outcome:
        """Passes where the interval of the similarity lies above `RESEMBLANCE`."""
        rule = f"passes where the interval lies above {RESEMBLANCE:g}"
        found = self.measured(check, against, values, joined(rule, detail), absent)
        return _judged(found, found.low > RESEMBLANCE)

    def above(
        self,
        check: str,
        against: str,
        values: Floats,
        references: Mapping[str, Floats],
        detail: str = "",
    ) -> Outcome:
        """Passes where each paired difference values - reference lies above 0 with its interval.

        Not checked where one of the differences can't be measured; references are by name.
        """
        found = self.measured(check, against, values, detail)
        gaps = {name: self.measured(check, against, values - r) for name, r in references.items()}
        for name, gap in gaps.items():
            if gap.verdict and not found.verdict:
                reason = f"compared with {name}: {gap.detail}"
                found = found._replace(verdict=gap.verdict, detail=reason)
        return _judged(found, all(gap.low > 0 for gap in gaps.values()))


def unchecked(check: str, against: str, reason: str) -> Outcome:
    """A row that says why there is no number."""
    return Outcome(check, against, verdict="not checked", detail=reason)


def joined(*details: str) -> str:
    """What is to be said, without what is empty."""
    return "; ".join(filter(None, details))


def _judged(found: Outcome, passed: bool) -> Outcome:
    if found.verdict:
        return found
    return found._replace(verdict="pass" if passed else "fail")

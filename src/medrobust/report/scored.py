"""The scores of saliency maps behind a report's tables."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from medrobust.explain.summary import BASELINES
from medrobust.report.numbers import Numbers
from medrobust.report.read import Run
from medrobust.report.score_names import ScoreName
from medrobust.report.terms import Arm

ALL = "all findings"
REDRAWS = 2000
SPOKEN = ("hit_rate", "mass_accuracy")
"""What sentences speak of; tables have all scores."""

Patients = Mapping[str, str]


@dataclass(frozen=True)
class Scored:
    """All runs' `explain/scores.csv` for one evaluation."""

    numbers: Numbers
    patients: Patients
    """Image id -> patient; an image that is not in it stands for itself."""

    def models(self) -> Iterator[tuple[Arm, Run]]:
        """Every model with each of its seeds that has scored maps."""
        for arm in self.numbers.arms:
            for run in self.numbers.runs_of(arm):
                branches = self.of(run, arm)
                if any(not is_baseline(method) for method in branches["method"]):
                    yield arm, run

    def of(self, run: Run, arm: Arm) -> pd.DataFrame:
        """The scores of one model, and of the baselines beside it."""
        scores, here = run.scores, self.numbers.evaluation
        same = (scores["store"] == here.store) & (scores["split"] == here.split)
        return scores[same & scores["branch"].isin([arm.branch, ""])]

    def judged(self, judge: Callable[..., pd.DataFrame], *tables: pd.DataFrame) -> pd.DataFrame:
        """`judge(*tables, patients, redraws)` of all findings together, then of each."""
        images = pd.concat([table["image_id"] for table in tables]).unique()
        patients = {image: self.patients.get(image, image) for image in images}
        cases, whose = zip(*(_pooled(table, patients) for table in tables), strict=True)
        owners = {case: patient for one in whose for case, patient in one.items()}
        return pd.concat(
            [judge(*cases, owners, REDRAWS), judge(*tables, patients, REDRAWS)], ignore_index=True
        )


def is_baseline(method: str) -> bool:
    """Whether maps of it know nothing of the finding."""
    return method.partition(":")[0] in BASELINES


def score_names(scores: Iterable[str]) -> list[ScoreName]:
    """Each once, known scores first."""
    return sorted(map(ScoreName, dict.fromkeys(scores)), key=lambda name: name.place)


def _pooled(scores: pd.DataFrame, patients: Patients) -> tuple[pd.DataFrame, Patients]:
    """All findings as one: a case is an image and one of its findings."""
    cases = scores["image_id"] + " / " + scores["finding"]
    owners = dict(zip(cases, scores["image_id"].map(dict(patients)), strict=True))
    return scores.assign(image_id=cases, finding=ALL), owners

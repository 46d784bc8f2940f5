"""What most sections of a report are made from."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from medrobust.predictions import labels_of
from medrobust.report.figures import Style
from medrobust.report.numbers import Numbers
from medrobust.report.predicted import Predicted
from medrobust.report.read import Run
from medrobust.report.terms import CLEAN, Arm, Condition


@dataclass(frozen=True)
class Material:
    """The numbers of one evaluation, the predictions behind them, and how models are drawn."""

    numbers: Numbers
    predicted: Predicted
    looks: dict[Arm, Style]
    table: pd.DataFrame | None
    """The store's; None where it could not be opened."""

    @cached_property
    def conditions(self) -> list[Condition]:
        """Clean images, and the attack that is quoted."""
        training = self.numbers.training
        return [CLEAN, *([training] if training else [])]

    def models(self) -> Iterator[tuple[Arm, Run]]:
        """Every model with each of its seeds."""
        for arm in self.numbers.arms:
            for run in self.numbers.runs_of(arm):
                yield arm, run

    def first_seeds(self) -> Iterator[tuple[Arm, Run]]:
        """Every model with its first seed."""
        for arm in self.numbers.arms:
            yield arm, self.numbers.runs_of(arm)[0]

    def labelled(
        self, run: Run, arm: Arm, condition: Condition
    ) -> tuple[pd.DataFrame, pd.DataFrame] | None:
        """Predictions and their labels, row by row; None where either is missing."""
        frame = self.predicted.frame(run, arm.branch, condition)
        if frame is None or self.table is None:
            return None
        return frame, labels_of(frame, self.table)

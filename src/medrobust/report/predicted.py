"""The predictions behind the numbers, read when they are needed."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from medrobust.predictions import Predictions, read_predictions
from medrobust.report.numbers import Numbers
from medrobust.report.read import Run
from medrobust.report.terms import Condition


@dataclass(frozen=True)
class Predicted:
    """Files of predictions of one evaluation, each read once."""

    numbers: Numbers
    _files: dict[tuple[Run, str, Condition], Predictions | None] = field(
        init=False, default_factory=dict
    )

    def frame(self, run: Run, branch: str, condition: Condition) -> pd.DataFrame | None:
        """`image_id, patient_id, <finding>..., logit:<finding>...`; None if the file is gone."""
        file = self._file(run, branch, condition)
        return None if file is None else file.frame

    def steps(self, run: Run, branch: str, condition: Condition) -> int:
        """Of the attack behind the predictions, as their own record says; 0 if there is none."""
        file = self._file(run, branch, condition)
        return 0 if file is None else int(file.sidecar["attack"].get("steps") or 0)

    def probability(
        self, run: Run, branch: str, condition: Condition, image_id: str, finding: str
    ) -> float:
        """The predicted probability of one finding in one image; NaN if it was not predicted."""
        frame = self.frame(run, branch, condition)
        if frame is None or finding not in frame:
            return np.nan
        found = frame.loc[frame["image_id"] == image_id, finding]
        return float(found.iloc[0]) if len(found) else np.nan

    def patients(self) -> dict[str, str]:
        """Image id -> patient id of every image that was predicted."""
        found: dict[str, str] = {}
        for arm in self.numbers.arms:
            for run in self.numbers.runs_of(arm):
                frame = self.frame(run, arm.branch, Condition())
                if frame is not None:
                    found |= dict(zip(frame["image_id"], frame["patient_id"], strict=True))
        return found

    def _file(self, run: Run, branch: str, condition: Condition) -> Predictions | None:
        key = (run, branch, condition)
        if key not in self._files:
            self._files[key] = self._read(run, branch, condition)
        return self._files[key]

    def _read(self, run: Run, branch: str, condition: Condition) -> Predictions | None:
        stem = self.numbers.stem(run, branch, condition)
        file = run.path / "predictions" / f"{stem}.csv"
        return read_predictions(file) if stem and file.is_file() else None

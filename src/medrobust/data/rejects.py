"""Images that cannot be used: listed with their reasons, and too many of them end the work."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pandas as pd

from medrobust.data.table import examples
from medrobust.errors import MedrobustError


@dataclass
class Rejects:
    """Files and reasons so far, of `total` images of which at most a share may be unusable."""

    total: int
    max_share: float
    rows: list[tuple[str, str]] = field(default_factory=list)

    def add(self, file: str, reason: str) -> None:
        """Note one; `MedrobustError` with the commonest reasons when there are too many."""
        self.add_all([(file, reason)])

    def add_all(self, rows: Iterable[tuple[str, str]]) -> None:
        """Note several; `MedrobustError` with the commonest reasons when there are too many."""
        self.rows += rows
        if self.rows and len(self.rows) == self.total:
            raise MedrobustError(
                f"none of the {self.total} images can be used: {self._commonest()}"
            )
        if len(self.rows) > self.max_share * self.total:
            why = self._commonest()
            remedy = "" if "(--" in why else "; --max-rejects allows more"
            raise MedrobustError(
                f"{len(self.rows)} of {self.total} images cannot be used, more than "
                f"{self.max_share:.2%}: {why}{remedy}"
            )

    def table(self) -> pd.DataFrame:
        """What rejects.csv holds."""
        return pd.DataFrame(self.rows, columns=["file", "reason"])

    def _commonest(self) -> str:
        files: dict[str, list[str]] = {}
        for file, reason in self.rows:
            files.setdefault(reason, []).append(file)
        first = sorted(files.items(), key=lambda item: -len(item[1]))[:3]
        return "; ".join(f"{reason} ({examples(dict.fromkeys(names))})" for reason, names in first)

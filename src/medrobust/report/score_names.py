"""Scores of maps in words: `hit_rate:10mm@opacity` is a hit rate within 10 mm of opacity."""

import re
from dataclasses import dataclass

from medrobust.report import text

INSIDE = "inside"
TITLES = {
    "hit_rate": "Hit rate: how often the map's strongest pixel lies {where} {truth}",
    "mass_accuracy": "Mass accuracy: the share of the map's strength that lies inside {truth}",
    "rank_accuracy": "Rank accuracy: of as many strongest pixels as {truth} has, the share inside",
    "auprc": "Average precision of the map's strength for pixels of {truth}",
    "iou": "Overlap (IoU) of {truth} and the strongest pixels, as many as was best on validation "
    "images",
    INSIDE: "Share of the map's strength inside {truth}",
}
SHORT = {
    "hit_rate": "hit rate",
    "mass_accuracy": "mass accuracy",
    "rank_accuracy": "rank accuracy",
    "auprc": "average precision",
    "iou": "overlap (IoU)",
    INSIDE: "share inside",
}


@dataclass(frozen=True)
class ScoreName:
    """A score's name in its parts; those that are compared have all parts in common."""

    whole: str
    """As in `explain/scores.csv`."""

    @property
    def measure(self) -> str:
        """`hit_rate`."""
        return re.split("[:@]", self.whole, maxsplit=1)[0]

    @property
    def tolerance(self) -> str:
        """`10 mm`, `3 pixels`; empty without one."""
        if self.measure == INSIDE:
            return ""
        _, _, distance = self.whole.partition("@")[0].partition(":")
        return re.sub(r"(?<=\d)(?=mm$)", " ", re.sub("px$", " pixels", distance))

    @property
    def masks(self) -> str:
        """`left lung and right lung`; empty for the finding's own."""
        names = self.whole.partition(":" if self.measure == INSIDE else "@")[2]
        return text.enumeration(names.split("+"))

    @property
    def title(self) -> str:
        """For a table's caption; the name itself where it is not known."""
        if self.measure not in TITLES:
            return self.whole
        where = f"within {self.tolerance} of" if self.tolerance else "inside"
        return TITLES[self.measure].format(where=where, truth=self.masks or "the finding")

    @property
    def short(self) -> str:
        """For sentences."""
        if self.measure not in SHORT:
            return self.whole
        within = f" within {self.tolerance}{' of' if self.masks else ''}" if self.tolerance else ""
        joint = " " if self.measure == INSIDE or within else " of "
        return SHORT[self.measure] + within + (joint + self.masks if self.masks else "")

    @property
    def digits(self) -> int:
        """After the point."""
        return 2 if self.measure == "hit_rate" else 3

    @property
    def place(self) -> int:
        """Among tables: known scores first."""
        return [*TITLES, self.measure].index(self.measure)

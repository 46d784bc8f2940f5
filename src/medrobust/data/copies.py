"""Images that are there more than once, exactly or nearly."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medrobust.data.settings import Duplicates
from medrobust.data.splits import SPLITS
from medrobust.data.table import label_columns
from medrobust.errors import LaterError


@dataclass(frozen=True)
class Copies:
    """Groups of identical images."""

    table: pd.DataFrame
    """What duplicates.csv holds: the members of each group, one group after the other."""
    dropped: NDArray[np.bool_]
    """(N,) which images are to be left out, since a copy lies in a later split."""
    warnings: list[str]


def find_copies(stored: pd.DataFrame, digests: list[str], policy: Duplicates) -> Copies:
    """Find images whose native pixels are equal, and do what `policy` says of copies across splits.

    `stop` raises `LaterError`; `drop-from-train` leaves out the copies in train of images in
    val or test, and those in val of images in test.
    """
    keys = pd.Series(digests, dtype=object)
    members = keys.duplicated(keep=False).to_numpy()
    copies = stored.loc[members, ["image_id", "patient_id", "split", *label_columns(stored)]]
    groups, _ = pd.factorize(keys[members])
    copies.insert(0, "group", groups)
    crossing = _crossing(copies)
    if crossing and policy == "stop":
        raise LaterError(
            f"{crossing}, which would test on what was trained on: leave them out "
            "(--duplicates drop-from-train), or keep and report them (--duplicates report)"
        )
    place = copies["split"].map({split: number for number, split in enumerate(SPLITS)})
    last = place.groupby(copies["group"]).transform("max")
    leaving = (place < last) & (policy == "drop-from-train")
    copies.insert(4, "dropped", leaving.astype(int))
    dropped = np.zeros(len(stored), dtype=bool)
    dropped[copies.index[leaving]] = True
    return Copies(
        copies.sort_values("group", kind="stable"), dropped, _warnings(copies, crossing, dropped)
    )


def _crossing(copies: pd.DataFrame) -> str:
    count = int((copies.groupby("group")["split"].nunique() > 1).sum())
    return f"{count} groups of identical images lie in more than one split" if count else ""


def _warnings(copies: pd.DataFrame, crossing: str, dropped: NDArray[np.bool_]) -> list[str]:
    warnings = [f"{crossing} (duplicates.csv)"] if crossing else []
    if dropped.any():
        warnings = [
            f"{dropped.sum()} images were left out, since copies of them lie in a later split "
            "(duplicates.csv)"
        ]
    labels = copies.groupby("group")[label_columns(copies)].nunique(dropna=False)
    differing = int((labels > 1).any(axis=1).sum())
    if differing:
        warnings.append(
            f"{differing} groups of identical images have different labels (duplicates.csv)"
        )
    return warnings

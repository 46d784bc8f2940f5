"""`flips/*.csv`: the smallest radius that flips each finding, from the predictions again."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medrobust.findings import Finding, UncheckedError, judged
from medrobust.predictions import LOGIT, finding_names, labels_of
from medrobust.verify.evidence import Evidence
from medrobust.verify.related import clean_of, smaller_of

NEAR = 1e-4
"""Of a cut, absolute and relative: so near it other batches may decide an unchanged image
otherwise, and the attack saw it in its own batch."""

Radii = NDArray[np.float64]


def check_flips(evidence: Evidence) -> list[Finding]:
    """Every file of flips."""
    findings = []
    for path in sorted(evidence.run.flips.glob("[!.]*.csv")):
        findings += judged("flips", path.stem, partial(_flips, evidence, path))
    return findings


def _flips(evidence: Evidence, path: Path) -> Iterator[str]:
    stem = path.stem
    if stem not in evidence.predictions:
        yield f"its predictions/{stem}.csv is missing or can't be read"
        return
    frame, sidecar = evidence.predictions[stem]
    if sidecar["attack"].get("attacked_branch") != sidecar["branch"]:
        yield "its predictions are not of the attacked network"
        return
    table = pd.read_csv(path, dtype="str", keep_default_na=False)
    names = ["image_id", "patient_id"]
    if list(table.columns) != [*names, *finding_names(frame)]:
        yield f"its columns are {', '.join(table.columns)}"
    elif not table[names].equals(frame[names]):
        yield "its images are not those of the predictions"
    else:
        yield from _differences(evidence, stem, table)


def _differences(evidence: Evidence, stem: str, table: pd.DataFrame) -> Iterator[str]:
    frame, sidecar = evidence.told(stem)
    radii, frames = _sweep(evidence, stem)
    labels = labels_of(frame, evidence.seen(stem).store.table)
    for finding in finding_names(frame):
        found = np.array([float(text or "nan") for text in table[finding]])
        scores = np.stack([one[LOGIT + finding].to_numpy(np.float32) for one in frames])
        cut, label = np.float32(sidecar["attack"]["cuts"][finding]), labels[finding].to_numpy()
        wrong = ((scores >= cut) != (label == 1)) & ~np.isnan(label)
        expected = _smallest(radii, wrong)
        near = np.isclose(scores[0], cut, rtol=NEAR, atol=NEAR) & ~np.isnan(label)
        later = _smallest(radii[1:], wrong[1:])
        off = ~(_same(found, expected) | near & ((found == 0) | _same(found, later)))
        if off.any():
            first = int(off.argmax())
            yield (
                f"{finding} of image {frame['image_id'].iloc[first]!r} is {found[first]:.6g}, the "
                f"predictions give {expected[first]:.6g} ({int(off.sum())} of {len(off)} are off)"
            )


def _sweep(evidence: Evidence, stem: str) -> tuple[Radii, list[pd.DataFrame]]:
    """0 and the radii, with the predictions of each."""
    frames, radii = [clean_of(evidence, stem).frame], [0.0]
    for radius, other in smaller_of(evidence, stem):
        if other is None:
            raise UncheckedError(f"the predictions at radius {radius:.6g} are not at hand")
        frames.append(other.frame)
        radii.append(radius)
    own = evidence.told(stem)
    return np.array([*radii, float(own.sidecar["attack"]["eps"])]), [*frames, own.frame]


def _smallest(radii: Radii, wrong: NDArray[np.bool_]) -> Radii:
    """(n,) of the radii (R,) the first at which (R, n) is wrong; NaN if none is."""
    return np.where(wrong.any(axis=0), radii[wrong.argmax(axis=0)], np.nan)


def _same(found: Radii, expected: Radii) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = (found == expected) | (np.isnan(found) & np.isnan(expected))
    return same

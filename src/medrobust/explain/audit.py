"""The shortcut audit: how much of the evidence lies on a marker, and what happens without it.

Any mask will do: a laterality marker, a pacemaker, a tube.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medrobust.attacks.gradient import frozen, full_precision
from medrobust.errors import MedrobustError
from medrobust.evaluate import Track
from medrobust.explain.erasing import Mask, erased, given, mirrored
from medrobust.explain.localisation import mass_inside
from medrobust.explain.methods import Method
from medrobust.explain.subject import Rows, Subject
from medrobust.explain.tables import replace_rows
from medrobust.explain.truth import named_masks
from medrobust.losses import rank_scores
from medrobust.progress import Count
from medrobust.statistics import (
    Statistic,
    bootstrap,
    percentile_interval,
    weighted_auroc,
    weighted_mean,
    whole,
)

COLUMNS = ["store", "split", "branch", "finding", "marker", "measure", "value", "low", "high", "n"]
AS_IS, REMOVED, MOVED, SWAPPED = "as it is", "removed", "moved", "swapped"
EDITS = (AS_IS, REMOVED, MOVED, SWAPPED)
SHARE = "share:"
REDRAWS = 2000


@dataclass(frozen=True)
class _Audit:
    subject: Subject
    marker: str
    masks: Mapping[int, Mask]
    """Row -> the marker's mask, for images that have one."""

    @cached_property
    def rows(self) -> Rows:
        """All images of the split."""
        return self.subject.store.rows(self.subject.split)

    @cached_property
    def marked(self) -> Rows:
        """Those that have the marker."""
        return np.array([row for row in self.rows.tolist() if row in self.masks], np.int64)

    def images(self, rows: Rows, edit: str) -> Tensor:
        """(N, C, ...) after the edit."""
        images = self.subject.images(rows)
        if edit == AS_IS:
            return images
        edited = [
            self._edited(int(row), image, edit)
            for row, image in zip(rows, images.cpu().numpy(), strict=True)
        ]
        return torch.from_numpy(np.stack(edited)).to(images)

    def _edited(self, row: int, image: NDArray[np.float32], edit: str) -> NDArray[np.floating]:
        mask = self.masks.get(row)
        if mask is not None:
            return mirrored(image, mask) if edit == MOVED else erased(image, mask)
        if edit != SWAPPED:
            return image
        donor = int(self.marked[row % len(self.marked)])
        return given(image, self._image(donor), self.masks[donor])

    def _image(self, row: int) -> NDArray[np.floating]:
        image: NDArray[np.floating] = self.subject.images(np.array([row])).cpu().numpy()[0]
        return image


def audit(
    subject: Subject,
    marker: str,
    findings: Sequence[str],
    methods: Mapping[str, Method],
    *,
    track: Track = lambda total, title: lambda done: None,
) -> list[str]:
    """Write `explain/audit.csv`; return, for each branch and finding, what it says.

    Measures are `area` (the marker's share of the picture), `share:<method>` (its share of the
    map's |value|; means over the images that have it), and AUROC over the whole split with the
    marker `as it is`, `removed`, `moved` to the other side and `swapped` (images that have it
    lose it, the others get one), with the differences to the first; 95 % intervals redraw
    patients.

    Raises:
        MedrobustError: the store has no such mask, or none in this split.
    """
    masks = named_masks(subject.store, [marker])
    job = _Audit(subject, marker, {row: mask for row, mask in masks.items() if mask.any()})
    if not len(job.marked):
        raise MedrobustError(
            f"{subject.store.path}: expected masks of {marker} in split {subject.split}, found none"
        )
    steps = len(job.rows) * len(EDITS) + len(job.marked) * len(methods) * len(findings)
    done = track(steps * len(subject.networks), f"{subject.run.path}: audit of {marker}")
    found = []
    for branch, network in subject.networks.items():
        scores = {edit: _scores(job, network, edit, done) for edit in EDITS}
        for finding in findings:
            rows = _shares(job, network, finding, methods, done)
            rows += _aurocs(job, finding, scores)
            found += [{"branch": branch, "finding": finding, **row} for row in rows]
    table = pd.DataFrame(found).assign(store=subject.name, split=subject.split, marker=marker)
    replace_rows(
        subject.folder / "audit.csv", table[COLUMNS], ["store", "split", "finding", "marker"]
    )
    parts = table.groupby(["branch", "finding"], sort=False)
    return [_sentence(str(subject.run.path), part) for _, part in parts]


def _shares(
    job: _Audit,
    network: nn.Module,
    finding: str,
    methods: Mapping[str, Method],
    done: Count,
) -> list[dict[str, object]]:
    """The marker's share of the picture and of each method's map."""
    marked, patients = job.marked, _patients(job, job.marked)
    areas = np.array([job.masks[int(row)].mean() for row in marked])
    rows = [_mean("area", areas, patients)]
    for name, method in methods.items():
        maps = job.subject.maps(network, method, marked, job.subject.column(finding), done)
        shares = [
            mass_inside(one, job.masks[int(row)]) for row, one in zip(marked, maps, strict=True)
        ]
        rows.append(_mean(f"{SHARE}{name}", np.array(shares), patients))
    return rows


def _mean(
    measure: str, values: NDArray[np.float64], patients: NDArray[np.str_]
) -> dict[str, object]:
    known = ~np.isnan(values)
    if not known.any():
        return _row(measure, float("nan"), np.array([np.nan]), 0)
    redrawn = bootstrap([weighted_mean(values[known])], patients[known], REDRAWS)[:, 0]
    return _row(measure, float(values[known].mean()), redrawn, int(known.sum()))


def _aurocs(
    job: _Audit, finding: str, scores: Mapping[str, NDArray[np.float64]]
) -> list[dict[str, object]]:
    """AUROC after each edit, and its difference to that of the unchanged images."""
    column = job.subject.column(finding)
    labels = job.subject.store.labels[job.rows, column]
    statistics: list[Statistic] = [
        weighted_auroc(labels, one[:, column]) for one in scores.values()
    ]
    redrawn = bootstrap(statistics, _patients(job, job.rows), REDRAWS)
    values = [whole(statistic, len(labels)) for statistic in statistics]
    known = int((~np.isnan(labels)).sum())
    rows = []
    for number, edit in enumerate(scores):
        rows.append(_row(f"auroc {edit}", values[number], redrawn[:, number], known))
        if edit != AS_IS:
            gap = redrawn[:, number] - redrawn[:, 0]
            rows.append(_row(f"difference {edit}", values[number] - values[0], gap, known))
    return rows


def _row(measure: str, value: float, redrawn: NDArray[np.float64], count: int) -> dict[str, object]:
    low, high, _ = percentile_interval(redrawn)
    return {"measure": measure, "value": value, "low": low, "high": high, "n": count}


def _scores(job: _Audit, network: nn.Module, edit: str, done: Count) -> NDArray[np.float64]:
    """(N, K) scores of all images of the split after an edit."""
    parts = []
    for batch in _batches(job.rows, job.subject.batch_size):
        with frozen(network):
            logits = full_precision(network(job.images(batch, edit)))
        parts.append(rank_scores(logits, job.subject.store.info.task).cpu().numpy())
        done(len(batch))
    return np.concatenate(parts).astype(np.float64)


def _batches(rows: Rows, size: int) -> list[Rows]:
    return [rows[first : first + size] for first in range(0, len(rows), size)]


def _patients(job: _Audit, rows: Rows) -> NDArray[np.str_]:
    patients = job.subject.store.table["patient_id"].astype(str)
    return patients.to_numpy()[rows].astype(str)


def _sentence(run: str, rows: pd.DataFrame) -> str:
    """What one branch's audit of one finding says, in words."""
    value = dict(zip(rows["measure"], rows["value"], strict=True))
    first, by_name = rows.iloc[0], rows.set_index("measure")
    gap, removed = (by_name.loc[f"difference {edit}"] for edit in (SWAPPED, REMOVED))
    uses_it = gap["high"] < 0 or removed["low"] > 0 or removed["high"] < 0
    share = next((m for m in value if str(m).startswith(SHARE)), "")
    on_it = f"{100 * value[share]:.1f} % of the {share.removeprefix(SHARE)} map" if share else ""
    verdict = "depends on" if uses_it else "cannot be shown to depend on"
    return (
        f"{run}, branch {first['branch']}: {first['finding']} {verdict} {first['marker']}: AUROC "
        f"{value[f'auroc {AS_IS}']:.3f}, {value[f'auroc {REMOVED}']:.3f} without it, "
        f"{value[f'auroc {SWAPPED}']:.3f} where it is exchanged; "
        f"{on_it and f'{on_it} and '}{100 * value['area']:.1f} % of the picture lie on it"
    )

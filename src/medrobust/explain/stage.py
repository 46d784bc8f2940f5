"""The explain stage: maps of a run's model for a store, and their scores against the truth."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from medrobust.data.cases import gallery_rows
from medrobust.data.store import Store
from medrobust.evaluate import Track
from medrobust.explain.baselines import area_scores, centre_prior, edges, random_map
from medrobust.explain.iou_threshold import choose_threshold
from medrobust.explain.localisation import Tolerance, mass_inside, score_map
from medrobust.explain.maps import Maps, maps_path, write_maps
from medrobust.explain.methods import Method, method_named
from medrobust.explain.subject import Rows, Subject
from medrobust.explain.truth import named_masks, spacings, truth_of
from medrobust.files import write_csv
from medrobust.progress import Count
from medrobust.randomness import key

COLUMNS = ["store", "split", "branch", "method", "finding", "image_id", "score", "value"]
UNTRAINED = "untrained"
"""The method name of maps of a network with fresh weights: `untrained:<method>`."""

Masks = Mapping[int, NDArray[np.bool_]]
Source = Callable[[Rows], Maps]
"""Rows of the store -> their maps."""


@dataclass(frozen=True)
class Wanted:
    """Which maps, and what they are scored against."""

    methods: Sequence[str] = ("gradient", "grad-cam")
    findings: Sequence[str] | None = None
    truth: Sequence[str] = ()
    """Names of the masks to find; those of the finding itself if none are given."""
    inside: Sequence[str] = ()
    """Names of masks of which the map's share is told, such as lungs."""
    tolerance: Tolerance = field(default_factory=Tolerance)
    """How far beside the truth still counts as a hit."""


def explain(
    subject: Subject,
    wanted: Wanted | None = None,
    *,
    track: Track = lambda total, title: lambda done: None,
) -> list[str]:
    """Write `explain/maps/...` and `explain/scores.csv`; return what to be warned of.

    Mapped are, per finding, all positive images whose truth is known, and the gallery's. Scores
    stand next to those of maps that know nothing: the truth's area, a centre prior, edges, random
    numbers, and the same network with fresh weights. The threshold of the IoU is chosen for each
    of them on the split val, where its truth is known; there is no IoU otherwise.

    Raises:
        MedrobustError: unknown finding, method or mask.
    """
    wanted = wanted or Wanted()
    methods = {name: method_named(name) for name in wanted.methods}
    findings = subject.chosen(wanted.findings)
    tables: list[pd.DataFrame] = []
    inside = named_masks(subject.store, wanted.inside) if wanted.inside else {}
    for finding in findings:
        truth = _truth(subject.store, finding, wanted.truth)
        job = _Job(subject, wanted, finding, truth, inside, spacings(subject.store))
        tables += _explained(job, methods, track)
    scores = pd.concat(tables, ignore_index=True)
    _write(subject.folder / "scores.csv", scores, subject, findings)
    return list(subject.notes)


@dataclass(frozen=True)
class _Job:
    """One finding."""

    subject: Subject
    wanted: Wanted
    finding: str
    truth: Masks
    inside: Masks
    spacing: NDArray[np.float64] | None
    """(N, axes) mm per pixel of every image of the store."""

    @property
    def share(self) -> str:
        """The score's name of the map's share inside."""
        return f"inside:{'+'.join(self.wanted.inside)}"

    def tolerance(self, row: np.int64) -> Tolerance:
        """How far beside the truth still counts in this image."""
        spacing = None if self.spacing is None else tuple(self.spacing[row].tolist())
        return replace(self.wanted.tolerance, spacing=spacing)

    def scored(self, split: str) -> Rows:
        """The images of a split whose maps are scored."""
        return scored_rows(self.subject.store, split, self.finding, self.truth)


def scored_rows(store: Store, split: str, finding: str, truth: Masks) -> Rows:
    """The positive images of a split whose truth is known; none where the split is empty."""
    inside = (store.table["split"] == split).to_numpy()
    positive = store.table[f"label:{finding}"].to_numpy() == 1
    rows: Rows = np.flatnonzero(inside & positive & np.isin(np.arange(len(inside)), list(truth)))
    return rows


def mapped_rows(store: Store, split: str, finding: str, truth: Masks) -> Rows:
    """The images that get a map, ascending: those that are scored, and the gallery's."""
    return np.union1d(scored_rows(store, split, finding, truth), gallery_rows(store, split))


def _explained(job: _Job, methods: Mapping[str, Method], track: Track) -> Iterator[pd.DataFrame]:
    """Write the maps of one finding, and give the scores of all maps."""
    subject, finding = job.subject, job.finding
    rows = mapped_rows(subject.store, subject.split, finding, job.truth)
    scored, chosen_on = job.scored(subject.split), _validation(job)
    networks = len(methods) * (len(subject.networks) * len(rows) + len(scored))
    networks += len(methods) * (len(subject.networks) + 1) * len(chosen_on)
    done = track(networks, f"{subject.run.path}: maps of {finding}")
    for branch, network in subject.networks.items():
        for name, method in methods.items():
            maps = _maps(job, network, method, rows, done)
            write_maps(maps_path(subject, branch, name, finding), subject.ids(rows), maps)
            chosen = _maps(job, network, method, chosen_on, done)
            yield _scores(job, (branch, name), maps[np.isin(rows, scored)], scored, chosen)
    for name, source in _baselines(job, methods, done).items():
        yield _scores(job, ("", name), source(scored), scored, source(chosen_on))
    yield _area(job, scored)


def _validation(job: _Job) -> Rows:
    """The images on which thresholds are chosen; never those that are scored."""
    return np.zeros(0, np.int64) if job.subject.split == "val" else job.scored("val")


def _maps(job: _Job, network: nn.Module, method: Method, rows: Rows, done: Count) -> Maps:
    """(n, H, W) or (n, D, H, W)."""
    subject, column = job.subject, job.subject.column(job.finding)
    parts = [np.zeros((0, *subject.store.images.shape[2:]), np.float32)]
    for first in range(0, len(rows), subject.batch_size):
        batch = rows[first : first + subject.batch_size]
        parts.append(method(network, subject.images(batch), column).cpu().numpy())
        done(len(batch))
    return np.concatenate(parts)


def _baselines(job: _Job, methods: Mapping[str, Method], done: Count) -> dict[str, Source]:
    """Maps that know nothing of the finding."""
    subject, shape = job.subject, job.subject.store.images.shape[2:]
    prior, fresh = centre_prior(shape).astype(np.float32), subject.untrained()

    def each(rows: Rows, make: Callable[[int], NDArray[np.floating]]) -> Maps:
        made = [make(int(row)) for row in rows]
        return np.array(made, np.float32).reshape(len(rows), *shape)

    def edge(row: int) -> NDArray[np.floating]:
        return edges(subject.images(np.array([row])).cpu().numpy()[0].mean(0))

    def noise(row: int) -> NDArray[np.floating]:
        return random_map(shape, key(0, "random map", *subject.ids(np.array([row]))))

    sources: dict[str, Source] = {
        "centre": lambda rows: np.broadcast_to(prior, (len(rows), *shape)),
        "edge": lambda rows: each(rows, edge),
        "random": lambda rows: each(rows, noise),
    }
    for name, method in methods.items():
        sources[f"{UNTRAINED}:{name}"] = partial(_maps, job, fresh, method, done=done)
    return sources


def _scores(
    job: _Job, source: tuple[str, str], maps: Maps, rows: Rows, chosen: Maps
) -> pd.DataFrame:
    """Every score of every map against the image's truth; empty where not scorable.

    `source` is (branch, method); `chosen` are the maps of the validation images.
    """
    threshold = choose_threshold(chosen, [job.truth[int(row)] for row in _validation(job)])
    values = [
        score_map(one, job.truth[int(row)], job.tolerance(row), threshold)
        | ({job.share: mass_inside(one, job.inside[int(row)])} if int(row) in job.inside else {})
        for row, one in zip(rows, maps, strict=True)
    ]
    return _table(job, source, rows, values)


def _area(job: _Job, rows: Rows) -> pd.DataFrame:
    """What each image's truth gives to a map that knows nothing, by its area alone."""
    values = [area_scores(job.truth[int(row)], job.tolerance(row)) for row in rows]
    for row, one in zip(rows, values, strict=True):
        if not len(_validation(job)):
            one.pop("iou")
        if int(row) in job.inside:
            one[job.share] = float(job.inside[int(row)].mean())
    return _table(job, ("", "area"), rows, values)


def _table(
    job: _Job, source: tuple[str, str], rows: Rows, values: Sequence[Mapping[str, float]]
) -> pd.DataFrame:
    branch, method = source
    subject = job.subject
    return pd.DataFrame(
        [
            (subject.name, subject.split, branch, method, job.finding, identity, score, value)
            for identity, scores in zip(subject.ids(rows), values, strict=True)
            for score, value in scores.items()
        ],
        columns=COLUMNS,
    )


def _truth(store: Store, finding: str, names: Sequence[str]) -> Masks:
    """Where the finding is; nothing where the store says it of no finding."""
    silent = not (store.path / "masks.csv").exists() and store.boxes is None
    return {} if silent and not names else truth_of(store, finding, names)


def _write(path: Path, scores: pd.DataFrame, subject: Subject, findings: Sequence[str]) -> None:
    """Replace the scores of this store, split and these findings; keep the others."""
    if path.is_file():
        older = pd.read_csv(path, dtype="str", keep_default_na=False)  # numbers stay as written
        same = (older["store"] == subject.name) & (older["split"] == subject.split)
        same &= older["finding"].isin(findings)
        scores = pd.concat([older[~same], scores], ignore_index=True)
    write_csv(path, scores)

"""The explain stage: maps of a run's model for a store, and their scores against the truth."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medrobust.data.cases import gallery_rows
from medrobust.data.store import Store
from medrobust.evaluate import Track
from medrobust.explain.baselines import area_scores, centre_prior, random_map
from medrobust.explain.iou_threshold import choose_threshold
from medrobust.explain.localisation import Tolerance, mass_inside, score_map
from medrobust.explain.maps import Maps, maps_folder, maps_path, write_maps
from medrobust.explain.methods import Method, method_named
from medrobust.explain.sanity.reference import edge
from medrobust.explain.subject import Rows, Subject
from medrobust.explain.tables import replace_rows
from medrobust.explain.truth import named_masks, spacings, truth_if_any, truth_of
from medrobust.progress import Count
from medrobust.randomness import key

COLUMNS = ["store", "split", "branch", "method", "finding", "image_id", "score", "value"]
KEYS = ["store", "split", "branch", "method", "finding", "score"]
"""What rows of an earlier call share with those that replace them."""
UNTRAINED = "untrained"
"""The method name of maps of a network with fresh weights: `untrained:<method>`."""
TRUTH_SCORES = ("hit_rate", "mass_accuracy", "rank_accuracy", "auprc", "iou")

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
    all_images: bool = False
    """Maps of every image of the split, as a reader study needs them, not of a few."""

    def score_name(self, score: str) -> str:
        """`hit_rate:10mm@opacity`: what it was measured with is in its name."""
        far = self.tolerance
        unit = "mm" if far.unit == "mm" else "px"
        how = f":{far.distance:g}{unit}" if score == "hit_rate" and far.distance else ""
        against = f"@{'+'.join(self.truth)}" if self.truth else ""
        return f"{score}{how}{against}"

    @property
    def share(self) -> str:
        """The score's name of the map's share inside."""
        return f"inside:{'+'.join(self.inside)}"


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
    inside = named_masks(subject.store, wanted.inside) if wanted.inside else {}
    notes = list(subject.notes)
    for finding in subject.chosen(wanted.findings):
        truth = _truth(subject.store, finding, wanted.truth)
        job = _Job(subject, wanted, finding, truth, inside)
        _write(job, methods, pd.concat(list(_explained(job, methods, track)), ignore_index=True))
        notes += job.notes()
    return list(dict.fromkeys(notes))


@dataclass(frozen=True)
class _Job:
    """One finding."""

    subject: Subject
    wanted: Wanted
    finding: str
    truth: Masks
    inside: Masks

    @cached_property
    def scored(self) -> Rows:
        """The images whose maps are scored: positives with a truth, or a mask to be inside of."""
        return self._positive(self.subject.split, {**self.inside, **self.truth})

    @cached_property
    def validation(self) -> Rows:
        """The images on which thresholds are chosen; never those that are scored."""
        if self.subject.split == "val":
            return np.zeros(0, np.int64)
        return self._positive("val", self.truth)

    @cached_property
    def spacing(self) -> NDArray[np.float64] | None:
        """(N, axes) mm per pixel of every image of the store."""
        return spacings(self.subject.store)

    def tolerance(self, row: int) -> Tolerance:
        """How far beside the truth still counts in this image."""
        spacing = None if self.spacing is None else tuple(self.spacing[row].tolist())
        return replace(self.wanted.tolerance, spacing=spacing)

    def notes(self) -> Iterator[str]:
        """What could not be scored."""
        where = f"{self.subject.store.path}, split {self.subject.split}"
        if not any(row in self.truth for row in self.scored.tolist()):
            yield f"{where}: no truth of {self.finding}; its maps are not scored"
        elif self.wanted.tolerance.unit == "mm" and self.spacing is None:
            yield f"{where}: the size of a pixel is not known; hits within mm are not scored"

    def _positive(self, split: str, masks: Masks) -> Rows:
        return positive_rows(self.subject.store, split, self.finding, masks)


def positive_rows(store: Store, split: str, finding: str, masks: Masks) -> Rows:
    """The positive images of a split that have a mask; none where the split is empty."""
    inside = (store.table["split"] == split).to_numpy()
    positive = store.table[f"label:{finding}"].to_numpy() == 1
    rows: Rows = np.flatnonzero(inside & positive & np.isin(np.arange(len(inside)), list(masks)))
    return rows


def mapped_rows(store: Store, split: str, finding: str, masks: Masks) -> Rows:
    """The images that get a map, ascending: those that are scored, and the gallery's."""
    return np.union1d(positive_rows(store, split, finding, masks), gallery_rows(store, split))


def _explained(job: _Job, methods: Mapping[str, Method], track: Track) -> Iterator[pd.DataFrame]:
    """Write the maps of one finding, and give the scores of all maps."""
    subject, column = job.subject, job.subject.column(job.finding)
    rows = _mapped(job)
    networks, chosen = len(subject.networks), len(job.validation)
    total = networks * (len(rows) + chosen) + len(job.scored) + chosen
    done = track(len(methods) * total, subject.title(f"maps of {job.finding}"))
    for (branch, network), (name, method) in product(subject.networks.items(), methods.items()):
        source = partial(subject.maps, network, method, column=column, done=done)
        maps = source(rows)
        folder = maps_folder(subject.folder, subject.name, subject.split, branch, name)
        write_maps(maps_path(folder, job.finding), subject.ids(rows), maps)
        yield _scores(job, (branch, name), maps[np.isin(rows, job.scored)], source(job.validation))
    for name, give in _baselines(job, methods, done).items():
        yield _scores(job, ("", name), give(job.scored), give(job.validation))
    yield _area(job)


def _mapped(job: _Job) -> Rows:
    """The images that get a map."""
    store, split = job.subject.store, job.subject.split
    if job.wanted.all_images:
        return store.rows(split)
    return mapped_rows(store, split, job.finding, {**job.inside, **job.truth})


def _baselines(job: _Job, methods: Mapping[str, Method], done: Count) -> dict[str, Source]:
    """Maps that know nothing of the finding."""
    subject, column = job.subject, job.subject.column(job.finding)
    shape, fresh = subject.store.images.shape[2:], subject.untrained()
    prior = centre_prior(shape).astype(np.float32)

    def noise(rows: Rows) -> Maps:
        drawn = [random_map(shape, key(0, "random map", name)) for name in subject.ids(rows)]
        return np.array(drawn, np.float32).reshape(len(rows), *shape)

    def untrained(method: Method) -> Source:
        return partial(subject.maps, fresh, method, column=column, done=done)

    return {
        "centre": lambda rows: np.broadcast_to(prior, (len(rows), *shape)),
        "edge": partial(subject.maps, fresh, Method("edge", edge), column=column),
        "random": noise,
        **{f"{UNTRAINED}:{name}": untrained(method) for name, method in methods.items()},
    }


def _scores(job: _Job, source: tuple[str, str], maps: Maps, chosen: Maps) -> pd.DataFrame:
    """Every score of every map against the image's truth; empty where not scorable.

    `source` is (branch, method); `chosen` are the maps of the validation images.
    """
    threshold = choose_threshold(chosen, [job.truth[int(row)] for row in job.validation])

    def measured(row: int, one: NDArray[np.float32]) -> Iterator[tuple[str, float]]:
        if row in job.truth:
            yield from score_map(one, job.truth[row], job.tolerance(row), threshold).items()
        if row in job.inside:
            yield job.wanted.share, mass_inside(one, job.inside[row])

    values = [dict(measured(row, one)) for row, one in zip(job.scored.tolist(), maps, strict=True)]
    return _table(job, source, values)


def _area(job: _Job) -> pd.DataFrame:
    """What each image's truth gives to a map that knows nothing, by its area alone."""

    def measured(row: int) -> Iterator[tuple[str, float]]:
        if row in job.truth:
            found = area_scores(job.truth[row], job.tolerance(row))
            yield from ((k, v) for k, v in found.items() if k != "iou" or len(job.validation))
        if row in job.inside:
            mask = job.inside[row]
            yield job.wanted.share, float(mask.mean()) if mask.any() else float("nan")

    return _table(job, ("", "area"), [dict(measured(row)) for row in job.scored.tolist()])


def _table(
    job: _Job, source: tuple[str, str], values: Sequence[Mapping[str, float]]
) -> pd.DataFrame:
    """One row per image and score, under the scores' full names."""
    subject, (branch, method) = job.subject, source
    names = {score: job.wanted.score_name(score) for score in TRUTH_SCORES}
    return pd.DataFrame(
        [
            (subject.name, subject.split, branch, method, job.finding, identity, name, value)
            for identity, scores in zip(subject.ids(job.scored), values, strict=True)
            for name, value in ((names.get(score, score), v) for score, v in scores.items())
        ],
        columns=COLUMNS,
    )


def _truth(store: Store, finding: str, names: Sequence[str]) -> Masks:
    return truth_of(store, finding, names) if names else truth_if_any(store, finding)


def _write(job: _Job, methods: Mapping[str, Method], scores: pd.DataFrame) -> None:
    """Replace what this call could have scored; everything else stays."""
    subject, names = job.subject, [job.wanted.score_name(score) for score in TRUTH_SCORES]
    sources = [*product(subject.networks, methods)]
    sources += [("", name) for name in ("area", "centre", "edge", "random")]
    sources += [("", f"{UNTRAINED}:{name}") for name in methods]
    gone = [
        (subject.name, subject.split, *source, job.finding, name)
        for source, name in product(sources, names)
    ]
    replace_rows(subject.folder / "scores.csv", scores, KEYS, gone)

"""What a table of scores says: means with intervals, against baselines, and between models.

Tables have the columns of `explain/scores.csv` (`store, split, branch, method, finding, image_id,
score, value`; value NaN = not scorable) and are of one store and split. Patients are redrawn with
all their images; whatever is compared is compared on the same images and the same redraws.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medrobust import statistics
from medrobust.errors import MedrobustError
from medrobust.statistics.resampling import REDRAWS

Patients = Mapping[str, str]
"""Image id -> patient id."""

BASELINES = ("area", "centre", "edge", "random", "untrained")
"""Methods that know nothing. `untrained:<method>` is that method on fresh weights; a baseline
without a branch stands beside every branch."""
ALPHA = 0.05
ROUNDING = 1e-9
CHUNK = 256  # redraws at a time

SUMMARY = (
    *("store", "split", "branch", "method", "finding", "score"),
    *("value", "low", "high", "n", "n_not_scorable"),
)
DIFFERENCE = ("difference", "low", "high", "p", "p_holm", "n")
BASELINE = ("baseline_value", "baseline_low", "baseline_high")
AGAINST = (*SUMMARY[:6], "baseline", *BASELINE, *DIFFERENCE, "wins")
BETWEEN = ("store", "split", "method", "finding", "score", "value_a", "value_b", *DIFFERENCE)

_Floats = NDArray[np.float64]
_Series = tuple[str, str, str]
_SERIES = ["branch", "method", "score"]


def summarise(
    scores: pd.DataFrame, patients: Patients, redraws: int = REDRAWS, seed: int = 0
) -> pd.DataFrame:
    """Mean of each score of each method, with its 95 % interval: columns `SUMMARY`.

    `n` images are scorable and make up the mean, `n_not_scorable` are not. Ends are NaN for a
    mean that is not defined.

    Raises:
        MedrobustError: several stores or splits, a repeated row, or an image without patient.
    """
    rows: list[dict[str, Any]] = []
    for part in _by_finding(scores, patients):
        tests = _means(list(part.values.values()), part.clusters, redraws, seed)
        for series, found in zip(part.values, tests, strict=True):
            left_out = part.counts[series] - found["n"]
            rows.append({**part.names(series), **found, "n_not_scorable": left_out})
    return pd.DataFrame(rows, columns=list(SUMMARY))


def against_baselines(
    scores: pd.DataFrame, patients: Patients, redraws: int = REDRAWS, seed: int = 0
) -> pd.DataFrame:
    """Each method minus each baseline on the same images: columns `AGAINST`.

    The strongest baseline is not known beforehand, and one that is picked by these images looks
    stronger on them than it is. So a method `wins` (1, else 0) if it is better than every
    baseline that the table has, each with a `p_holm` (over the baselines of one branch, method,
    finding and score) of at most 0.05. For p see `sign_flip_p`. `baseline_value` is the baseline's
    mean over those images, with its interval; over all images it could be of other findings.

    Raises:
        MedrobustError: as `summarise`.
    """
    rows: list[dict[str, Any]] = []
    for part in _by_finding(scores, patients):
        pairs = [(one, base) for one in part.values for base in part.baselines(one)]
        values = [(part.values[one], part.values[base]) for one, base in pairs]
        tests = _differences(values, part.clusters, redraws, seed)
        shared = [np.where(np.isnan(one), np.nan, base) for one, base in values]
        means = _means(shared, part.clusters, redraws, seed) if shared else []
        for (one, base), mean, found in zip(pairs, means, tests, strict=True):
            own = dict(zip(BASELINE, (mean["value"], mean["low"], mean["high"]), strict=True))
            rows.append({**part.names(one), "baseline": base[1], **own, **found})
    family = ["finding", *_SERIES]
    table = _with_holm(rows, AGAINST, family)
    table["wins"] = (table["difference"] > 0) & (table["p_holm"] <= ALPHA)
    table["wins"] = table.groupby(family)["wins"].transform("all").astype(int)
    return table


def between_models(
    scores_a: pd.DataFrame,
    scores_b: pd.DataFrame,
    patients: Patients,
    redraws: int = REDRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """Scores of model a minus those of b on the images that both have: columns `BETWEEN`.

    Each table is of one branch (the two may differ). `value_a` and `value_b` are means over the
    `n` images that are scorable in both; for p see `sign_flip_p`; `p_holm` is over the scores and
    findings of a method. Baselines are left out.

    Raises:
        MedrobustError: as `summarise`; several branches of one model, or nothing in common.
    """
    given = [_one_branch(scores_a).assign(branch="a"), _one_branch(scores_b).assign(branch="b")]
    rows: list[dict[str, Any]] = []
    for part in _by_finding(pd.concat(given, ignore_index=True), patients):
        pairs = [(one, ("b", *one[1:])) for one in part.values if one[0] == "a"]
        pairs = [(one, other) for one, other in pairs if other in part.values]
        values = [(part.values[one], part.values[other]) for one, other in pairs]
        tests = _differences(values, part.clusters, redraws, seed)
        for (one, _), (a, b), found in zip(pairs, values, tests, strict=True):
            means = {"value_a": _mean(a[~np.isnan(b)]), "value_b": _mean(b[~np.isnan(a)])}
            rows.append({**part.names(one), **means, **found})
    if not any(row["n"] for row in rows):
        raise MedrobustError(
            "scores: expected two models with the same scores of the same images, found none in "
            "common; explain both on one store, with one method"
        )
    return _with_holm(rows, BETWEEN, ["method"])


def sign_flip_p(
    differences: _Floats, clusters: NDArray[np.str_], redraws: int = REDRAWS, seed: int = 0
) -> _Floats:
    """Two-sided p of "no difference" for each column of paired differences (n, m): (m,).

    A permutation test by patient (`clusters`, (n,)): of two maps that are equally good, either
    could have had the other's score, so that all differences of a patient could have had the other
    sign. p is the share of random signs that give a sum at least as far from 0, the observed
    one among them (Phipson and Smyth 2010). NaN differences are left out; p is NaN without any.
    """
    names, member = np.unique(clusters, return_inverse=True)
    sums = np.zeros((names.size, differences.shape[1]))
    np.add.at(sums, member, np.nan_to_num(differences))
    observed = np.abs(sums.sum(axis=0)) - ROUNDING * np.abs(sums).sum(axis=0)
    generator, extreme = np.random.default_rng(seed), np.ones(sums.shape[1])
    for start in range(0, redraws, CHUNK):
        signs = generator.integers(2, size=(min(CHUNK, redraws - start), names.size)) * 2.0 - 1.0
        extreme += (np.abs(signs @ sums) >= observed).sum(axis=0)
    return np.where(np.isnan(differences).all(axis=0), np.nan, extreme / (redraws + 1))


def _means(
    columns: Sequence[_Floats], clusters: NDArray[np.str_], redraws: int, seed: int
) -> list[dict[str, Any]]:
    """Mean, interval and n of each column (n,), all on the same redraws."""
    means = [statistics.weighted_mean(column) for column in columns]
    redrawn = statistics.bootstrap(means, clusters, redraws, seed)
    rows = []
    for mean, column, values in zip(means, columns, redrawn.T, strict=True):
        low, high, _ = statistics.percentile_interval(values)
        row = {"value": statistics.whole(mean, len(column)), "low": low, "high": high}
        rows.append({**row, "n": int((~np.isnan(column)).sum())})
    return rows


def _differences(
    pairs: Sequence[tuple[_Floats, _Floats]], clusters: NDArray[np.str_], redraws: int, seed: int
) -> list[dict[str, Any]]:
    """Mean difference of each pair of columns (n,), interval, p and n."""
    if not pairs:
        return []
    columns = [first - second for first, second in pairs]
    p_values = sign_flip_p(np.stack(columns, axis=1), clusters, redraws, seed)
    rows = _means(columns, clusters, redraws, seed)
    return [
        {"difference": row.pop("value"), **row, "p": float(p)}
        for row, p in zip(rows, p_values, strict=True)
    ]


@dataclass(frozen=True)
class _Part:
    """The scores of one finding."""

    store: str
    split: str
    finding: str
    values: dict[_Series, _Floats]
    """By branch, method and score: (n,), NaN where not scorable or absent."""
    counts: dict[_Series, int]
    """How many images have a row."""
    clusters: NDArray[np.str_]
    """(n,) patients of the images."""

    def names(self, series: _Series) -> dict[str, str]:
        """The first columns of a row."""
        identity = {"store": self.store, "split": self.split, "finding": self.finding}
        return identity | dict(zip(_SERIES, series, strict=True))

    def baselines(self, one: _Series) -> list[_Series]:
        """What a method is held against; nothing if it is a baseline itself."""
        branch, method, score = one
        wanted = {name for base in BASELINES for name in (base, f"{base}:{method}")}
        return [
            other
            for other in self.values
            if not _is_baseline(method) and other[1] in wanted
            if other[0] in ("", branch) and other[2] == score
        ]


def _by_finding(scores: pd.DataFrame, patients: Patients) -> Iterator[_Part]:
    for names, part in _checked(scores).groupby(["store", "split", "finding"], sort=False):
        wide = part.pivot(index="image_id", columns=_SERIES, values="value")
        series: list[Any] = wide.columns.to_list()
        values = dict(zip(series, wide.to_numpy(np.float64).T, strict=True))
        counts = dict(zip(series, part.groupby(_SERIES).size()[series].tolist(), strict=True))
        store, split, finding = (str(name) for name in names)
        yield _Part(store, split, finding, values, counts, _clusters(wide.index, patients))


def _checked(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores, branches without a name as empty text."""
    places = scores[["store", "split"]].drop_duplicates().to_numpy().tolist()
    if len(places) > 1:
        there = ", ".join(f"{store}/{split}" for store, split in places)
        raise MedrobustError(
            f"scores: expected those of one store and split, found {there}; choose one"
        )
    scores = scores.assign(branch=scores["branch"].fillna(""))
    repeated = scores.duplicated(["finding", "image_id", *_SERIES])
    if repeated.any():
        row = scores[repeated].iloc[0]
        raise MedrobustError(
            f"scores: expected one row for each image, found several of {row['method']}, "
            f"{row['finding']}, {row['score']}, image {row['image_id']}; explain again"
        )
    return scores


def _clusters(images: Iterable[str], patients: Patients) -> NDArray[np.str_]:
    """The patient of each image."""
    missing = [image for image in images if image not in patients]
    if missing:
        raise MedrobustError(
            f"patients: expected one for every image, found none for {len(missing)} of them, such "
            f"as {missing[0]}; take them from the store that was explained"
        )
    return np.array([patients[image] for image in images], str)


def _one_branch(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores without those of baselines."""
    real = _checked(scores[[not _is_baseline(method) for method in scores["method"]]])
    branches = list(dict.fromkeys(real["branch"]))
    if len(branches) > 1:
        raise MedrobustError(
            f"scores: expected one branch of each model, found {', '.join(branches)}; choose one"
        )
    return real


def _mean(values: _Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _is_baseline(method: str) -> bool:
    return method.split(":")[0] in BASELINES


def _with_holm(
    rows: Sequence[dict[str, Any]], columns: Sequence[str], family: list[str]
) -> pd.DataFrame:
    """The rows with adjusted p values, over those that agree in `family`."""
    table = pd.DataFrame(rows, columns=list(columns))
    adjusted = table.astype({"p": float}).groupby(family)["p"].transform(statistics.holm)
    return table.assign(p_holm=adjusted)

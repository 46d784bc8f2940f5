"""Counterfactuals: what a model would have to see to decide otherwise, and what that is worth."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medrobust.files import file_name
from medrobust.report import pictures, text
from medrobust.report.arrays import arrays_of
from medrobust.report.csv_rows import read_rows
from medrobust.report.figures import Style
from medrobust.report.material import Material
from medrobust.report.read import Run
from medrobust.report.tables import Cell, Group, Row, Table
from medrobust.report.terms import Arm

WORDS = [*("store", "split", "branch", "finding", "direction", "image_id", "other", "reason")]
VALUES = [
    *("p", "level", "radius", "probability_before", "probability_after", "threshold", "valid"),
    *("valid_on_other", "l2", "linf", "changed", "top", "robust", "other_robust"),
]
PARTS = ("start", "end", "path", "scores")
"""Arrays with a row for each image."""
DIRECTIONS = {"towards": "made to appear", "away": "made to vanish"}
MOST_FINDINGS = 4
"""Of which cases are shown; each has one in which it appears and one in which it vanishes."""
SIDE = 224

Arrays = Mapping[str, NDArray[np.floating]]


@dataclass(frozen=True)
class Stop:
    """A picture on the way."""

    picture: str
    words: str
    """`step 6, p 0.61`."""


@dataclass(frozen=True)
class Panel:
    """What one model was shown to decide otherwise; pictures are data addresses."""

    arm: Arm
    style: Style
    end: str
    difference: str
    limit: str
    """The change where the colours end."""
    before: str
    after: str
    verdict: str
    way: Sequence[Stop]


@dataclass(frozen=True)
class Case:
    """One image, and how each model would have to see it."""

    heading: str
    """`pneumonia made to appear`."""
    image_id: str
    width: int
    height: int
    picture: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Counterfactuals:
    """The section of a report."""

    cases: Sequence[Case]
    table: Table
    warnings: Sequence[str]
    """Of branches that are not robust."""
    volumes: bool
    bar: str


@dataclass(frozen=True)
class _Made:
    """The counterfactuals of one model and seed."""

    arm: Arm
    run: Run
    style: Style
    rows: pd.DataFrame

    def of(self, finding: str, direction: str = "") -> pd.DataFrame:
        rows = self.rows[self.rows["finding"] == finding]
        return rows[rows["direction"] == direction] if direction else rows


def counterfactual_section(material: Material) -> Counterfactuals | None:
    """What `explain --counterfactual` has left behind; None without any.

    Pictures are of the first seed of every model; the table has all seeds.

    Raises `MedrobustError` for files that are no such tables or pictures.
    """
    made = _read_all(material)
    if not made:
        return None
    findings = list(dict.fromkeys(name for one in made for name in one.rows["finding"]))
    shown = list({one.arm: one for one in reversed(made)}.values())[::-1]
    found = [case for finding in findings[:MOST_FINDINGS] for case in _cases(shown, finding)]
    return Counterfactuals(
        [case for case, _ in found],
        _table(made, findings),
        _warnings(shown),
        any(volume for _, volume in found),
        pictures.data_uri(pictures.colour_bar()),
    )


def _read_all(material: Material) -> list[_Made]:
    where = material.numbers.evaluation
    made = []
    for arm, run in material.models():
        rows = read_rows(run.path / "explain" / "counterfactuals.csv", WORDS, VALUES)
        same = (rows["store"] == where.store) & (rows["split"] == where.split)
        rows = rows[same & (rows["branch"] == arm.branch)]
        if len(rows):
            made.append(_Made(arm, run, material.looks[arm], rows))
    return made


def _cases(shown: Sequence[_Made], finding: str) -> Iterator[tuple[Case, bool]]:
    """The first image of each direction; and whether it is a volume."""
    arrays = {one.arm: _arrays(one, finding) for one in shown}
    for direction, words in DIRECTIONS.items():
        own = {one.arm: one.of(finding, direction) for one in shown}
        named = [name for rows in own.values() for name in rows["image_id"]]
        drawn = [name for name in named if any(name in found for found in arrays.values())]
        if not drawn:
            continue
        name = drawn[0]
        panels = [
            _panel(one, row, arrays[one.arm][name])
            for one in shown
            if name in arrays[one.arm]
            for _, row in own[one.arm][own[one.arm]["image_id"] == name].iterrows()
        ]
        start = next(found[name]["start"] for found in arrays.values() if name in found)
        small = _small(start)
        height, width = small.shape[-2:]
        heading = f"{finding} {words}"
        picture = pictures.snapshot(small)
        yield Case(heading, name, width, height, picture, panels), start.ndim == 4


def _arrays(one: _Made, finding: str) -> dict[str, Arrays]:
    """Image id -> `start`, `end`, `path`, `scores`, `steps`; empty without a file."""
    row = one.rows.iloc[0]
    folder = one.run.path / "explain" / "counterfactuals" / row["store"] / row["split"]
    file = folder / one.arm.branch / f"{file_name(finding)}.npz"
    if not file.is_file():
        return {}
    images: dict[str, Arrays] = {}
    with arrays_of(file, "counterfactuals") as found:
        parts, steps = zip(*(found[name] for name in PARTS), strict=True), found["steps"]
        for name, part in zip(found["image_id"], parts, strict=True):
            images[str(name)] = {"steps": steps, **dict(zip(PARTS, part, strict=True))}
    return images


def _panel(one: _Made, row: "pd.Series[float]", found: Arrays) -> Panel:
    change = pictures.plane(found["end"] - found["start"], found["end"].ndim - 1).mean(0)
    shown = pictures.fit(change, SIDE)
    return Panel(
        one.arm,
        one.style,
        pictures.snapshot(_small(found["end"])),
        pictures.data_uri(pictures.saliency(shown)),
        f"{pictures.saliency_limit(shown):#.2g}",
        text.number(row["probability_before"], 2),
        text.number(row["probability_after"], 2),
        _verdict(row),
        list(_way(found)),
    )


def _way(found: Arrays) -> Iterator[Stop]:
    """Pictures between start and end."""
    probabilities = 1 / (1 + np.exp(-found["scores"].astype(np.float64)))
    stops = zip(found["steps"], probabilities, found["path"], strict=True)
    for step, probability, picture in list(stops)[1:-1]:
        words = f"step {step}, p {text.number(float(probability), 2)}"
        yield Stop(pictures.snapshot(_small(picture)), words)


def _small(image: NDArray[np.floating]) -> NDArray[np.float32]:
    """(C, H, W) of an image or of a volume's middle slice."""
    flat = pictures.plane(image.astype(np.float32), image.ndim - 1)
    return pictures.fit(flat, SIDE).astype(np.float32)


def _verdict(row: "pd.Series[float]") -> str:
    cut = f"(threshold {text.number(row['threshold'], 2)})"
    if np.isnan(row["valid"]):
        words = f"decided so before {cut}"
    else:
        words = f"decision {'changed' if row['valid'] else 'not changed'} {cut}"
    if np.isnan(row["valid_on_other"]):
        return words
    return f"{words}; the other model {'agrees' if row['valid_on_other'] else 'does not agree'}"


def _table(made: Sequence[_Made], findings: Sequence[str]) -> Table:
    groups = [
        Group(
            finding,
            [
                Row(one.arm.label, _cells(rows), f"seed {one.run.seed}", one.style)
                for one in made
                if len(rows := one.of(finding))
            ],
        )
        for finding in findings
    ]
    columns = [
        *("Finding and model", "Images", "Decision changed", "On the other model"),
        *("Distance (l2)", "Largest change", "Pixels changed", "In the top 5\N{NO-BREAK SPACE}%"),
    ]
    return Table(_caption(made), columns, groups)


def _cells(rows: pd.DataFrame) -> list[Cell]:
    return [
        Cell(text.count(len(rows))),
        _share(rows["valid"]),
        _share(rows["valid_on_other"]),
        Cell(text.number(rows["l2"].mean(), 2)),
        Cell(text.number(rows["linf"].mean(), 2)),
        Cell(text.percent(rows["changed"].mean())),
        Cell(text.percent(rows["top"].mean()) if rows["top"].notna().any() else text.DASH),
    ]


def _share(values: "pd.Series[float]") -> Cell:
    """`75 %` above `6 of 8`, of those that can be told."""
    known = values.dropna()
    if known.empty:
        return Cell(text.DASH)
    return Cell(text.percent(known.mean()), f"{known.sum():.0f} of {len(known)}")


def _caption(made: Sequence[_Made]) -> str:
    rows = pd.concat([one.rows for one in made])
    asked = rows[["p", "level"]].drop_duplicates().itertuples(index=False)
    balls = [
        f"p = {p:g} with a mean change of {text.epsilon(level)} per pixel" for p, level in asked
    ]
    others = sorted(set(rows["other"]) - {""})
    judge = f" The other model is {text.enumeration(list(map(_spoken, others)))}." if others else ""
    return (
        f"Images changed within a ball of the norm l_p, {text.enumeration(balls)}. Decisions that "
        f"were as wanted before are not counted; distances are means.{judge}"
    )


def _warnings(shown: Sequence[_Made]) -> list[str]:
    unsound = sorted({o for one in shown for o in one.rows["other"][one.rows["other_robust"] == 0]})
    return [
        f"The pictures of {one.arm.phrase} mean little: it is not robust "
        f"({one.rows['reason'].iloc[0]}), and what changes its decisions need not be anything "
        "that a person can see."
        for one in shown
        if (one.rows["robust"] == 0).any()
    ] + [
        f"The other model, {_spoken(name)}, is not robust: that it agrees shows little, since "
        "noise that misleads one network misleads others like it."
        for name in unsound
    ]


def _spoken(other: str) -> str:
    """`the adversarial branch of dual (seed 0)`, from `dual/0/adv`."""
    name, *rest = other.rsplit("/", 2)
    return f"{Arm(name, rest[-1], '').phrase} (seed {rest[0]})" if len(rest) == 2 else other

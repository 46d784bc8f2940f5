"""What of a data set goes into a store, and under which labels.

Nothing is left out silently: each function returns how many rows it left out and why.
"""

import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from medrobust.data.rules import parse_rule
from medrobust.data.source import Task
from medrobust.data.table import LABEL, class_numbers, examples, findings_of, label_columns
from medrobust.data.vocabulary import same_finding
from medrobust.errors import MedrobustError

LeftOut = dict[str, int]
"""Reason -> number of rows."""

UNCERTAIN = {"zeros": 0.0, "ones": 1.0, "ignore": np.nan}
"""What becomes of an uncertain label, -1: U-Zeros, U-Ones and U-Ignore of Irvin et al. 2019."""
VIEWS = {"frontal": {"ap", "pa", "frontal"}, "lateral": {"lateral", "ll", "rl"}}


@dataclass(frozen=True)
class Selection:
    """Which rows and labels of a data set are wanted; all, if nothing is said."""

    findings: tuple[str, ...] | None = None
    """Names or aliases, in the order wanted."""
    uncertain: str = "ignore"
    """`zeros`, `ones` or `ignore` (unknown)."""
    uncertain_of: Mapping[str, str] = field(default_factory=dict)
    """Finding -> policy, where it differs."""
    views: tuple[str, ...] | None = None
    """Such as PA; `frontal` and `lateral` stand for all of their kind."""
    fraction: float = 1.0
    """Share of the patients, in every split; the images of a share are part of a larger one's."""
    balance: bool = False
    """Thin train out until every class has as many images as the rarest one."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Name -> rule of a derived label; see `rules`."""
    exclusive: bool | None = None
    """Whether the derived labels exclude each other."""
    own_split: bool = False
    """Forget the data set's split, so that patients are divided anew."""

    def __post_init__(self) -> None:
        for policy in (self.uncertain, *self.uncertain_of.values()):
            if policy not in UNCERTAIN:
                raise MedrobustError(
                    f"uncertain labels: expected {', '.join(UNCERTAIN)}, found {policy!r}"
                )
        if not 0 < self.fraction <= 1:
            raise MedrobustError(f"fraction must be above 0 and at most 1, got {self.fraction}")


def select(
    table: pd.DataFrame, task: Task, selection: Selection, seed: int
) -> tuple[pd.DataFrame, Task, list[str], LeftOut]:
    """Apply all of a selection that comes before the split.

    Returns the table, its task, what is to be known, and the rows left out.

    Raises:
        MedrobustError: a finding, view or column that the data set does not have.
    """
    left_out: LeftOut = {}
    if selection.own_split:
        table = table.drop(columns="split", errors="ignore")
    table = _keep(table, _of_views(table, selection.views), left_out)
    table = _keep(table, _of_patients(table, selection.fraction, seed), left_out)
    table, notes = _settled(table, selection)
    derived = {LABEL + name: _derived(table, name, rule) for name, rule in selection.labels.items()}
    names = _wanted(findings_of(table), selection)
    if task == "exclusive" and selection.findings is not None and not derived:
        table = _keep(table, _of_classes(table, names), left_out)
    labels = table[[LABEL + name for name in names]]
    rest = table.drop(columns=label_columns(table))
    table = pd.concat([rest, labels.assign(**derived)], axis=1).reset_index(drop=True)
    if derived:
        task = "exclusive" if selection.exclusive else "multilabel"
        table = _unknown_rows(table) if task == "exclusive" else table
    elif selection.exclusive:
        task = "exclusive"
    return table, task, notes, left_out


def balance(table: pd.DataFrame, task: Task, seed: int) -> tuple[pd.DataFrame, LeftOut]:
    """Thin the training split out until every class has as many images as the rarest one.

    Which ones stay is decided by a hash of the image id. Images of unknown class are left out.

    Raises:
        MedrobustError: several findings that may occur together, which have no classes.
    """
    classes = class_numbers(table[label_columns(table)].to_numpy(float), task, "balance")
    train = (table["split"] == "train").to_numpy()
    counts = pd.Series(classes[train & (classes >= 0)]).value_counts()
    if len(counts) < 2:
        raise MedrobustError("balance: expected at least two classes in train, found fewer")
    places = np.array([_place(str(image), "balance", seed) for image in table["image_id"]])
    rank = pd.Series(places).groupby([train, classes]).rank(method="first").to_numpy()
    stays = ~train | ((classes >= 0) & (rank <= counts.min()))
    unknown = int((train & (classes < 0)).sum())
    left_out = {"class is unknown (balance)": unknown} if unknown else {}
    thinned = int((~stays).sum()) - unknown
    if thinned:
        left_out["more of a class than of the rarest (balance)"] = thinned
    return table[stays].reset_index(drop=True), left_out


def _keep(table: pd.DataFrame, reasons: "pd.Series[Any] | None", left_out: LeftOut) -> pd.DataFrame:
    """Return the rows without a reason to leave them out; count the others by reason."""
    if reasons is None:
        return table
    for reason, count in reasons[reasons != ""].value_counts(sort=False).items():
        left_out[str(reason)] = left_out.get(str(reason), 0) + int(count)
    kept = table[(reasons == "").to_numpy()].reset_index(drop=True)
    if not len(kept):
        raise MedrobustError(f"nothing is left: {', '.join(left_out)}")
    return kept


def _of_views(table: pd.DataFrame, views: tuple[str, ...] | None) -> "pd.Series[Any] | None":
    if views is None:
        return None
    if "view" not in table:
        raise MedrobustError("the data set does not know the views of its images")
    found = table["view"].fillna("").astype(str).str.strip()
    folded = found.str.casefold()
    wanted: set[str] = set()
    for view in views:
        meant = VIEWS.get(view.casefold(), {view.casefold()})
        if not folded.isin(meant).any():
            there = sorted(set(found) - {""})
            raise MedrobustError(f"no image has view {view!r}: there are {examples(there)}")
        wanted |= meant
    reasons = ("view is " + found).where(found != "", "view is unknown")
    return reasons.where(~folded.isin(wanted), "")


def _of_patients(table: pd.DataFrame, fraction: float, seed: int) -> "pd.Series[Any] | None":
    if fraction == 1:
        return None
    ids = table["image_id"]
    if "patient_id" in table:
        ids = table["patient_id"].where(table["patient_id"].notna(), ids)
    codes, unique = pd.factorize(ids)
    places = np.array([_place(str(patient), "fraction", seed) for patient in unique])[codes]
    return pd.Series(np.where(places < fraction, "", f"not in the {fraction:g} of the patients"))


def _settled(table: pd.DataFrame, selection: Selection) -> tuple[pd.DataFrame, list[str]]:
    """Turn uncertain labels (-1) into what the policy says, and say how many."""
    findings = findings_of(table)
    named = {_find(name, findings): policy for name, policy in selection.uncertain_of.items()}
    counts: dict[str, int] = {}
    settled = {}
    for finding in findings:
        labels = table[LABEL + finding]
        uncertain = (pd.to_numeric(labels, errors="coerce") == -1).to_numpy()
        if uncertain.any():
            policy = named.get(finding, selection.uncertain)
            counts[policy] = counts.get(policy, 0) + int(uncertain.sum())
            settled[LABEL + finding] = labels.astype(float).mask(uncertain, UNCERTAIN[policy])
    became = {"zeros": "negative", "ones": "positive", "ignore": "unknown"}
    notes = [f"{count} uncertain labels count as {became[p]}" for p, count in counts.items()]
    return table.assign(**settled), notes


def _derived(table: pd.DataFrame, name: str, text: str) -> "pd.Series[float]":
    findings = findings_of(table)

    def column(wanted: str) -> "pd.Series[Any]":
        near = [finding for finding in findings if same_finding(finding, wanted)]
        if near:
            return table[LABEL + near[0]]
        if wanted not in table:
            there = [c for c in table.columns if not c.startswith(LABEL)] + findings
            raise MedrobustError(f"there is no column {wanted!r}: there are {', '.join(there)}")
        return table[wanted]

    try:
        return parse_rule(text).evaluate(column)
    except MedrobustError as error:
        raise MedrobustError(f"label {name}={text}: {error}") from error


def _wanted(findings: list[str], selection: Selection) -> list[str]:
    if selection.findings is not None:
        return [_find(name, findings) for name in selection.findings]
    return [] if selection.labels else findings


def _find(name: str, findings: list[str]) -> str:
    """The data set's own word for a finding."""
    for finding in findings:
        if same_finding(name, finding):
            return finding
    near = difflib.get_close_matches(name, findings, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ":"
    raise MedrobustError(f"there is no finding {name!r}{hint} there are {', '.join(findings)}")


def _of_classes(table: pd.DataFrame, names: list[str]) -> "pd.Series[Any]":
    columns = label_columns(table)
    others = [column for column in columns if column.removeprefix(LABEL) not in names]
    return pd.Series(
        np.where((table[others] == 1).any(axis=1), "class is not one of those asked for", "")
    )


def _unknown_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Empty the labels of rows to which no exclusive class, or an unknown one, belongs."""
    columns = label_columns(table)
    unknown = table[columns].isna().any(axis=1) | (table[columns].sum(axis=1) == 0)
    return table.assign(**{column: table[column].mask(unknown) for column in columns})


def _place(name: str, purpose: str, seed: int) -> float:
    digest = hashlib.blake2b(f"{purpose}:{seed}:{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64

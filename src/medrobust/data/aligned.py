"""A store seen through the findings of a model that was trained on another one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from medrobust.data.source import Task
from medrobust.data.store import Store
from medrobust.data.table import LABEL, label_columns
from medrobust.data.vocabulary import same_finding
from medrobust.errors import MedrobustError


@dataclass(frozen=True)
class Aligned:
    """A store whose label columns are the model's findings, in the model's order."""

    store: Store
    missing: tuple[str, ...] = ()
    """The model's findings that the store has no labels of: unknown in every image."""
    notes: tuple[str, ...] = ()
    """What was left out, on either side."""


def align(store: Store, findings: Sequence[str], task: Task) -> Aligned:
    """Match a store's findings to a model's, by name or alias (`vocabulary.same_finding`).

    Raises:
        MedrobustError: they share none, or exclusive classes are not the same ones.
    """
    if store.findings == list(findings):
        return Aligned(store)
    own = {finding: _own(finding, store) for finding in findings}
    shared = {finding: name for finding, name in own.items() if name is not None}
    missing = tuple(finding for finding in findings if finding not in shared)
    unused = [name for name in store.findings if name not in shared.values()]
    both = f"the model has {', '.join(findings)}; {store.path} has {', '.join(store.findings)}"
    if not shared:
        raise MedrobustError(f"expected a finding that model and store share: {both}")
    if "exclusive" in (task, store.info.task) and (missing or unused):
        raise MedrobustError(f"expected the same exclusive classes in model and store: {both}")
    columns = {
        LABEL + finding: store.table[LABEL + name] if (name := own[finding]) is not None else np.nan
        for finding in findings
    }
    rest = store.table.drop(columns=label_columns(store.table))
    table = pd.concat([rest, pd.DataFrame(columns, index=rest.index)], axis=1)
    notes = [
        f"left out, since the store has no labels of them: {', '.join(missing)}",
        f"left out, since the model does not know them: {', '.join(unused)}",
    ]
    said = tuple(note for note, names in zip(notes, (missing, unused), strict=True) if names)
    return Aligned(replace(store, table=table, aligned=True), missing, said)


def _own(finding: str, store: Store) -> str | None:
    """The store's word for a finding; its very name goes before an alias."""
    if finding in store.findings:
        return finding
    return next((name for name in store.findings if same_finding(name, finding)), None)

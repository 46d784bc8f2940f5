"""Do conditions differ by ranks alone: the rows of `friedman.csv` and `wilcoxon.csv`."""

from typing import get_args

import numpy as np

from medrobust.study.analysis.effects import Rows, rated
from medrobust.study.analysis.read import Study
from medrobust.study.statistics.layout import pivoted
from medrobust.study.statistics.ranks import Unit, as_blocks, friedman, signed_rank_pairs


def ranks(study: Study, question: str, column: str) -> tuple[Rows, Rows, list[str]]:
    """Friedman's test and Wilcoxon's for each pair, with readings, cases and readers as blocks.

    Nothing where a condition has no answers, or there is only one; a note where no reader judged
    a case under two conditions, as in studies that show every case once.
    """
    rows = rated(study, column)
    keys = [rows[name].to_numpy() for name in ("reader", "case", "condition")]
    if rows["condition"].nunique() < 2 or rows["condition"].nunique() < len(study.conditions):
        return [], [], []
    table, _ = pivoted(rows["value"], keys)
    if not ((~np.isnan(table)).sum(axis=2) > 1).any():
        return (
            [],
            [],
            [f"{question}: no rank tests, as no reader judged a case under two conditions"],
        )
    tests: Rows = []
    pairs: Rows = []
    for unit in get_args(Unit):
        blocks = as_blocks(table, unit)
        where = {"study": study.name, "question": question, "blocks_are": unit}
        found = friedman(blocks)._asdict()
        means = zip(study.conditions, found.pop("mean_ranks"), strict=True)
        tests.append({**where, **found, **{f"mean rank {name}": rank for name, rank in means}})
        for one in signed_rank_pairs(blocks):
            first, second = study.conditions[one.first], study.conditions[one.second]
            pairs.append({**where, **one._asdict(), "first": first, "second": second})
    return tests, pairs, []

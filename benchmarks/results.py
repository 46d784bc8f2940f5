"""What the scripts behind docs/results.md share: reading runs, tables, the page's marked parts."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medrobust.comparison import paired_comparison
from medrobust.metrics import read_metrics
from medrobust.predictions import read_predictions

PAGE = Path("docs/results.md")
MODELS = (
    ("standard", "single"),
    ("adversarial", "single"),
    ("dual", "clean"),
    ("dual", "adv"),
)
COLOURS = dict(zip(MODELS, ("#4c566a", "#b4522e", "#2e7d9a", "#123f63"), strict=True))
LABELS = {
    ("standard", "single"): "standard",
    ("adversarial", "single"): "adversarial",
    ("dual", "clean"): "dual, clean branch",
    ("dual", "adv"): "dual, adversarial branch",
}


def replace_part(page: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- NAME: begin -->` and `<!-- NAME: end -->`."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    content = page.read_text(encoding="utf-8")
    if begin not in content or end not in content:
        raise SystemExit(f"{page}: expected the lines {begin} and {end}")
    before, _, rest = content.partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def rows_of(run: Path, **wanted: Any) -> pd.DataFrame:
    """Rows of the run's metrics in which these columns have these values (floats: nearly)."""
    rows = _metrics(run)
    for column, value in wanted.items():
        given = rows[column]
        rows = rows[np.isclose(given, value, rtol=1e-4) if column == "eps" else given == value]
    return rows


def macro_auroc(run: Path, branch: str, attack: str = "", **wanted: Any) -> dict[str, Any]:
    """One row: test AUROC with its bootstrap interval; attacks are those on the branch itself."""
    own = {"attacked_branch": branch} if attack not in ("", "noise-control") else {}
    rows = rows_of(
        run,
        **{"branch": branch, "attack": attack, "finding": "macro", "metric": "auroc"},
        **{"interval": "bootstrap", "group": "all", "split": "test", "checkpoint": "best"},
        **(own | wanted),
    )
    (row,) = rows.to_dict("records")
    return row


def over_seeds(rows: Sequence[dict[str, Any]]) -> str:
    """Mean ± SD over seeds, and below it the first seed with its interval."""
    first = f"{rows[0]['value']:.3f} ({rows[0]['low']:.3f}–{rows[0]['high']:.3f})"
    if len(rows) == 1:
        return first
    numbers = [row["value"] for row in rows]
    return f"{np.mean(numbers):.3f} ± {np.std(numbers, ddof=1):.3f}<br>{first}"


def difference(
    runs: tuple[Path, Path], rows: tuple[dict[str, Any], dict[str, Any]], table: pd.DataFrame
) -> tuple[str, float]:
    """AUROC of the first minus the second on the same images, in words; and DeLong's p."""
    first, second = (
        read_predictions(run / "predictions" / f"{row['predictions']}.csv").frame
        for run, row in zip(runs, rows, strict=True)
    )
    found = paired_comparison(first, second, table).iloc[0]  # of the one finding
    p = "p < 0.001" if found["p_delong"] < 0.001 else f"p = {found['p_delong']:.3f}"
    interval = f"({found['low']:+.3f} to {found['high']:+.3f})"
    return f"{found['difference']:+.3f} {interval}, {p}", float(found["p_delong"])


def provenance(run: Path) -> dict[str, Any]:
    """What `provenance.json` says."""
    return dict(json.loads((run / "provenance.json").read_text(encoding="utf-8")))


def receipt(run: Path, stem: str) -> dict[str, Any]:
    """What a receipt says."""
    return dict(json.loads((run / "receipts" / f"{stem}.json").read_text(encoding="utf-8")))


def fraction(eps: float) -> str:
    """`4/255`."""
    return f"{255 * eps:.3g}/255"


@cache
def _metrics(run: Path) -> pd.DataFrame:
    return read_metrics(run / "metrics.csv")

"""Tables that several calls write together."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from medrobust.errors import MedrobustError
from medrobust.files import write_csv


def replace_rows(
    path: Path, table: pd.DataFrame, keys: Sequence[str], gone: Iterable[tuple[str, ...]] = ()
) -> None:
    """Add rows to a table; older ones stay where no new row has the same `keys`.

    Older rows with keys in `gone` go in any case.

    Raises:
        MedrobustError: the older table has other columns, or is damaged.
    """
    if path.is_file():
        # numbers stay as they were written
        older = _as_text(path, table.columns.astype(str).tolist())
        new = set(map(tuple, table[list(keys)].astype(str).to_numpy())) | set(gone)
        kept = [tuple(row) not in new for row in older[list(keys)].to_numpy()]
        table = pd.concat([older[kept], table], ignore_index=True)
    write_csv(path, table)


def _as_text(path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        older = pd.read_csv(path, dtype="str", keep_default_na=False)
        if older.columns.tolist() != columns:
            raise ValueError(f"columns {', '.join(map(str, older))}")
    except ValueError as error:
        raise MedrobustError(
            f"{path}: expected columns {', '.join(columns)}, found {str(error).splitlines()[0]}; "
            "remove it and run `explain` again"
        ) from error
    return older

"""Reading what stages beside the evaluation have written into a run's folder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from medrobust.errors import MedrobustError


def read_rows(file: Path, texts: Sequence[str], numbers: Sequence[str]) -> pd.DataFrame:
    """A table as text and as numbers (empty: NaN); without rows where there is no such file.

    Raises `MedrobustError` where columns are missing or numbers are none.
    """
    columns = [*texts, *numbers]
    if not file.is_file():
        return pd.DataFrame(columns=columns).astype(dict.fromkeys(numbers, float))
    try:
        table = pd.read_csv(file, dtype="str", keep_default_na=False)
        values = {name: [float(x) if x else np.nan for x in table[name]] for name in numbers}
        return table[columns].assign(**values)
    except (ValueError, KeyError) as error:
        raise MedrobustError(
            f"{file}: expected a table with columns {', '.join(columns)}, found another; run "
            "`explain` again"
        ) from error

"""Arguments that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from medrobust.errors import MedrobustError

if TYPE_CHECKING:
    from medrobust.data.store import Store
    from medrobust.rundir import RunDir

Runs = Annotated[list[Path], typer.Argument(help="runs/NAME/SEED, or runs/NAME: all seeds.")]
OtherStore = Annotated[
    Path | None, typer.Option("--store", help="Other images than those of the training.")
]
Split = Annotated[str, typer.Option(help="train, val or test.")]
Checkpoint = Annotated[str, typer.Option(help="best, last or epoch-NNNN.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps ...")]


def open_runs(runs: list[Path], store: Path | None) -> "tuple[list[RunDir], Store | None]":
    """The runs at these paths, and the other store, if there is one."""
    from medrobust.data.store import open_store
    from medrobust.rundir import find_runs

    return find_runs(runs), open_store(store) if store else None


def one_of(value: str, names: Any, option: str) -> Any:
    """The value, if it is one of a literal type's names.

    Raises:
        MedrobustError: it is not.
    """
    known = get_args(names)
    if value not in known:
        raise MedrobustError(f"{option}: expected one of {', '.join(known)}, found {value!r}")
    return value

"""`medrobust study analyse`."""

from pathlib import Path
from typing import Annotated

import typer

from medrobust.cli.console import console, warn
from medrobust.progress import progress_bars


def analyse(
    study: Annotated[Path, typer.Argument(help="The folder of a study.")],
    out: Annotated[
        Path | None, typer.Option(help="A folder for the results; STUDY/analysis if not given.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="Leave this reader out; repeat.")
    ] = None,
    despite_faults: Annotated[
        bool, typer.Option("--despite-faults", help="Go on where answers do not verify.")
    ] = False,
) -> None:
    """Open the key and analyse the answers: tables, figures, a paragraph and a page.

    Readers must not see the folder: it says which model made what.

    \b
    medrobust study analyse studies/maps
    medrobust study analyse studies/maps --out analysis --without reader-3
    """
    from medrobust.study.analysis.analyse import analyse as run_analysis

    target = out or study / "analysis"
    with progress_bars(console) as bars:
        notes = run_analysis(
            study, target, despite_faults=despite_faults, without=without or (), track=bars.start
        )
    warn(notes)
    typer.echo(target / "index.html")

"""`medrobust study demo`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medrobust.cli.console import console, warn
from medrobust.progress import progress_bars

if TYPE_CHECKING:
    from medrobust.study.simulated import Biases


def demo(
    runs: Annotated[Path, typer.Option(help="The demo's runs.")] = Path("demo/runs"),
    store: Annotated[Path, typer.Option(help="The demo's store.")] = Path("demo/store"),
    out: Annotated[Path, typer.Option(help="Folder of two studies.")] = Path("demo/study"),
    readers: Annotated[int, typer.Option(min=2, max=200, help="How many.")] = 6,
    cases: Annotated[int, typer.Option(min=6, help="How many.")] = 24,
) -> None:
    """After `medrobust demo`: two studies of its maps, answered by simulated readers over HTTP.

    In out/planted they like dual training's maps better, in out/null they like all maps alike;
    what the analysis finds is told beside it. What is there already is kept.

    \b
    medrobust study demo
    """
    from medrobust.study.demo import run_study_demo
    from medrobust.study.planted import as_text

    with progress_bars(console) as bars:
        outcomes = run_study_demo(runs, store, out, readers, cases, bars, console.print)
    for outcome in outcomes:
        warn(outcome.notes)
        typer.echo(f"{_told(outcome.biases)}\n{as_text(outcome.pairs)}\n{outcome.page}\n")
    console.print("of intervals at 95 %, one in 20 misses; those of one study often do so together")


def _told(biases: "Biases") -> str:
    added = ", ".join(f"{effect:+g} to {name!r}" for name, effect in biases.scale.items())
    return f"Planted, in steps before rounding: {added or 'nothing'}"

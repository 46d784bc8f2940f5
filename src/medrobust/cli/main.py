"""`medrobust prepare | train | evaluate | explain | report | demo | …`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import medrobust
from medrobust.cli import exchange, prepare, prepare_own, study
from medrobust.cli.arguments import Runs
from medrobust.cli.bench import bench
from medrobust.cli.console import console, warn
from medrobust.cli.evaluate import evaluate
from medrobust.cli.explain import explain
from medrobust.cli.verify import verify
from medrobust.errors import MedrobustError
from medrobust.parallel.launch import ELSEWHERE, launch
from medrobust.parallel.place import (
    ElsewhereError,
    Place,
    check_started_together,
    here,
    is_launched,
    is_told_elsewhere,
)
from medrobust.progress import progress_bars
from medrobust.recipes import Recipe, recipe_settings

_INTERRUPTED = 130
"""The exit code Typer gives after Ctrl-C."""
_UsageError: Any = typer.BadParameter.__base__
"""What Typer raises for words that fit no command; it gives a name to a kind of it only."""

app = typer.Typer(
    help="Train, attack, explain and compare medical-image classifiers: standard, adversarial "
    "and dual batch norm training. For research use; not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
prepare.app.add_typer(prepare_own.app)
app.add_typer(prepare.app, name="prepare")
app.add_typer(study.app, name="study")
app.command()(bench)
app.command()(evaluate)
app.command()(explain)
app.command()(verify)
app.command(name="import")(exchange.import_)
app.command()(exchange.export)
app.command()(exchange.predict)


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error arose.")] = False,
) -> None:
    if version:
        typer.echo(f"medrobust {medrobust.__version__}")
        raise typer.Exit


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="A YAML file; see configs/.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="Overrides such as train.epochs=20 seed=1.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("runs"),
    recipe: Annotated[
        Recipe | None,
        typer.Option(help="fast: attacks of one step, on half of each batch."),
    ] = None,
) -> None:
    """Train a model, or go on with an interrupted training.

    \b
    medrobust train configs/pneumoniamnist-dual.yaml
    medrobust train configs/pneumoniamnist-dual.yaml seed=1 attack.eps=8/255
    medrobust train configs/pneumoniamnist-dual.yaml --recipe fast name=pneumoniamnist-fast
    medrobust train configs/pneumoniamnist-dual.yaml train.processes=2
    """
    from medrobust.config import load_config
    from medrobust.data.store import open_store
    from medrobust.rundir import run_directory, what_next

    check_started_together()
    resolved = load_config(config, settings or ())
    if recipe is not None:
        named = recipe_settings(recipe, resolved.regime)
        resolved = load_config(config, [*named, *(settings or ())])
    run, store = run_directory(resolved, runs), open_store(resolved.data.store)
    if resolved.train.processes > 1 and here().count == 1:
        batch = min(resolved.train.batch_size, len(store.rows("train")))
        Place(count=resolved.train.processes).check_shares(batch, least=1)
        raise typer.Exit(launch(resolved.train.processes, lambda: what_next(run)))

    from medrobust.train import train as run_training  # takes seconds: after all quick errors

    with progress_bars(console, shown=here().rank == 0) as bars:
        run_training(resolved, store, run, say=console.print, track=bars.over)
    if here().rank == 0:
        typer.echo(run.path)


@app.command()
def report(
    runs: Runs,
    out: Annotated[Path, typer.Option(help="The HTML file to write.")],
    title: Annotated[str | None, typer.Option(help="Its title.")] = None,
    margin: Annotated[
        float, typer.Option(help="AUROC by which dual training may be worse than standard.")
    ] = 0.02,
    study: Annotated[
        Path | None,
        typer.Option(help="What `medrobust study analyse` wrote: a section of its own."),
    ] = None,
) -> None:
    """One self-contained HTML page that compares any number of runs.

    \b
    medrobust report runs/pneumoniamnist-* --out report.html
    """
    from medrobust.report import build_report

    warn(build_report(runs, out, title=title, margin=margin, study=study))
    typer.echo(out)


@app.command()
def inspect(
    store: Annotated[Path, typer.Argument(help="What `medrobust prepare` wrote.")],
    out: Annotated[Path | None, typer.Option(help="An HTML file to write, with pictures.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every file and compare its checksum first.")
    ] = False,
) -> None:
    """What one wants to see of a store before training: counts, labels, pictures, copies, rejects.

    \b
    medrobust inspect stores/mine
    medrobust inspect stores/mine --out mine.html
    """
    from medrobust.data.store import open_store, verify_checksum
    from medrobust.inspection import as_text, inspect_store, write_inspection

    opened = open_store(store)
    if verify:
        with progress_bars(console) as bars:
            verify_checksum(opened, bars.bytes(f"verifying {store}"))
    found = inspect_store(opened)
    typer.echo(as_text(found))
    if out is not None:
        write_inspection(opened, found, out)
        typer.echo(out)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of store, runs and report.")] = Path("demo"),
) -> None:
    """Three regimes on generated radiographs, from nothing to demo/report.html, in minutes.

    What is there already is kept: a second call goes on where the first one stopped.

    \b
    medrobust demo --out demo
    """
    from medrobust.demo import run_demo

    with progress_bars(console) as bars:
        typer.echo(run_demo(out, bars, console.print))


def _told(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename} cannot be used: {error.strerror}"
    return str(error)


def _misused(error: Any) -> str:
    """In one line; or the help, where nothing but a group of commands was named."""
    text = str(error.format_message())
    if text.startswith("Usage: "):
        return text
    words = f"error: {' '.join(text.split())}"
    return f"{words} (see {error.ctx.command_path} --help)" if error.ctx else words


def main() -> None:
    """Run the command line; errors meant for people are one line, and the exit code is 1.

    It is 2 for words that fit no command. Of processes that work together one tells an error, and
    the others end quietly.
    """
    debug = "--debug" in sys.argv[1:]
    try:
        _run()
    except (MedrobustError, OSError) as error:
        if debug:
            raise
        if is_told_elsewhere(error):
            sys.exit(ELSEWHERE if isinstance(error, ElsewhereError) else 1)
        text = " ".join(_told(error).splitlines())  # of other packages' errors may be several
        console.print(f"error: {text}", style="red")
        sys.exit(1)
    except SystemExit as end:
        if end.code == _INTERRUPTED and not is_launched():
            console.print("interrupted; nothing is half-written, give the same command again")
        raise


def _run() -> None:
    """Ends with SystemExit, as commands do, or with the error of a command."""
    try:
        code = app(prog_name="medrobust", standalone_mode=False)
    except _UsageError as error:
        console.print(told := _misused(error), style="red" if told.startswith("error") else None)
        sys.exit(error.exit_code)
    sys.exit(code)

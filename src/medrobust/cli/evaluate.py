"""`medrobust evaluate`."""

from typing import Annotated, Literal

import typer

from medrobust.cli.arguments import Checkpoint, Device, OtherStore, Runs, Split, one_of, open_runs
from medrobust.cli.console import console, numbers, warn
from medrobust.errors import MedrobustError
from medrobust.parallel.launch import launch
from medrobust.parallel.place import check_started_together, here
from medrobust.progress import progress_bars

Branches = Literal["own", "matrix"]
Unit = Literal["image", "native"]
Saved = Literal["8", "16", "stored"]


def evaluate(
    runs: Runs,
    store: OtherStore = None,
    split: Split = "test",
    checkpoint: Checkpoint = "best",
    all_checkpoints: Annotated[
        bool,
        typer.Option("--all-checkpoints", help="Every kept checkpoint, at the training radius."),
    ] = False,
    branches: Annotated[
        str,
        typer.Option(
            help="own: each branch attacked itself; matrix: also their mean and a router, all "
            "against all."
        ),
    ] = "own",
    suite: Annotated[
        str | None,
        typer.Option(help="fast, strong, or one attack: pgd, apgd, fgsm, square. [default: fast]"),
    ] = None,
    goal: Annotated[
        str, typer.Option(help="total, finding (one at a time), vanish:NAME or appear:NAME.")
    ] = "total",
    eps: Annotated[
        str | None, typer.Option(help="Radii such as 2/255,4/255; the suite's own if not given.")
    ] = None,
    norm: Annotated[
        str | None, typer.Option(help="linf, l2 or l1; the training's if not given.")
    ] = None,
    unit: Annotated[
        str, typer.Option(help="Of --eps: image (range 0 to 1), or native, such as HU.")
    ] = "image",
    steps: Annotated[int | None, typer.Option(min=1, help="Of a single attack.")] = None,
    restarts: Annotated[int | None, typer.Option(min=1, help="Of a single attack.")] = None,
    queries: Annotated[int | None, typer.Option(min=1, help="Of square.")] = None,
    loss: Annotated[
        str | None, typer.Option(help="Of a single attack: margin, cross-entropy or dlr.")
    ] = None,
    square_images: Annotated[
        int | None, typer.Option(min=1, help="Show Square only so many, all classes alike.")
    ] = None,
    corruptions: Annotated[
        str | None, typer.Option(help="all, or names such as noise,blur: at five severities.")
    ] = None,
    save_images: Annotated[
        str | None,
        typer.Option(help="8, 16 or stored: save attacked images as PNG, and score them again."),
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(help="Columns such as sex,age, or none. [default: sex,age,view,site]"),
    ] = None,
    trust_images: Annotated[
        int | None, typer.Option(min=0, help="For the checks of trust.csv; 0: no checks.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images at a time.")] = None,
    device: Device = "auto",
    processes: Annotated[
        int, typer.Option(min=1, help="Share the attacks; on a GPU each has its own.")
    ] = 1,
) -> None:
    """Predict clean and attacked images; write predictions, trust.csv and metrics.csv.

    \b
    medrobust evaluate runs/pneumoniamnist-dual/0
    medrobust evaluate runs/pneumoniamnist-dual/0 --suite strong --branches matrix
    medrobust evaluate runs/pneumoniamnist-* --suite pgd --eps 2/255,4/255 --steps 50
    """
    one_of(branches, Branches, "--branches")
    radii = None if eps is None else numbers(eps, "--eps")
    check_started_together()
    found, other = open_runs(runs, store)
    if processes > 1 and here().count == 1:
        raise typer.Exit(launch(processes, lambda: "give the same command again to go on"))

    from medrobust.attacks.ball import Norm
    from medrobust.attacks.suite import Budget, LossName, SuiteName
    from medrobust.conditions import Evaluation
    from medrobust.evaluate import evaluate as run_evaluation
    from medrobust.evaluate import evaluate_checkpoints

    what = Evaluation(
        split=split,
        checkpoint=checkpoint,
        matrix=branches == "matrix",
        suite=one_of(suite, SuiteName, "--suite") if suite else None,
        goal=goal,
        eps=radii,
        norm=one_of(norm, Norm, "--norm") if norm else None,
        unit=one_of(unit, Unit, "--unit"),
        budget=Budget(steps, restarts, queries, one_of(loss, LossName, "--loss") if loss else None),
        square_images=square_images,
        corruptions=_corruptions(corruptions),
        save=one_of(save_images, Saved, "--save-images") if save_images else None,
        groups=None if groups is None else _names(groups),
        trust_images=trust_images,
        batch_size=batch_size,
        device=device,
    )
    stage = evaluate_checkpoints if all_checkpoints else run_evaluation
    for run in found:
        _check_budget(what.suite or run.config().evaluate.suite, steps, restarts, queries, loss)
        with progress_bars(console, shown=here().rank == 0) as bars:
            warn(stage(run, other, what, track=bars.start))
        if here().rank == 0:
            typer.echo(run.metrics)


def _check_budget(suite: str, *given: object) -> None:
    """Under the name of a suite stand its own budgets only, so that numbers can be compared."""
    if suite in ("fast", "strong") and any(value is not None for value in given):
        raise MedrobustError(
            f"--suite {suite}: expected no --steps, --restarts, --queries or --loss, since a suite "
            "has budgets of its own; give a single attack instead, such as --suite apgd"
        )


def _corruptions(text: str | None) -> tuple[str, ...]:
    from medrobust.corruptions import CORRUPTIONS

    return tuple(CORRUPTIONS) if text == "all" else _names(text or "")


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    return () if names == ("none",) else names

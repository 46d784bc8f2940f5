"""`medrobust explain`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medrobust.cli.arguments import Checkpoint, Device, OtherStore, Runs, Split, open_runs
from medrobust.cli.console import console, numbers, warn
from medrobust.errors import MedrobustError
from medrobust.progress import progress_bars

if TYPE_CHECKING:
    from medrobust.data.store import Store
    from medrobust.explain.localisation import Tolerance
    from medrobust.explain.subject import Subject
    from medrobust.explain.tasks import Company


def explain(
    runs: Runs,
    store: OtherStore = None,
    split: Split = "test",
    checkpoint: Checkpoint = "best",
    finding: Annotated[list[str] | None, typer.Option(help="Only this one; repeat.")] = None,
    methods: Annotated[
        str, typer.Option(help="all, or names such as gradient,grad-cam,occlusion.")
    ] = "gradient,grad-cam",
    truth: Annotated[
        str | None,
        typer.Option(help="Names of the masks or boxes to find, if not those of the finding."),
    ] = None,
    inside: Annotated[
        str | None, typer.Option(help="Also the map's share inside: left lung,right lung.")
    ] = None,
    tolerance: Annotated[
        str, typer.Option(help="How far beside the truth still is a hit: 3px or 10mm.")
    ] = "0px",
    sanity: Annotated[
        bool, typer.Option("--sanity", help="Check the maps themselves; see also --other.")
    ] = False,
    audit: Annotated[
        str | None, typer.Option(help="A mask, such as marker: is it what the model looks at?")
    ] = None,
    counterfactual: Annotated[
        list[str] | None, typer.Option(help="Let this finding appear or vanish; repeat.")
    ] = None,
    landscape: Annotated[
        bool, typer.Option("--landscape", help="The loss around images, and Lipschitz bounds.")
    ] = False,
    cka: Annotated[
        list[Path] | None,
        typer.Option(help="Similarity of layers to this run's; the run itself: of its branches."),
    ] = None,
    dial: Annotated[
        bool, typer.Option("--dial", help="Batch norms between those of the two branches.")
    ] = False,
    other: Annotated[
        list[Path] | None,
        typer.Option(help="Further trainings: for --sanity, and to judge counterfactuals."),
    ] = None,
    shuffled: Annotated[
        Path | None, typer.Option(help="For --sanity: one with data.shuffle_labels=true.")
    ] = None,
    eps: Annotated[
        str | None,
        typer.Option(help="Of --sanity, --landscape and --dial; the training's if not given."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 64,
    device: Device = "auto",
) -> None:
    """Saliency maps of every branch and finding, scored against masks; and what else explains.

    \b
    medrobust explain runs/pneumoniamnist-*
    medrobust explain runs/mine-dual --methods all --inside "left lung,right lung" --sanity
    medrobust explain runs/mine-dual --counterfactual pneumonia --other runs/mine-dual/1
    """
    found, images = open_runs(runs, store)

    from medrobust.explain.methods import METHODS
    from medrobust.explain.stage import Wanted
    from medrobust.explain.subject import open_subject
    from medrobust.explain.tasks import Questions, tasks

    names = tuple(METHODS) if methods == "all" else _names(methods)
    asked = Questions(
        wanted=Wanted(names, finding, _names(truth), _names(inside), _tolerance(tolerance)),
        sanity=sanity,
        audit=audit,
        counterfactual=counterfactual or (),
        landscape=landscape,
        dial=dial,
        eps=None if eps is None else numbers(eps, "--eps")[0],
    )
    opening: dict[str, Any] = {"split": split, "batch_size": batch_size, "device": device}
    for run in found:
        subject = open_subject(run, images, checkpoint=checkpoint, **opening)
        company = _company(subject, (other, shuffled, cka), images, opening)
        for task in tasks(subject, asked, company):
            with progress_bars(console) as bars:
                warn(task(bars.start))
        typer.echo(subject.folder)


def _company(
    subject: "Subject",
    paths: tuple[list[Path] | None, Path | None, list[Path] | None],
    store: "Store | None",
    opening: dict[str, Any],
) -> "Company":
    """The other runs, opened on the images of the one that is explained."""
    from medrobust.explain.subject import open_subject
    from medrobust.explain.tasks import Company
    from medrobust.rundir import find_runs

    images = store or subject.run.training_store()

    def opened(given: list[Path] | None, itself: bool = False) -> "list[Subject]":
        runs = find_runs(given) if given else []
        own = subject.run.path.resolve()
        kept = [run for run in runs if itself or run.path.resolve() != own]
        return [open_subject(run, images, **opening) for run in kept]

    others, shuffled, compared = paths
    control = opened([shuffled] if shuffled else None)
    return Company(opened(others), control[0] if control else None, opened(compared, itself=True))


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def _tolerance(text: str) -> "Tolerance":
    """`3px`, `10mm` or `0`.

    Raises:
        MedrobustError: something else.
    """
    from medrobust.explain.localisation import Tolerance

    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(px|mm)?", text.strip())
    if found is None:
        raise MedrobustError(
            f"--tolerance: expected pixels or millimetres such as 3px or 10mm, found {text!r}"
        )
    return Tolerance(float(found[1]), "mm" if found[2] == "mm" else "pixels")

"""`medrobust explain`."""

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medrobust.cli.arguments import Checkpoint, Device, OtherStore, Runs, Split, open_runs
from medrobust.cli.console import console, numbers, warn
from medrobust.errors import MedrobustError
from medrobust.progress import progress_bars

if TYPE_CHECKING:
    from collections.abc import Callable

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
        str | None,
        typer.Option(
            help="Maps by all, or names such as occlusion,smooth-grad. [default: "
            "gradient,grad-cam, unless something else is asked]"
        ),
    ] = None,
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
    all_images: Annotated[
        bool, typer.Option("--all-images", help="Maps of every image of the split.")
    ] = False,
    average: Annotated[
        bool, typer.Option("--average", help="Mean maps of images with and without the finding.")
    ] = False,
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
        typer.Option(
            help="Further trainings (their best checkpoints): for --sanity, and to judge "
            "counterfactuals."
        ),
    ] = None,
    shuffled: Annotated[
        Path | None, typer.Option(help="For --sanity: a training with data.shuffle_labels=true.")
    ] = None,
    eps: Annotated[
        str | None,
        typer.Option(help="l∞ radius of --sanity and --landscape; the training's if not given."),
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
    others_asked = (average, sanity, audit, counterfactual, landscape, cka, dial)
    _check_use(other, sanity or counterfactual, "--other", "--sanity or --counterfactual")
    _check_use(shuffled, sanity, "--shuffled", "--sanity")

    from medrobust.explain.methods import METHODS
    from medrobust.explain.stage import Wanted
    from medrobust.explain.subject import open_subject
    from medrobust.explain.tasks import Questions, tasks

    names = tuple(METHODS) if methods == "all" else _names(methods or "gradient,grad-cam")
    asked = Questions(
        wanted=Wanted(
            *(names, finding, _names(truth), _names(inside), _tolerance(tolerance), all_images)
        ),
        maps=methods is not None or not any(others_asked),
        average=average,
        sanity=sanity,
        audit=audit,
        counterfactual=counterfactual or (),
        landscape=landscape,
        dial=dial,
        eps=None if eps is None else _radius(eps),
    )
    opening = partial(open_subject, split=split, batch_size=batch_size, device=device)
    for run in found:
        shown = images or run.training_store()
        subject = opening(run, shown, checkpoint=checkpoint)
        company = _company(subject, (other, shuffled, cka), partial(opening, store=shown))
        for task in tasks(subject, asked, company):
            with progress_bars(console) as bars:
                told = task(bars.start)
            if task.tells_results:
                typer.echo("\n".join(told))
            else:
                warn(told)
        typer.echo(subject.folder)


def _company(
    subject: "Subject",
    paths: tuple[list[Path] | None, Path | None, list[Path] | None],
    opening: "Callable[..., Subject]",
) -> "Company":
    """The other runs, opened on the images of the one that is explained."""
    from medrobust.explain.tasks import Company
    from medrobust.rundir import find_runs

    others, shuffled, compared = paths
    own = subject.run.path.resolve()

    def opened(given: list[Path] | None, checkpoint: str = "best") -> "list[Subject]":
        runs = find_runs(given) if given else []
        return [opening(run, checkpoint=checkpoint) for run in runs]

    # the best checkpoint of a control would be one that has not yet learnt its labels
    control = opened([shuffled] if shuffled else None, "last")
    apart = [one for one in opened(others) if one.run.path.resolve() != own]
    return Company(apart, control[0] if control else None, opened(compared))


def _check_use(given: object, used: object, option: str, by: str) -> None:
    """Raise MedrobustError for an option that nothing asked for would use."""
    if given and not used:
        raise MedrobustError(f"{option}: expected it together with {by}, found it alone")


def _radius(text: str) -> float:
    first, *others = numbers(text, "--eps")
    if others:
        raise MedrobustError(f"--eps: expected one radius such as 4/255, found {text!r}")
    return first


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

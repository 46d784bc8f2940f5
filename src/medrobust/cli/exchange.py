"""`medrobust import | export | predict`: weights in and out, and new images."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medrobust.cli.arguments import Checkpoint, Device
from medrobust.cli.console import console, numbers, warn
from medrobust.cli.options import parse_size
from medrobust.errors import MedrobustError
from medrobust.progress import progress_bars

if TYPE_CHECKING:
    from medrobust.exchange.description import Description

OneRun = Annotated[Path, typer.Argument(help="A run directory, such as runs/NAME/SEED.")]
MOST_WORKERS = 4


def import_(
    file: Annotated[Path, typer.Argument(help="A .pth of tensors only, or .safetensors.")],
    out: Annotated[Path, typer.Option(help="The run to write: a new folder, runs/NAME/SEED.")],
    findings: Annotated[
        str | None,
        typer.Option(help="Names of the outputs, in their order: Edema,Pneumonia."),
    ] = None,
    task: Annotated[
        Literal["multilabel", "exclusive"] | None,
        typer.Option(help="Whether findings exclude each other; multilabel if not given."),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(min=1, help="1 makes a 3-channel network one for grey images, to the same."),
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Pixels per side of its images; 256 if not given.")
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="Subtracted from images in [0, 1]: 0.5, or one per channel.")
    ] = None,
    spread: Annotated[str | None, typer.Option(help="By which that is divided.")] = None,
    regime: Annotated[
        Literal["standard", "adversarial", "dual", "noise"] | None,
        typer.Option(help="How it was trained; dual or standard if not given."),
    ] = None,
    norm: Annotated[
        Literal["linf", "l2"] | None, typer.Option(help="Of the attack; linf if not given.")
    ] = None,
    eps: Annotated[
        str | None, typer.Option(help="The attack's radius; 0.005 if not given.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="The training store, for thresholds and decoding.")
    ] = None,
) -> None:
    """Make a run of a checkpoint of the published code, of a plain ResNet, or of an export.

    \b
    medrobust import checkpoint_best.pth --findings Cardiomegaly,Edema --channels 1
        --out runs/published/0
    """
    from medrobust.exchange.importing import Wanted, import_weights

    told = import_weights(
        file,
        out,
        Wanted(
            findings=[name.strip() for name in findings.split(",")] if findings else None,
            task=task,
            channels=channels,
            size=parse_size(size),
            mean=numbers(mean, "--mean") if mean else None,
            spread=numbers(spread, "--spread") if spread else None,
            regime=regime,
            norm=norm,
            eps=_one_number(eps, "--eps"),
            store=store,
        ),
    )
    typer.echo(f"{out}: {_words(told)}")


def export(
    run: OneRun,
    branch: Annotated[str, typer.Option(help="clean or adv; single where there is one.")],
    out: Annotated[Path, typer.Option(help="The .safetensors file to write.")],
    checkpoint: Checkpoint = "best",
) -> None:
    """One branch as a plain network's weights, under torchvision's names where it is a ResNet.

    \b
    medrobust export runs/pneumoniamnist-dual/0 --branch adv --out robust.safetensors
    """
    from medrobust.exchange.exporting import export_branch
    from medrobust.rundir import RunDir

    told = export_branch(RunDir(run), branch, out, checkpoint)
    if told.normalises:
        mean, spread = (_joined(v) for v in (told.input_mean, told.input_spread))
        warn(
            [
                f"{out}: this network wants (x - mean) / spread of images x in [0, 1], with mean "
                f"{mean} and spread {spread}; that is not part of it but in the file's metadata"
            ]
        )
    typer.echo(f"{out}: {_words(told)}")


def predict(
    run: OneRun,
    images: Annotated[
        list[Path], typer.Argument(help="PNG, JPEG, TIFF or DICOM files, or one store.")
    ],
    out: Annotated[Path, typer.Option(help="The CSV to write.")],
    branch: Annotated[
        str | None, typer.Option(help="The last one (robust, of a dual run) if not given.")
    ] = None,
    checkpoint: Checkpoint = "best",
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images at a time.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that decode; 0: this one.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Predict new images, without labels, decoded as the training images were.

    Files that can't be used are told and left out; only if none can be used the exit code is 1.

    \b
    medrobust predict runs/pneumoniamnist-dual/0 ward/*.png --out ward.csv
    """
    from medrobust.files import write_csv
    from medrobust.rundir import RunDir

    _check_table(out, images)

    from medrobust.predict import predict as run_prediction

    with progress_bars(console) as bars:
        found = run_prediction(
            RunDir(run),
            images,
            branch=branch,
            checkpoint=checkpoint,
            batch_size=batch_size,
            workers=_processes(len(images)) if workers is None else workers,
            device=device,
            track=bars.start,
        )
    write_csv(out, found.frame)
    warn(found.warnings)
    typer.echo(
        f"{out}: {len(found.frame)} images, branch {found.branch}, checkpoint {checkpoint}; "
        f"thresholds: {found.thresholds.origin}"
    )


def _check_table(out: Path, images: list[Path]) -> None:
    if out.is_dir() or out.resolve() in {path.resolve() for path in images}:
        what = "a folder" if out.is_dir() else "one of the images"
        raise MedrobustError(f"--out: expected a CSV to write, found {what}, {out}")


def _words(told: "Description") -> str:
    """What a network is, for the terminal."""
    width = f" of width {told.network.width}" if told.network.width else ""
    channels = f"{told.channels} channel{'s' if told.channels > 1 else ''}"
    size = "x".join(map(str, told.size))
    return (
        f"{told.network.name}{width}, {told.regime}, {channels}, {size} pixels; "
        f"findings {', '.join(told.findings)}"
    )


def _joined(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _one_number(text: str | None, option: str) -> float | None:
    if text is None:
        return None
    found = numbers(text, option)
    if len(found) > 1:
        raise MedrobustError(f"{option}: expected one number, found {text!r}")
    return found[0]


def _processes(files: int) -> int:
    return min(files, MOST_WORKERS, os.cpu_count() or 1)

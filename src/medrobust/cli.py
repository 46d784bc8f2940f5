"""The command line: `medrobust prepare | train | evaluate | explain | report | demo`.

Heavy packages are imported by the command that needs them, so that `--help` is quick.
"""

import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

import medrobust
from medrobust.errors import MedrobustError
from medrobust.progress import progress_bars

console = Console(stderr=True, soft_wrap=True, highlight=False)
app = typer.Typer(
    help="Train, attack, explain and compare medical-image classifiers: standard, adversarial "
    "and dual batch norm training. For research; not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Root = Annotated[Path | None, typer.Option(help="The raw data: a folder or a file.")]
Runs = Annotated[list[Path], typer.Argument(help="runs/NAME/SEED, or runs/NAME for all seeds.")]
StoreOption = Annotated[
    Path | None, typer.Option("--store", help="Other images than those of the training.")
]
Split = Annotated[str, typer.Option(help="train, val or test.")]
CheckpointOption = Annotated[
    str, typer.Option("--checkpoint", help="best, last or epoch-NNNN.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps ...")]


@app.callback(invoke_without_command=True)
def _main(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error arose.")] = False,
) -> None:
    context.obj = {"debug": debug}
    if version:
        typer.echo(f"medrobust {medrobust.__version__}")
        raise typer.Exit


@app.command()
def prepare(
    name: Annotated[str, typer.Argument(help="phantom, medmnist, images or arrays.")],
    out: Annotated[Path, typer.Option(help="The store to write: a new folder.")],
    root: Root = None,
    size: Annotated[
        int | None, typer.Option(help="Pixels per side; the images' own size if not given.")
    ] = None,
    bits: Annotated[int, typer.Option(help="8 or 16 bits per stored pixel.")] = 8,
    keep_aspect: Annotated[
        bool, typer.Option("--keep-aspect", help="Add a border instead of stretching.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of splits made here, and of the phantom.")] = 0,
    max_rejects: Annotated[
        float, typer.Option(help="Largest share of images that may be unusable.")
    ] = 0.01,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an older store.")
    ] = False,
    table: Annotated[Path | None, typer.Option(help="images: the CSV.")] = None,
    image_column: Annotated[str, typer.Option(help="images: column of file names.")] = "image",
    patient_column: Annotated[str | None, typer.Option(help="images: column of patients.")] = None,
    split_column: Annotated[
        str | None, typer.Option(help="images: column of train, val, test.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="images: NAME=COLUMN of a finding; repeat.")
    ] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(help="images: NAME=COLUMN, such as age=Age; repeat.")
    ] = None,
    exclusive: Annotated[
        bool, typer.Option("--exclusive", help="images, arrays: labels exclude each other.")
    ] = False,
    window: Annotated[
        tuple[float, float] | None,
        typer.Option(help="images, arrays: native values that become 0 and 1."),
    ] = None,
    images_array: Annotated[str, typer.Option(help="arrays: name of the images.")] = "images",
    labels_array: Annotated[str, typer.Option(help="arrays: name of the labels.")] = "labels",
    split_array: Annotated[str | None, typer.Option(help="arrays: 0/1/2 or words.")] = None,
    patients_array: Annotated[str | None, typer.Option(help="arrays: patient of each.")] = None,
    finding: Annotated[
        list[str] | None, typer.Option(help="arrays: names of the findings; phantom: a choice.")
    ] = None,
    images: Annotated[int, typer.Option(help="phantom: number of images.")] = 1000,
    shortcut: Annotated[
        str | None, typer.Option(help="phantom: finding that a marker gives away in training.")
    ] = None,
) -> None:
    """Turn a data set into a store: verified, split by patient, decoded.

    \b
    medrobust prepare phantom --out stores/phantom --images 1000 --size 64
    medrobust prepare medmnist --root pneumoniamnist.npz --out stores/pneumoniamnist
    medrobust prepare images --root images/ --table labels.csv --out stores/mine --size 224
        --image-column file --patient-column patient --split-column split
        --label pneumonia=label
    medrobust prepare arrays --root patches.npz --out stores/patches --split-array split
        --finding nodule
    """
    from medrobust.data.prepare import prepare as make_store
    from medrobust.sources import build_source

    source = build_source(name, locals())
    with progress_bars(console) as bars:
        done = bars.start(0, f"preparing {source.card.name}")
        store = make_store(
            source,
            out,
            size=None if name == "phantom" else size,
            bits=16 if bits == 16 else 8,
            keep_aspect=keep_aspect,
            seed=seed,
            max_rejects=max_rejects,
            overwrite=overwrite,
            progress=bars.counter(done),
        )
    for warning in store.info.warnings:
        console.print(f"warning: {warning}", markup=False)
    counts = ", ".join(f"{count} {what}" for what, count in store.info.counts.items())
    typer.echo(f"{out}: {counts}; findings {', '.join(store.findings)}")

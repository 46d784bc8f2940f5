"""`medrobust prepare NAME`: one command per data set."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medrobust.cli.console import console, pairs, warn
from medrobust.progress import progress_bars

if TYPE_CHECKING:
    from medrobust.data.source import Source, Task

app = typer.Typer(
    help="Turn a data set into a store: verified, split by patient, decoded.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Out = Annotated[Path, typer.Option(help="The store to write: a new folder.")]
Root = Annotated[Path, typer.Option(help="The data as downloaded: a folder or file.")]
Size = Annotated[int | None, typer.Option(help="Pixels per side; the images' own if not given.")]
Bits = Annotated[int, typer.Option(help="8 or 16 bits per stored pixel.")]
KeepAspect = Annotated[bool, typer.Option("--keep-aspect", help="Add a border, don't stretch.")]
Seed = Annotated[int, typer.Option(help="Of splits made here.")]
MaxRejects = Annotated[float, typer.Option(help="Largest share of unusable images.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an older store.")]
Window = Annotated[
    tuple[float, float] | None, typer.Option(help="Native values that become 0 and 1.")
]
Name = Annotated[
    str | None, typer.Option(help="What reports call the data; the file's name if not given.")
]
Exclusive = Annotated[bool, typer.Option("--exclusive", help="Labels exclude each other.")]


@app.command()
def phantom(
    out: Out,
    images: Annotated[int, typer.Option(help="How many.")] = 1000,
    size: Annotated[int, typer.Option(help="Pixels per side.")] = 64,
    seed: Annotated[int, typer.Option(help="Other seeds are other patients.")] = 0,
    finding: Annotated[
        list[str] | None, typer.Option(help="Draw only this one; repeat. All if not given.")
    ] = None,
    shortcut: Annotated[
        str | None, typer.Option(help="The finding a marker gives away, except in test.")
    ] = None,
    bits: Bits = 8,
    overwrite: Overwrite = False,
) -> None:
    """Generated chest radiographs with findings and their exact masks.

    \b
    medrobust prepare phantom --out stores/phantom
    medrobust prepare phantom --out stores/marked --images 4000 --shortcut consolidation
    """
    from medrobust.datasets.phantom import FINDINGS, Phantom

    source = Phantom(images, size, seed, tuple(finding or FINDINGS), shortcut)
    _make(source, out, size=None, bits=bits, overwrite=overwrite)


@app.command()
def medmnist(
    root: Root,
    out: Out,
    size: Size = None,
    bits: Bits = 8,
    overwrite: Overwrite = False,
) -> None:
    """Any MedMNIST .npz: binary, multi-class or multi-label; 2-D or 3-D; official split.

    \b
    medrobust prepare medmnist --root pneumoniamnist.npz --out stores/pneumoniamnist
    """
    from medrobust.datasets.medmnist import MedMNIST

    _make(MedMNIST(root), out, size=size, bits=bits, overwrite=overwrite)


@app.command(name="images")
def images_(
    root: Annotated[Path, typer.Option(help="The folder that the table's paths start from.")],
    out: Out,
    table: Annotated[Path, typer.Option(help="A CSV with a row per image.")],
    label: Annotated[list[str], typer.Option(help="NAME=COLUMN of a finding; repeat.")],
    image_column: Annotated[str, typer.Option(help="Column of file names.")] = "image",
    patient_column: Annotated[str | None, typer.Option(help="Column of patients.")] = None,
    split_column: Annotated[str | None, typer.Option(help="Column of train, val, test.")] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(help="NAME=COLUMN to keep, such as age=Age; repeat.")
    ] = None,
    name: Name = None,
    exclusive: Exclusive = False,
    window: Window = None,
    size: Size = None,
    bits: Bits = 8,
    keep_aspect: KeepAspect = False,
    seed: Seed = 0,
    max_rejects: MaxRejects = 0.01,
    overwrite: Overwrite = False,
) -> None:
    """A CSV and a folder of PNG or JPEG, 8 or 16 bits. Labels are 1, 0 or empty (unknown).

    \b
    medrobust prepare images --root images --table labels.csv --out stores/mine --size 224
        --image-column file --patient-column patient --split-column split --label pneumonia=label
    """
    from medrobust.datasets.images import Images

    source = Images(
        table,
        root,
        image_column=image_column,
        labels=pairs(label, "--label"),
        patient_column=patient_column,
        split_column=split_column,
        metadata=pairs(metadata, "--metadata"),
        task=_task(exclusive),
        window=window,
    )
    _make(
        source,
        out,
        size=size,
        bits=bits,
        keep_aspect=keep_aspect,
        seed=seed,
        max_rejects=max_rejects,
        overwrite=overwrite,
        name=name,
    )


@app.command()
def arrays(
    root: Root,
    out: Out,
    images: Annotated[str, typer.Option(help="Array of images.")] = "images",
    labels: Annotated[str, typer.Option(help="Array of labels.")] = "labels",
    split: Annotated[str | None, typer.Option(help="Array of 0, 1, 2 or train, val, test.")] = None,
    patients: Annotated[str | None, typer.Option(help="Array of patients.")] = None,
    finding: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of a label column; repeat, in order. Of one array of 0 and 1: the finding "
            "that is 1, or both classes' names, of which the second becomes the finding."
        ),
    ] = None,
    name: Name = None,
    exclusive: Exclusive = False,
    window: Window = None,
    size: Size = None,
    bits: Bits = 8,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Any .npz, or a folder of .npy, with the arrays named.

    \b
    medrobust prepare arrays --root patches.npz --out stores/patches --split split
        --finding nodule
    """
    from medrobust.datasets.arrays import Arrays

    source = Arrays(
        root,
        images=images,
        labels=labels,
        split=split,
        patients=patients,
        findings=finding,
        window=window,
        task="exclusive" if exclusive else None,
    )
    _make(source, out, size=size, bits=bits, seed=seed, overwrite=overwrite, name=name)


def _make(source: "Source", out: Path, *, bits: int, **options: Any) -> None:
    from medrobust.data.prepare import prepare

    with progress_bars(console) as bars:
        store = prepare(
            source,
            out,
            bits=_bits(bits),
            progress=bars.counter(f"preparing {source.card.name}"),
            **options,
        )
    warn(store.info.warnings)
    counts = ", ".join(f"{count} {what}" for what, count in store.info.counts.items())
    typer.echo(f"{out}: {counts}; findings {', '.join(store.findings)}")


def _task(exclusive: bool) -> "Task":
    return "exclusive" if exclusive else "multilabel"


def _bits(bits: int) -> Literal[8, 16]:
    if bits not in (8, 16):
        raise typer.BadParameter(f"expected 8 or 16, found {bits}", param_hint="--bits")
    return 16 if bits == 16 else 8

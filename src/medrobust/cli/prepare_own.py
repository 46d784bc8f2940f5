"""`medrobust prepare NAME` for one's own data: images, DICOM, arrays, and classes of one's own."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medrobust.cli.console import pairs
from medrobust.cli.options import StoreOptions, with_store_options
from medrobust.cli.prepare import Root, WindowText, make_store, window_of
from medrobust.errors import MedrobustError

if TYPE_CHECKING:
    from collections.abc import Callable

    from medrobust.data.source import Source, Task

app = typer.Typer()
"""Joins the commands of `prepare`."""

Columns = Annotated[
    list[str],
    typer.Option(
        "--label", help="NAME=COLUMN of a finding, or a rule: NAME=sex:F, NAME=age>=65; repeat."
    ),
]
Metadata = Annotated[
    list[str] | None, typer.Option(help="NAME=COLUMN to keep, such as age=Age; repeat.")
]
Exclusive = Annotated[bool, typer.Option("--exclusive", help="Labels exclude each other.")]
PatientColumn = Annotated[str | None, typer.Option(help="Column of patients.")]
SplitColumn = Annotated[str | None, typer.Option(help="Column of train, val, test.")]


@app.command()
@with_store_options("finding", "exclusive", "workers")
def arrays(
    root: Root,
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
    exclusive: Exclusive = False,
    window: WindowText = None,
    *,
    options: StoreOptions,
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
        window=window_of(window),
        task="exclusive" if exclusive else None,
    )
    make_store(source, options, window=window)


@app.command(name="images")
@with_store_options("label", "exclusive", "finding")
def images_(
    root: Annotated[Path, typer.Option(help="The folder that the table's paths start from.")],
    table: Annotated[Path, typer.Option(help="A CSV with a row per image.")],
    label: Columns,
    image_column: Annotated[str, typer.Option(help="Column of file names.")] = "image",
    patient_column: PatientColumn = None,
    split_column: SplitColumn = None,
    metadata: Metadata = None,
    exclusive: Exclusive = False,
    masks: Annotated[
        Path | None, typer.Option(help="Folder of masks with the images' paths or names.")
    ] = None,
    mask_bits: Annotated[
        str | None,
        typer.Option(help="What the bits of a mask mean: 1=nodule,2=left lung:anatomy."),
    ] = None,
    boxes: Annotated[
        Path | None, typer.Option(help="A CSV of image, finding, x, y, w, h in image pixels.")
    ] = None,
    window: WindowText = None,
    *,
    options: StoreOptions,
) -> None:
    """A CSV and a folder of PNG, JPEG or TIFF, 8 or 16 bits, with masks or boxes if you have them.

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
        window=window_of(window),
        masks=masks,
        mask_bits=mask_bits,
        boxes=boxes,
    )
    make_store(source, options, window=window, mask_bits=mask_bits)


@app.command()
@with_store_options("label", "exclusive", "finding")
def dicom(
    root: Annotated[Path, typer.Option(help="A folder of DICOM files, in any depth.")],
    table: Annotated[Path, typer.Option(help="A CSV with labels.")],
    label: Columns,
    key: Annotated[
        str,
        typer.Option(
            help="What the table's key column holds: file, SOPInstanceUID, AccessionNumber or "
            "PatientID."
        ),
    ] = "file",
    key_column: Annotated[
        str | None, typer.Option(help="That column's name in the table, if another.")
    ] = None,
    split_column: SplitColumn = None,
    metadata: Metadata = None,
    exclusive: Exclusive = False,
    frame: Annotated[
        int | None, typer.Option(min=1, help="Which frame of several; the middle if not given.")
    ] = None,
    window: WindowText = None,
    *,
    options: StoreOptions,
) -> None:
    """A folder tree of DICOM files; names, birth dates and free text are never read into a store.

    \b
    medrobust prepare dicom --root export --table labels.csv --key AccessionNumber
        --label pneumothorax=ptx --pseudonymise salt.txt --size 512 --out stores/ward
    """
    from medrobust.datasets.dicom import Dicom

    source = Dicom(
        root,
        table,
        pairs(label, "--label"),
        key=key,
        key_column=key_column,
        split_column=split_column,
        metadata=pairs(metadata, "--metadata"),
        task=_task(exclusive),
        window=window_of(window),
        frame=frame,
        workers=options.processes,
    )
    make_store(source, options, window=window, frame=frame, key=key)


@app.command()
@with_store_options()
def custom(
    dataset: Annotated[str, typer.Argument(help="module:Class of your own, on the Python path.")],
    root: Root,
    *,
    options: StoreOptions,
) -> None:
    """A data set of your own, as a class with card, task, index() and read().

    \b
    medrobust prepare custom my_data:Wards --root raw --size 224 --out stores/wards
    """
    make_store(_imported(dataset)(root), options, dataset=dataset)


def _task(exclusive: bool) -> "Task":
    return "exclusive" if exclusive else "multilabel"


def _imported(name: str) -> "Callable[[Path], Source]":
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise MedrobustError(
            f"data set {name!r} can't be imported ({error}): expected module:Class, on the "
            "Python path (`python -m medrobust` looks in the present folder, too)"
        ) from error
    if not callable(found):
        raise MedrobustError(f"data set {name!r} is not a class")
    return found  # type: ignore[no-any-return]

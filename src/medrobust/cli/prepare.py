"""`medrobust prepare NAME`: one command per data set."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medrobust.cli.console import console, pairs, warn
from medrobust.cli.options import StoreOptions, with_store_options
from medrobust.errors import MedrobustError
from medrobust.progress import progress_bars

if TYPE_CHECKING:
    from collections.abc import Callable

    from medrobust.data.source import Source, Task
    from medrobust.data.window import Window

app = typer.Typer(
    help="Turn a data set into a store: verified, split by patient, decoded.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Root = Annotated[Path, typer.Option(help="The data as downloaded, or its parent folder.")]
WindowText = Annotated[
    str | None,
    typer.Option(
        "--window",
        help="Native values that become 0 and 1: -1000:400, percentile:1:99, range, file.",
    ),
]
Columns = Annotated[
    list[str],
    typer.Option("--label", help="NAME=COLUMN of a finding, or NAME=COLUMN:VALUE; repeat."),
]
Metadata = Annotated[
    list[str] | None, typer.Option(help="NAME=COLUMN to keep, such as age=Age; repeat.")
]
Exclusive = Annotated[bool, typer.Option("--exclusive", help="Labels exclude each other.")]
PatientColumn = Annotated[str | None, typer.Option(help="Column of patients.")]
SplitColumn = Annotated[str | None, typer.Option(help="Column of train, val, test.")]


@app.command()
@with_store_options("size", "keep_aspect", "finding", "name", "duplicates", "max_rejects")
def phantom(
    images: Annotated[int, typer.Option(help="How many.")] = 1000,
    size: Annotated[int, typer.Option(help="Pixels per side.")] = 64,
    finding: Annotated[
        list[str] | None, typer.Option(help="Draw only this one; repeat. All if not given.")
    ] = None,
    shortcut: Annotated[
        str | None, typer.Option(help="The finding a marker gives away, except in test.")
    ] = None,
    *,
    options: StoreOptions,
) -> None:
    """Generated chest radiographs with findings and their exact masks.

    \b
    medrobust prepare phantom --out stores/phantom
    medrobust prepare phantom --out stores/marked --images 4000 --shortcut consolidation
    """
    from medrobust.datasets.phantom import FINDINGS, Phantom

    _make(Phantom(images, size, options.seed, tuple(finding or FINDINGS), shortcut), options)


@app.command()
@with_store_options("workers")
def medmnist(root: Root, *, options: StoreOptions) -> None:
    """Any MedMNIST .npz: binary, multi-class or multi-label; 2-D or 3-D; official split.

    \b
    medrobust prepare medmnist --root pneumoniamnist.npz --out stores/pneumoniamnist
    """
    from medrobust.datasets.medmnist import MedMNIST

    _make(MedMNIST(root), options)


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
        window=_window(window),
        task="exclusive" if exclusive else None,
    )
    _make(source, options, window=window)


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
        window=_window(window),
        masks=masks,
        mask_bits=mask_bits,
        boxes=boxes,
    )
    _make(source, options, window=window, mask_bits=mask_bits)


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
    key_column: Annotated[str | None, typer.Option(help="Its name, if not that.")] = None,
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
        window=_window(window),
        frame=frame,
        workers=options.processes,
    )
    _make(source, options, window=window, frame=frame, key=key)


@app.command()
@with_store_options()
def chexpert(
    root: Root,
    blank: Annotated[
        Literal["zeros", "ignore"],
        typer.Option(help="What an empty cell means: zeros (not mentioned) or ignore."),
    ] = "zeros",
    *,
    options: StoreOptions,
) -> None:
    """CheXpert-v1.0 or -small: 14 findings, with uncertain ones.

    \b
    medrobust prepare chexpert --root CheXpert-v1.0-small --view frontal --size 256
        --out stores/chexpert
    """
    from medrobust.datasets.chexpert import CheXpert

    _make(CheXpert(root, blank=blank), options, blank=blank)


@app.command()
@with_store_options()
def nih(
    root: Root,
    table: Annotated[
        Path | None, typer.Option(help="Data_Entry_2017*.csv; found by itself if not given.")
    ] = None,
    boxes: Annotated[
        Path | None, typer.Option(help="BBox_List_2017.csv; found by itself if not given.")
    ] = None,
    only_present: Annotated[
        bool,
        typer.Option("--only-present", help="Leave out rows without a file: a part of the data."),
    ] = False,
    *,
    options: StoreOptions,
) -> None:
    """NIH ChestX-ray14: 14 findings and 984 boxes, with the official test list.

    \b
    medrobust prepare nih --root ChestXray-NIHCC --size 256 --out stores/nih
    """
    from medrobust.datasets.nih import NIH

    source = NIH(root, table=table, boxes=boxes, only_present=only_present)
    _make(source, options, only_present=only_present)


@app.command()
@with_store_options()
def kneemri(
    root: Root,
    volume: Annotated[
        bool, typer.Option("--volume", help="A volume is one image; else each of its slices.")
    ] = False,
    region: Annotated[
        Literal["roi", "whole"], typer.Option(help="The region of interest, or whole slices.")
    ] = "roi",
    window: WindowText = None,
    *,
    options: StoreOptions,
) -> None:
    """kneeMRI (Rijeka): three grades of injury of the anterior cruciate ligament.

    \b
    medrobust prepare kneemri --root kneeMRI --size 96 --out stores/knee
    medrobust prepare kneemri --root kneeMRI --volume --size 16x96x96 --out stores/knee3d
    """
    from medrobust.datasets.kneemri import PERCENTILES, KneeMRI

    source = KneeMRI(root, volume=volume, region=region, window=_window(window) or PERCENTILES)
    _make(source, options, volume=volume, region=region, window=window)


@app.command()
@with_store_options("finding", "view", "uncertain", "keep_aspect")
def luna16(
    root: Root,
    of: Annotated[
        Literal["nodule", "malignancy"], typer.Option(help="What the label says of a patch.")
    ] = "nodule",
    malignancy_table: Annotated[
        Path | None,
        typer.Option(help="A CSV with the readers' marks (mal_details), or that of LIDC-IDRI."),
    ] = None,
    patch_mm: Annotated[float, typer.Option(help="Width and height of a patch.")] = 50.0,
    pixels: Annotated[int, typer.Option(help="Pixels per side of a patch.")] = 64,
    dims: Annotated[
        Literal["2d", "2.5d", "3d"],
        typer.Option(help="A slice, neighbouring slices as channels, or a cube."),
    ] = "2d",
    slices: Annotated[int, typer.Option(help="How many, in 2.5d; an odd number.")] = 3,
    slice_mm: Annotated[float, typer.Option(help="How far they are apart.")] = 2.5,
    window: WindowText = None,
    *,
    options: StoreOptions,
) -> None:
    """LUNA16: patches around nodules and other candidates of lung CT.

    \b
    medrobust prepare luna16 --root LUNA16 --balance --out stores/nodules
    medrobust prepare luna16 --root LUNA16 --of malignancy --dims 3d --pixels 32
        --malignancy-table annotations_with_malignancy.csv --out stores/malignancy
    """
    from medrobust.datasets.luna16 import LUNA16, LUNG

    cut: dict[str, Any] = {"patch_mm": patch_mm, "pixels": pixels, "dims": dims}
    cut |= {"slices": slices, "slice_mm": slice_mm}
    source = LUNA16(
        root,
        label=of,
        malignancy_table=malignancy_table,
        window=_window(window) or LUNG,
        **cut,
    )
    _make(source, options, of=of, window=window, **cut)


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
    _make(_imported(dataset)(root), options, dataset=dataset)


def _make(source: "Source", options: StoreOptions, **made_with: Any) -> None:
    """Prepare the store; `made_with` is what store.json remembers of the data set's own options."""
    from medrobust.data.prepare import prepare

    with progress_bars(console) as bars:
        store = prepare(
            source,
            options.out,
            progress=bars.counter(f"preparing {source.card.name}"),
            options=made_with,
            **options.arguments(),
        )
    left_out = [f"{count} rows left out: {why}" for why, count in store.info.left_out.items()]
    warn([*left_out, *store.info.warnings])
    counts = ", ".join(f"{count} {what}" for what, count in store.info.counts.items())
    typer.echo(f"{options.out}: {counts}; findings {', '.join(store.findings)}")


def _window(text: str | None) -> "Window | None":
    from medrobust.data.window import parse_window

    return None if text is None else parse_window(text)


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

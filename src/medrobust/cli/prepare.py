"""`medrobust prepare NAME`: one command per data set; one's own data are in `prepare_own`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medrobust.cli.console import console, warn
from medrobust.cli.options import StoreOptions, with_store_options
from medrobust.progress import progress_bars

if TYPE_CHECKING:
    from medrobust.data.source import Source
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

    make_store(Phantom(images, size, options.seed, tuple(finding or FINDINGS), shortcut), options)


@app.command()
@with_store_options("workers")
def medmnist(root: Root, *, options: StoreOptions) -> None:
    """Any MedMNIST .npz: binary, multi-class or multi-label; 2-D or 3-D; official split.

    \b
    medrobust prepare medmnist --root pneumoniamnist.npz --out stores/pneumoniamnist
    """
    from medrobust.datasets.medmnist import MedMNIST

    make_store(MedMNIST(root), options)


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

    make_store(CheXpert(root, blank=blank), options, blank=blank)


@app.command()
@with_store_options()
def nih(
    root: Root,
    table: Annotated[
        Path | None, typer.Option(help="Data_Entry_2017*.csv, if it has another name.")
    ] = None,
    boxes: Annotated[
        Path | None, typer.Option(help="BBox_List_2017.csv, if it has another name.")
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
    make_store(source, options, only_present=only_present)


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

    source = KneeMRI(root, volume=volume, region=region, window=window_of(window) or PERCENTILES)
    make_store(source, options, volume=volume, region=region, window=window)


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
        window=window_of(window) or LUNG,
        **cut,
    )
    make_store(source, options, of=of, window=window, **cut)


def make_store(source: "Source", options: StoreOptions, **made_with: Any) -> None:
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


def window_of(text: str | None) -> "Window | None":
    """The window an option asks for, if it is given."""
    from medrobust.data.window import parse_window

    return None if text is None else parse_window(text)

"""`medrobust bench`."""

from pathlib import Path
from typing import Annotated

import typer

from medrobust.bench.subject import Subject
from medrobust.cli.console import console
from medrobust.progress import progress_bars


def bench(
    subjects: Annotated[list[Subject] | None, typer.Argument(help="All if not given.")] = None,
    network: Annotated[str, typer.Option(help="A backbone's name.")] = "resnet50",
    batch: Annotated[int, typer.Option(min=2, help="Images of a step.")] = 8,
    size: Annotated[int, typer.Option(min=32, help="Pixels per side.")] = 64,
    channels: Annotated[int, typer.Option(min=1, help="Of an image.")] = 3,
    outputs: Annotated[int, typer.Option(min=1, help="Findings.")] = 8,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="All cores if not given.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Of every job, interleaved.")] = 5,
    json: Annotated[Path | None, typer.Option(help="Also write results and machine here.")] = None,
) -> None:
    """Time attack, training step, sweep and loader against the plain way, on this machine.

    \b
    medrobust bench
    medrobust bench attack step --size 256 --batch 4 --json bench.json
    """
    import os

    from medrobust.bench.case import Case
    from medrobust.bench.measure import machine, table
    from medrobust.bench.run import bench as run_bench
    from medrobust.bench.run import check
    from medrobust.files import write_json

    case = Case(network, batch, channels, size, outputs, device)
    check(case)
    names = subjects or list(Subject)
    parts = []
    with progress_bars(console) as bars:
        threads = threads or os.cpu_count() or 1
        for title, rows, notes in run_bench(names, case, repeats, threads, bars.start):
            typer.echo(table(title, rows))
            for note in notes:
                console.print(note)
            parts.append({"title": title, "rows": rows, "notes": list(notes)})
    if json is not None:
        write_json(json, {**machine(), "results": parts})

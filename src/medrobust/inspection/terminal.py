"""An inspection as a page of text for the terminal."""

from collections.abc import Iterator, Sequence

import pandas as pd

from medrobust.inspection.inspection import Inspection
from medrobust.inspection.words import SPLIT_NAMES, copies, facts, notable, quantity, share
from medrobust.report import text

WIDTH = 100
FIRST = 32
"""Characters of the first column at most."""
MOST = 18
"""Characters of a further column at most."""
SHOWN = 12
"""Rows of a kind at most; the page of HTML has them all."""

Lines = list[tuple[str, list[str]]]


def as_text(inspection: Inspection) -> str:
    """A summary of at most 100 columns; patients' ids are not in it."""
    parts = [
        _head(inspection),
        _block(["", *(SPLIT_NAMES[split] for split in inspection.splits)], _sizes(inspection)),
        _titled("Findings", _findings(inspection)),
        _titled("Who and how", _metadata(inspection)),
        _titled("Pixels, x in [0, 1]", _pixels(inspection)),
        _list("Splits differ (standardised)", notable(inspection)),
        _list("Masks and boxes", _truths(inspection)),
        _list("Trust", _trust(inspection)),
        _list("Could not be used", _rejects(inspection)),
        _list("Left out", [f"{n:,}  {why}" for why, n in inspection.info.left_out.items()]),
        _list("Warnings", inspection.info.warnings),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(inspection: Inspection) -> str:
    info = inspection.info
    lines = [info.title if info.title == info.name else f"{info.title} ({info.name})"]
    lines += [f"{name:<10}{value}" for name, value in facts(info)]
    return "\n".join(_wrapped(line, 10) for line in lines)


def _sizes(inspection: Inspection) -> Lines:
    rows = [("images", [f"{n:,}" for n in inspection.sizes["images"]])]
    if inspection.info.patients == "known":
        rows.append(("patients", [f"{n:,}" for n in inspection.sizes["patients"]]))
        several = inspection.per_patient["most"]
        rows.append(("most images of a patient", [f"{n:,}" for n in several]))
    return rows


def _findings(inspection: Inspection) -> Lines:
    table = inspection.prevalence
    rows = []
    for finding in inspection.findings:
        part = table[table["finding"] == finding]
        rows.append((finding, _shares(part["positive"], part["share"])))
        if part["unknown"].any():
            rows.append(("", [f"{n:,} unknown" if n else "" for n in part["unknown"]]))
    return rows


def _metadata(inspection: Inspection) -> Lines:
    rows: Lines = []
    for column, part in inspection.numbers.groupby("column", sort=False):
        values = part[["median", "q1", "q3"]].itertuples(index=False, name=None)
        cells = [quantity(*three) for three in values]
        rows.append((f"{column}, median (quartiles)", cells))
    names = inspection.categories["column"] + ": " + inspection.categories["value"]
    for name, part in inspection.categories.groupby(names, sort=False):
        head = f"{name}unknown" if str(name).endswith(": ") else str(name)
        rows.append((head, _shares(part["images"], part["share"])))
    return rows


def _pixels(inspection: Inspection) -> Lines:
    table = inspection.intensities
    return [
        ("images read", [f"{n:,}" for n in table["images"]]),
        ("mean", [f"{mean:.3f}" for mean in table["mean"]]),
        ("standard deviation", [f"{deviation:.3f}" for deviation in table["sd"]]),
        ("1st percentile", [f"{value:.3f}" for value in table["p1"]]),
        ("99th percentile", [f"{value:.3f}" for value in table["p99"]]),
        ("exactly 0", [share(part) for part in table["zero"]]),
        ("exactly 1", [share(part) for part in table["full"]]),
    ]


def _truths(inspection: Inspection) -> list[str]:
    return [
        f"{what} of {kind} {name}: {text.plural(count, 'time')} in {text.plural(images, 'image')}, "
        f"median {share(median, 2)} of the area"
        for what, kind, name, count, images, _, _, median, _ in inspection.truths.itertuples(
            index=False, name=None
        )
    ]


def _trust(inspection: Inspection) -> list[str]:
    found = inspection.trust
    return [
        f"{text.plural(found.groups, 'group')} of identical images{_some(copies(found))}",
        f"{text.plural(found.near, 'pair')} of near duplicates, candidates only"
        + _some([(found.near_crossing, "across splits")]),
        f"{text.plural(found.rejects, 'file')} could not be used",
    ]


def _some(parts: Sequence[tuple[int, str]]) -> str:
    told = ", ".join(f"{count:,} {what}" for count, what in parts if count)
    return f" ({told})" if told else ""


def _rejects(inspection: Inspection) -> list[str]:
    rows = inspection.rejects.itertuples(index=False, name=None)
    return [f"{files:,}  {reason} ({examples})" for reason, files, examples in rows]


def _shares(counts: "pd.Series[int]", shares: "pd.Series[float]") -> list[str]:
    return [
        f"{count:,} ({share(part)})" if part == part else f"{count:,}"
        for count, part in zip(counts, shares, strict=True)
    ]


def _titled(title: str, rows: Lines) -> str:
    return _block([title], rows) if rows else ""


def _block(header: Sequence[str], rows: Lines) -> str:
    shown = rows if header[0] == "" else rows[: 2 * SHOWN]
    left = [*shown, *([(f"... {len(rows) - len(shown)} more rows", [])] if shown != rows else [])]
    columns = max((len(cells) for _, cells in rows), default=len(header) - 1)
    each = min(MOST, (WIDTH - FIRST) // max(columns, 1))
    lines = [_cut(header[0], FIRST).ljust(FIRST) + "".join(h.rjust(each) for h in header[1:])]
    for name, cells in left:
        lines.append(_cut(name, FIRST).ljust(FIRST) + "".join(c.rjust(each) for c in cells))
    return "\n".join(line.rstrip() for line in lines)


def _list(title: str, lines: Sequence[str]) -> str:
    shown = [_wrapped(f"  {line}", 4) for line in lines[:SHOWN]]
    more = [f"  ... {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "\n".join([title, *shown, *more]) if lines else ""


def _wrapped(line: str, indent: int) -> str:
    return "\n".join(_parts(line, indent))


def _parts(line: str, indent: int) -> Iterator[str]:
    while len(line) > WIDTH:
        cut = line.rfind(" ", indent + 1, WIDTH + 1)
        cut = cut if cut > indent else WIDTH
        yield line[:cut].rstrip()
        line = " " * indent + line[cut:].lstrip()
    yield line


def _cut(name: str, width: int) -> str:
    return name if len(name) < width else name[: width - 2] + "…"

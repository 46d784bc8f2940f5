"""`medrobust verify`."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from medrobust.cli.arguments import Device, OtherStore, Runs, open_runs
from medrobust.cli.console import console
from medrobust.progress import progress_bars

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust.verify import Finding


def verify(
    runs: Runs,
    store: OtherStore = None,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, help="Of scores of images that are shown again. [default: 0.01]"),
    ] = None,
    device: Device = "auto",
) -> None:
    """Check what runs claim: receipts, attacked images, and every number of metrics.csv.

    Nothing is written. The exit code is 1 if anything is wrong.

    \b
    medrobust verify runs/pneumoniamnist-dual/0
    medrobust verify runs/pneumoniamnist-* --store stores/external
    """
    found, other = open_runs(runs, store)

    from medrobust.verify import TOLERANCE
    from medrobust.verify import verify as run_verification

    wrong = False
    for run in found:
        with progress_bars(console) as bars:
            findings = run_verification(
                run,
                other,
                tolerance=TOLERANCE if tolerance is None else tolerance,
                device=device,
                track=bars.start,
            )
        typer.echo("\n".join([str(run.path), *_lines(findings)]))
        wrong |= any(finding.verdict == "wrong" for finding in findings)
    if wrong:
        raise typer.Exit(1)


def _lines(findings: "Sequence[Finding]") -> list[str]:
    """How many of each kind of check are ok, then whatever is not."""
    if not findings:
        return ["  nothing to check: `medrobust evaluate` has not been run"]
    counts = Counter((finding.check, finding.verdict) for finding in findings)
    kinds = dict.fromkeys(finding.check for finding in findings)
    table = [
        f"  {kind:<13}"
        + ", ".join(
            f"{counts[kind, verdict]} {verdict}"
            for verdict in ("ok", "wrong", "not checked")
            if counts[kind, verdict]
        )
        for kind in kinds
    ]
    return table + [
        f"  {finding.verdict}: {finding.check}: {finding.what}: {finding.note}"
        for finding in findings
        if finding.verdict != "ok"
    ]

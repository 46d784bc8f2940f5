"""`medrobust study create | links | serve | close | verify | export | analyse | demo`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medrobust.cli.arguments import OtherStore, open_runs
from medrobust.cli.console import console, warn
from medrobust.cli.study_analyse import analyse
from medrobust.cli.study_demo import demo
from medrobust.errors import MedrobustError
from medrobust.progress import progress_bars

if TYPE_CHECKING:
    from medrobust.findings import Finding

app = typer.Typer(
    help="A reader study: radiologists rate maps, blinded, in the browser.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command()(analyse)
app.command()(demo)
Folder = Annotated[Path, typer.Argument(help="What `medrobust study create` wrote.")]
Url = Annotated[
    str | None,
    typer.Option(help="The address that readers use, if it is another: https://study.example.org."),
]
Port = Annotated[int, typer.Option(min=1, max=65535, help="Where it listens.")]
PORT = 8765


@app.command()
def create(
    config: Annotated[Path, typer.Argument(help="A YAML file: title, readers, conditions.")],
    more: Annotated[list[Path] | None, typer.Argument(help="Further runs.")] = None,
    *,
    runs: Annotated[
        list[Path] | None, typer.Option(help="runs/NAME/SEED, or runs/NAME: all seeds.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder to write.")] = None,
    store: OtherStore = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a study that nobody has answered.")
    ] = False,
    simulate_power: Annotated[
        float | None,
        typer.Option(help="Make nothing: say how likely this difference is found, in steps."),
    ] = None,
    spread: Annotated[
        str | None,
        typer.Option(help="For that: readers=0.5,rest=0.6 or an earlier study's analysis."),
    ] = None,
) -> None:
    """Choose cases, draw every picture under an opaque name, seal what is what.

    \b
    medrobust study create study.yaml --runs runs/pneumoniamnist-* --out study
    medrobust study create study.yaml --simulate-power 0.5
    """
    from medrobust.cli.study_power import power_of
    from medrobust.study.config import load_study_config
    from medrobust.study.create import create_study

    settings = load_study_config(config)
    if simulate_power is not None:
        typer.echo("\n".join(power_of(settings, simulate_power, spread)))
        return
    if not runs or out is None or spread:
        raise MedrobustError(
            "create: expected --runs and --out, or --simulate-power (and --spread) alone: give "
            "the runs whose maps are read and the folder to write"
        )
    found, other = open_runs([*runs, *(more or ())], store)
    with progress_bars(console) as bars:
        notes = create_study(settings, found, other, out, overwrite=overwrite, track=bars.start)
    for note in notes:
        console.print(note)
    typer.echo(out)


@app.command()
def links(
    study: Folder,
    reader: Annotated[
        str | None, typer.Option(help="A new link for one reader, or admin; ends the old one.")
    ] = None,
    url: Url = None,
    port: Port = PORT,
) -> None:
    """Make everybody's personal link, or a new one of one reader. They are told once.

    \b
    medrobust study links study
    medrobust study links study --reader reader-2
    """
    from medrobust.study.links import make_links

    _print_links(make_links(study, _address(url, port), reader))


@app.command()
def revoke(
    study: Folder, reader: Annotated[str, typer.Argument(help="Whose link ends, or admin.")]
) -> None:
    """End a reader's link and sessions at once. What was answered stays.

    \b
    medrobust study revoke study reader-2
    """
    from medrobust.study.tokens import Tokens
    from medrobust.study.web.material import Study

    Study.open(study)
    with Tokens(study) as tokens:
        tokens.revoke(reader)


@app.command()
def serve(
    study: Folder,
    host: Annotated[
        str, typer.Option(help="127.0.0.1: this computer only; 0.0.0.0: the whole network.")
    ] = "127.0.0.1",
    port: Port = PORT,
    url: Url = None,
) -> None:
    """Serve a study to its readers until Ctrl-C; the first time, their links are made.

    \b
    medrobust study serve study
    medrobust study serve study --url https://study.example.org
    """
    from medrobust.study.links import has_links, make_links
    from medrobust.study.serve import check_packages, check_port
    from medrobust.study.serve import serve as run_server
    from medrobust.study.web.material import Study

    check_packages()
    Study.open(study)
    address = _address(url, port)
    check_port(host, port)
    if host not in ("127.0.0.1", "localhost", "::1") and not address.startswith("https:"):
        warn(["links and answers travel readable through this network: see the guide on HTTPS"])
    if not has_links(study):
        _print_links(make_links(study, address))
    console.print(f"{study} is served at {address}; Ctrl-C ends it, nothing is lost")
    run_server(study, host, port, address)


@app.command()
def close(study: Folder) -> None:
    """Accept no more answers, for good.

    \b
    medrobust study close study
    """
    from medrobust.study.answers import Answers

    with Answers.open(study) as answers:
        typer.echo(f"closed; receipt of all answers: {answers.close_study().code}")


@app.command()
def verify(
    study: Folder,
    receipt: Annotated[
        list[str] | None, typer.Option(help="A code that was kept elsewhere: 12-0123456789abcdef.")
    ] = None,
) -> None:
    """Check that no answer was altered, removed or moved. The exit code is 1 if one was.

    \b
    medrobust study verify study --receipt 412-0123456789abcdef0123
    """
    from medrobust.study.integrity import verify as run_verification

    findings = run_verification(study, receipt or ())
    typer.echo("\n".join(map(_line, findings)))
    if any(finding.verdict == "wrong" for finding in findings):
        raise typer.Exit(1)


@app.command()
def export(study: Folder) -> None:
    """Write answers and use of the viewer as tidy CSV into STUDY/export.

    \b
    medrobust study export study
    """
    from medrobust.study.export import export as run_export

    for path in run_export(study, study.resolve().name):
        typer.echo(path)


def _address(url: str | None, port: int) -> str:
    from medrobust.study.serve import check_url

    return check_url(url or f"http://127.0.0.1:{port}")


def _print_links(made: dict[str, str]) -> None:
    for name, link in made.items():
        typer.echo(f"{name}\t{link}")
    console.print("these links are kept nowhere: send each to its reader now")


def _line(finding: "Finding") -> str:
    note = f": {finding.note}" if finding.note else ""
    return f"{finding.verdict:<12} {finding.check:<9} {finding.what}{note}"

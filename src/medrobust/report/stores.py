"""Finding the store that runs were trained on."""

from collections.abc import Iterator
from pathlib import Path

from medrobust.data.store import Store, open_store
from medrobust.errors import MedrobustError
from medrobust.report.read import Run


def find_store(run: Run) -> Store:
    """Open a run's training store by the path in its provenance, or else in its settings.

    A relative path is tried from here and from every folder above the run. Raises the
    `MedrobustError` of `open_store` if it is nowhere or cannot be read.
    """
    paths = list(_candidates(run))
    there = [path for path in paths if (path / "store.json").is_file()]
    if not paths:
        raise MedrobustError(f"{run.label} does not say which store it was trained on")
    return open_store((there or paths)[0])


def _candidates(run: Run) -> Iterator[Path]:
    recorded = (run.provenance.get("store") or {}).get("path")
    configured = (run.config.get("data") or {}).get("store")
    for path in filter(None, (recorded, configured)):
        yield from (base / str(path) for base in (Path.cwd(), *run.path.parents))

"""Finding the stores that runs were trained and tested on."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from medrobust.data.store import Store, open_store
from medrobust.errors import MedrobustError
from medrobust.report.read import Run
from medrobust.report.terms import Evaluation


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


def used_stores(
    runs: Sequence[Run], measured: Sequence[Evaluation]
) -> tuple[list[Store], list[str]]:
    """The stores the runs were trained and tested on, and the names of those not found.

    Files of predictions do not say where another store than the training's lies: it is looked
    for beside those of the training, and known by the part of its checksum in its name.
    """
    stores: dict[str, Store] = {}
    names = dict.fromkeys(run.store_name for run in runs)
    for run in runs:
        with suppress(MedrobustError):
            store = find_store(run)
            stores.setdefault(store.checksum, store)
            names.pop(run.store_name, None)
    tested = dict.fromkeys(one.store for one in measured)
    for name in tested.keys() - {run.store_name for run in runs}:
        found = _beside(list(stores.values()), name)
        stores |= {found.checksum: found} if found else {}
        names |= {} if found else {name: None}
    return list(stores.values()), sorted(filter(None, names))


def _beside(stores: Sequence[Store], name: str) -> Store | None:
    """The store that an evaluation calls `<name>-<first digits of its checksum>`."""
    for folder in dict.fromkeys(store.path.resolve().parent for store in stores):
        for file in sorted(folder.glob("*/store.json")):
            with suppress(MedrobustError):
                store = open_store(file.parent)
                if name == f"{store.info.name}-{store.checksum[:8]}":
                    return store
    return None


def _candidates(run: Run) -> Iterator[Path]:
    recorded = (run.provenance.get("store") or {}).get("path")
    configured = (run.config.get("data") or {}).get("store")
    for path in filter(None, (recorded, configured)):
        yield from (base / str(path) for base in (Path.cwd(), *run.path.parents))

"""Image files without a table: read as `prepare` read the images that a model was trained on."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medrobust.data.convert import Image, Reject
from medrobust.data.decode import read_grey
from medrobust.data.dicom import read_dicom
from medrobust.data.isolation import Failure
from medrobust.data.settings import Settings
from medrobust.data.source import Card, Picture, Task
from medrobust.data.store import Store
from medrobust.data.window import Window, parse_window
from medrobust.datasets.arrays import window_limits
from medrobust.errors import MedrobustError
from medrobust.rundir import RunDir
from medrobust.thresholds import Home

REFUSED = {
    "turned into luminance": "it is in colour, and the model was trained on grey images",
    "the middle one of several": "it has several pages or frames, and the model was trained on "
    "single images: give one page or frame",
}
"""What `prepare` notes of an image -> why a model that has not seen such images refuses it."""
OF_FILES = {"window", "frame", "mask_bits", "key", "blank", "only_present"}
"""Options of the data sets whose images are files; others cut theirs out of volumes."""
PREFIX = slice(128, 132)
"""Where a DICOM file has the letters DICM."""


class LooseFiles:
    """PNG, JPEG, TIFF and DICOM files by their paths, without labels.

    `window` and `frame` are those of `Images` and `Dicom`. `usual` are texts in which a kind of
    image that is otherwise refused (see `REFUSED`) is told to be usual: the warnings of the store
    that the model was trained on.
    """

    card = Card("files", "image files", "own data", "not stated", "")
    task: Task = "multilabel"

    def __init__(
        self,
        files: Sequence[Path],
        window: Window | None = None,
        frame: int | None = None,
        usual: Collection[str] = (),
    ) -> None:
        self.files, self._window, self._frame = files, window, frame
        self._refused = {
            kind: why for kind, why in REFUSED.items() if not any(kind in text for text in usual)
        }

    def index(self) -> pd.DataFrame:
        """One row per file, in the order given; ids are the paths."""
        names = [str(file) for file in self.files]
        return pd.DataFrame({"image_id": names, "source": self.card.name, "file": names})

    def read(self, row: Mapping[str, Any]) -> Picture:
        """Decode one file."""
        path = Path(str(row["file"]))
        if path.suffix.lower() in (".dcm", ".dicom") or _is_dicom(path):
            picture = read_dicom(path, self._window, self._frame)
        else:
            pixels, note = read_grey(path)
            picture = Picture(pixels, *window_limits(pixels, self._window), note=note)
        for kind, why in self._refused.items():
            if kind in picture.note:
                raise MedrobustError(why)
        return picture


@dataclass(frozen=True)
class Decoding:
    """How files become images of a model."""

    source: LooseFiles
    settings: Settings
    shape: tuple[int, ...]
    """(C, H, W) that the model takes."""
    window: tuple[float, float] | None
    """Native values of x = 0 and x = 1 in all of the training's images; None if not known."""

    def problem(self, found: Image | Reject | Failure) -> str:
        """Why an image can't be used; empty if it can."""
        if not isinstance(found, Image):
            return found.reason
        if found.pixels.shape == self.shape:
            return ""
        wanted, there = (" x ".join(map(str, s[1:])) for s in (self.shape, found.pixels.shape))
        return f"expected {wanted} pixels, as the training images have, found {there}"

    def notes(self, image: Image) -> Iterator[str]:
        """What a reader of its prediction should know."""
        yield from filter(None, image.note.split("; "))
        low, high = image.numbers[:2]
        if self.window is not None and (low, high) != self.window:
            own, usual = (f"{a:g} to {b:g}" for a, b in ((low, high), self.window))
            yield f"its window is {own}, that of the training images {usual}"


def decoding_for(
    run: RunDir, files: Sequence[Path], known: Mapping[str, Any], home: Home
) -> Decoding:
    """What `prepare` did for the training store; its defaults for a run imported without one.

    Raises:
        MedrobustError: the training store is gone, or its images were not made of single grey
            files.
    """
    if len(known["size"]) != 2 or known["channels"] != 1:
        what = "volumes" if len(known["size"]) == 3 else f"{known['channels']} channels"
        raise MedrobustError(
            f"{run.path}: expected a store, since the model takes {what} and files are read as "
            "grey pictures; make one with `medrobust prepare`"
        )
    shape = (known["channels"], *known["size"])
    if home.store is not None:
        return _as_stored(run, files, shape, home.store)
    if home.problem:
        raise MedrobustError(f"files can't be read as the training images were: {home.problem}")
    return Decoding(LooseFiles(files), Settings(shape[1:]), shape, None)


def _as_stored(
    run: RunDir, files: Sequence[Path], shape: tuple[int, ...], store: Store
) -> Decoding:
    made, options = store.info.settings, store.info.settings.get("options") or {}
    other = sorted(options.keys() - OF_FILES)
    if other:
        raise MedrobustError(
            f"{run.path}: expected a store, since the training images were not single files but "
            f"made with {', '.join(other)}; make one in the same way with `medrobust prepare`"
        )
    size, window = made["size"], options.get("window")
    settings = Settings(
        tuple(size) if isinstance(size, list) else size, store.info.bits, made["keep_aspect"]
    )
    read_with = parse_window(window) if window else None
    source = LooseFiles(files, read_with, options.get("frame"), store.info.warnings)
    return Decoding(source, settings, shape, store.info.window)


def _is_dicom(path: Path) -> bool:
    """Whether a file without DICOM's suffix is one; what can't be read is told later."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(PREFIX.stop)[PREFIX] == b"DICM"
    except OSError:
        return False

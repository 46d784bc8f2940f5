"""A study's pictures, drawn from store and maps."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from medrobust.errors import MedrobustError
from medrobust.progress import Count
from medrobust.report.pictures import plane
from medrobust.study import pictures
from medrobust.study.draft import Draft
from medrobust.study.maps import Source
from medrobust.study.pictures import opaque, write_picture


def image_name(secret: bytes, image_id: str) -> str:
    """Of an image's picture, without a suffix."""
    return opaque(secret, "image", image_id)


def deep_name(secret: bytes, image_id: str) -> str:
    """Of an image's picture in 16 bits."""
    return opaque(secret, "deep", image_id)


def map_name(secret: bytes, image_id: str, condition: int) -> str:
    """Of a map's picture; an image is read for one finding only."""
    return opaque(secret, "map", image_id, condition)


def has_deep(draft: Draft) -> bool:
    """Whether images are also drawn in 16 bits: grey ones that have them."""
    return draft.store.info.bits == 16 and draft.store.info.channels < 3


def pictures_of(draft: Draft) -> int:
    """How many pictures will be drawn."""
    maps = sum(len(draft.shown(condition)) for condition in range(len(draft.sources)))
    return maps + len(draft.rows) * (1 + has_deep(draft))


def draw(draft: Draft, folder: Path, secret: bytes, count: Count) -> None:
    """Make the folder and write every picture into it."""
    folder.mkdir()
    for name, content in chain(_images(draft, secret), _maps(draft, secret)):
        write_picture(folder, name, content)
        count(1)


def _images(draft: Draft, secret: bytes) -> Iterator[tuple[str, bytes]]:
    axes = len(draft.store.info.size)
    for image_id, row in draft.rows.items():
        pixels: NDArray[Any] = plane(draft.store.pixels(row), axes)
        yield image_name(secret, image_id), pictures.photograph(pixels)
        if has_deep(draft):
            yield deep_name(secret, image_id), pictures.deep(pixels)


def _maps(draft: Draft, secret: bytes) -> Iterator[tuple[str, bytes]]:
    for number, source in enumerate(draft.sources):
        shown = draft.shown(number)
        for finding in dict.fromkeys(case.finding for case in draft.cases):
            ids = sorted(case.image_id for case in shown if case.finding == finding)
            for image_id, values in source.maps(finding, ids).items():
                _refuse_size(draft, source, finding, values.shape)
                content = pictures.overlay(plane(values, values.ndim))
                yield map_name(secret, image_id, number), content


def _refuse_size(draft: Draft, source: Source, finding: str, size: tuple[int, ...]) -> None:
    if size != draft.store.info.size:
        raise MedrobustError(
            f"{source.path(finding)}: expected maps of {draft.store.info.size} pixels like the "
            f"store's images, found {size}: make them again with `medrobust explain`"
        )

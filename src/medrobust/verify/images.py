"""Attacked images: do they keep to the threat model, and do they give the predictions?"""

import math
from collections.abc import Iterator

import numpy as np
import torch

from medrobust.adversarial import Adversarial, read_adversarial
from medrobust.data.batches import load_images
from medrobust.data.cases import gallery_rows
from medrobust.errors import MedrobustError
from medrobust.findings import Finding, judged
from medrobust.predictions import LOGIT
from medrobust.verify.evidence import Evidence
from medrobust.verify.showing import Scores, Showing, logits_again

ROUNDING = 2.0**-23
"""Of each pixel: two roundings of float32 numbers up to 1."""
SHRINKAGE = 1e-5
"""Relative, of a radius: that of the float32 sum by which l2 points are brought back."""


def check_attacked(evidence: Evidence, stem: str, tolerance: float, batch: int) -> list[Finding]:
    """`adversarial/<stem>.npz`: box and ball, and the predictions."""
    if not (evidence.run.adversarial / f"{stem}.npz").is_file():
        return []
    return [
        *judged("ball", stem, lambda: _within(evidence, stem)),
        *judged("images", stem, lambda: _again(evidence, stem, tolerance, batch)),
    ]


def _within(evidence: Evidence, stem: str) -> Iterator[str]:
    saved, showing = read_attacked(evidence, stem)
    attack, images = showing.sidecar["attack"], saved.images
    if not ((images >= 0) & (images <= 1)).all():
        where = np.argwhere(~((images >= 0) & (images <= 1)))[0]
        yield f"image {saved.image_id[where[0]]!r} has pixels outside [0, 1]"
    norm, radii = attack["norm"].removesuffix("-native"), _radii(showing)
    centres = load_images(showing.store, showing.rows, "cpu").numpy().astype(np.float64)
    for slot, name in enumerate(showing.slots):
        moved = (images[:, slot] - centres).reshape(len(images), -1)
        length = _length(moved, norm)
        out = ~(length <= radii * (1 + SHRINKAGE) + ROUNDING * _size(moved.shape[1], norm))
        if out.any():
            first = int(out.argmax())
            yield (
                f"image {saved.image_id[first]!r} of {name.removeprefix(LOGIT)} is "
                f"{length[first]:.6g} away ({norm}), the radius is {radii[first]:.6g} "
                f"({int(out.sum())} of {len(out)} images are outside)"
            )


def _radii(showing: Showing) -> Scores:
    """(n,) in the image's range [0, 1]."""
    attack, table = showing.sidecar["attack"], showing.store.table.iloc[showing.rows]
    if attack.get("unit") != "native":
        return np.full(len(table), float(attack["eps"]))
    ranges = (table["native_high"] - table["native_low"]).abs().to_numpy(float)
    radii: Scores = float(attack["eps"]) / ranges
    return radii


def _length(moved: Scores, norm: str) -> Scores:
    """(n,) of changes (n, d)."""
    order: float = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
    length: Scores = np.linalg.norm(moved, ord=order, axis=1)
    return length


def _size(pixels: int, norm: str) -> float:
    """The length of a change of 1 in every pixel: how roundings add up."""
    return {"linf": 1.0, "l2": math.sqrt(pixels), "l1": float(pixels)}[norm]


def _again(evidence: Evidence, stem: str, tolerance: float, batch: int) -> Iterator[str]:
    saved, showing = read_attacked(evidence, stem)
    gallery = gallery_rows(showing.store, showing.sidecar["split"])
    absent = set(gallery.tolist()) - set(showing.rows.tolist())
    if absent:
        yield f"{len(absent)} of the {len(gallery)} images that every attack keeps are missing"
    network = evidence.network(stem)
    for slot in range(len(showing.slots)):
        shown = torch.from_numpy(saved.images[:, slot])
        logits = logits_again(network, shown, batch, evidence.device)
        yield from showing.differences(slot, logits, tolerance)


def read_attacked(evidence: Evidence, stem: str) -> tuple[Adversarial, Showing]:
    """The attacked images of `adversarial/<stem>.npz`, and their predictions.

    Raises:
        UncheckedError: the store is not at hand.
        MedrobustError: images and predictions do not fit.
    """
    saved = read_adversarial(evidence.run.adversarial / f"{stem}.npz")
    showing = Showing.of(evidence, stem, saved.image_id)
    expected = (len(saved.image_id), len(showing.slots), *showing.store.images.shape[1:])
    if saved.images.shape != expected or saved.images.dtype != np.float32:
        raise MedrobustError(
            f"adversarial/{stem}.npz: expected float32 images of shape {expected}, found "
            f"{saved.images.dtype} of {saved.images.shape}"
        )
    return saved, showing
